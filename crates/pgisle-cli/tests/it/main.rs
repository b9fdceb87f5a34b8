//! The command line from the outside: exit code, standard output and standard error of the real program, each run in a home

#![expect(clippy::unwrap_used, reason = "a test may panic")]
//! and a folder of its own and with nothing else in its environment.

mod basics;
mod cluster;
mod docs;
mod program;
mod reference;
