//! How outcomes are shown: to people, to machines, and in the reference.

pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod live;
pub(crate) mod manual;
pub(crate) mod markdown;
