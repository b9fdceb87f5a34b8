//! Backups of real databases.

mod archive;
mod create;
mod damage;
mod moment;
mod prune;
mod s3;
mod sealed;
mod site;
mod store;
mod trouble;
