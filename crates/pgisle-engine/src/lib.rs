//! Everything pgisle does to the outside world: connect, inspect, execute, spawn, store.

pub mod local;
pub mod process;
