//! The archive of the write-ahead log: with it and a backup of the cluster, every moment since that backup can be recovered.
//!
//! A server's `archive_command` puts each file of its log here. In the store, `wal/<timeline>/<name>.zst` (`.age` behind it when
//! encrypted) is the data and `<name>.json`, written last, its seal. What others put there as it is, `<name>` in `wal/` or in
//! `wal/<timeline>/`, counts as archived too.

mod archive;
pub mod catalog;
mod error;
mod fetch;
pub mod prune;
pub mod setup;
mod window;

use pgisle_core::backup::wal::{WalName, WalSeal};

use super::store::{BackupStore, Key};

pub use archive::{Archived, archive};
pub use catalog::WalListing;
pub use error::WalError;
pub use fetch::fetch;
pub use window::{Window, windows};

/// The folder of the archive.
pub(super) const WAL: &str = "wal";

/// What stands behind the name of a seal.
const SEAL: &str = ".json";

/// The key of an object that belongs to a file of the log.
fn key(name: WalName, suffix: &str) -> Key {
    Key::of(&[WAL, &folder(name), &format!("{name}{suffix}")]).unwrap_or(Key::ROOT)
}

fn folder(name: WalName) -> String {
    format!("{:08X}", name.timeline())
}

/// Reads the seal of a file; none when there is none.
async fn seal(store: &BackupStore, name: WalName) -> Result<Option<WalSeal>, WalError> {
    let Some(bytes) = store.read(&key(name, SEAL)).await? else { return Ok(None) };
    WalSeal::open(&bytes, name).map(Some).map_err(|error| WalError::Damaged { name, reason: error.to_string() })
}

/// Gives the archive's folder to the account that a server runs as, where that is not ours and the store is a folder.
///
/// # Errors
/// The folder cannot be made or given away.
pub fn hand_over(store: &BackupStore, account: &crate::process::Account) -> Result<(), super::store::StoreError> {
    store.hand_over(&Key::of(&[WAL]).unwrap_or(Key::ROOT), account)
}
