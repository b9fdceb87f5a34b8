//! Everything pgisle does to the outside world: connect, inspect, execute, spawn, store.
//!
//! What is decided is decided in `pgisle-core`; this crate observes and carries out.

pub mod activity;
pub mod apply;
pub mod artifact;
pub mod backup;
pub mod clock;
pub mod credential;
pub mod doctor;
pub mod event;
pub mod failover;
mod fault;
pub mod file;
pub mod load;
pub mod local;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod rotate;
pub mod spec_files;
pub mod split;
pub mod verify;
pub mod watch;
