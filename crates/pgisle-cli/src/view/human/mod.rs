//! For people.

pub(crate) mod apply;
pub(crate) mod budget;
pub(crate) mod dev;
pub(crate) mod diagnostic;
pub(crate) mod explanation;
pub(crate) mod formatting;
pub(crate) mod help;
pub(crate) mod isolation;
pub(crate) mod plan;
pub(crate) mod question;
pub(crate) mod rotation;
pub(crate) mod scaffold;
pub(crate) mod status;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod text;
