//! Everything pgisle does to the outside world: connect, inspect, execute, spawn, store.
//!
//! What is decided is decided in `pgisle-core`; this crate observes and carries out.

pub mod activity;
pub mod apply;
pub mod artifact;
pub mod clock;
pub mod credential;
pub mod event;
pub mod file;
pub mod local;
pub mod postgres;
pub mod process;
pub mod spec_files;
pub mod verify;
