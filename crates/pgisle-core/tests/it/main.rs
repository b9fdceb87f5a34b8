//! The crate's integration tests, one binary.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "cases are files and some are timed; core's bans are for core"
)]

mod golden;
mod spec_bad;
mod spec_examples;
mod spec_good;
mod spec_properties;
