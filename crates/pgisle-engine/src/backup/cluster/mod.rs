//! Backups of the whole cluster: every database, role and setting, as `pg_basebackup` copies them.
//!
//! A backup is a folder `cluster/<id>/` in the store: the data directory as a tar, `pg_basebackup`'s list of its files, the roles as a
//! script, and the manifest, which is written last. An incremental one names the backup that it holds the changes since;
//! [`unpack()`] puts the two together again.

mod catalog;
mod create;
mod preflight;
mod prune;
mod unpack;
mod verify;

pub use catalog::{ClusterBackup, ClusterDamage, ClusterLeftover, ClusterListing, find, list, record_proof};
pub use create::{ClusterMade, ClusterRequest, create};
pub use prune::{ClusterDue, ClusterDueBackup};
pub(super) use prune::{due, remove};
pub use unpack::{Progress, unpack};
pub use verify::{Checked, verify, verify_deep};
