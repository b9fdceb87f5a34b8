//! pgisle-engine.

pub mod clock;
pub mod credential;
pub mod file;
