//! The crate's integration tests, one binary.

mod golden;
mod spec_bad;
mod spec_examples;
mod spec_good;
mod spec_properties;
