//! The crate's integration tests, one binary.

mod golden;
mod spec_bad;
mod spec_good;
