//! Private PostgreSQL clusters on this machine: `pgisle dev`, and the ground that the tests stand on.
//!
//! [`Installation`] finds server programs, [`server`] makes, starts and stops a data directory with them, [`pooler`] does the same
//! for PgBouncer, [`replica`] makes a standby, and [`dev`] keeps one of each under a project's `.pgisle/dev`. Servers refuse to run as root, so everything here
//! runs as another account when we are root.

pub mod dev;
mod error;
mod installation;
pub mod pooler;
pub mod replica;
pub mod server;
pub(crate) mod surroundings;

pub use error::LocalError;
pub use installation::{ClientPrograms, Installation, PgBouncer, Source, find_pgbouncer, find_pgbouncers, find_program};
pub use surroundings::data_refuge;
