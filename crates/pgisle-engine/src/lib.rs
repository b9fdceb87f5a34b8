//! pgisle-engine.

pub mod file;
