//! Backups of real databases.

mod archive;
mod store;
