//! Backups of real databases.

mod archive;
