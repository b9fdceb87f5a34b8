//! Backups: a store that holds them, making, finding, reading back and pruning them.
//!
//! A backup is a folder `services/<service>/<id>/` in the store. Its data is written first and the manifest last, so that whatever
//! was interrupted has no manifest and is not a backup. `verified.json` beside them says that the data was read back whole. The
//! whole cluster's backups are folders `cluster/<id>/` of the same kind: [`cluster`].

pub mod catalog;
pub mod cluster;
pub mod content;
pub mod create;
mod error;
pub(crate) mod evidence;
mod object;
pub mod prune;
pub mod recover;
pub mod report;
pub mod restore;
pub mod store;
mod stream;
pub mod uploads;
pub mod verify;
pub mod wal;

pub use catalog::{Backup, Damage, Leftover, Listing, Verified};
pub use error::{BackupError, UnpackError, Whose};
pub use store::{BackupStore, Key, S3Environment, StoreError, Unfinished};
pub use stream::{DataError, DataReader};
