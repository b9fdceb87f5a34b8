//! Backups of real databases.

mod archive;
mod create;
mod damage;
mod site;
mod store;
