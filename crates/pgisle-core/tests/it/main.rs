//! The crate's integration tests, one binary.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the code under test does no I/O; its tests read their cases from files and end a loop by the clock"
)]

mod budget_properties;
mod golden;
mod spec_bad;
mod spec_examples;
mod spec_good;
mod spec_properties;
