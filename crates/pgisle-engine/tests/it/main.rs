//! The engine, against real files, programs and servers.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod apply;
mod artifact;
mod backup;
mod credential;
mod local;
mod postgres;
mod process;
mod spec_files;
mod split;
mod verify;
mod watch;
