//! Reading backups back, to the last byte.

use super::catalog::{self, Backup, Proof};
use super::error::BackupError;
use super::store::BackupStore;
use crate::credential::IdentitySource;

/// How much of a backup could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Decrypted and decompressed, and it is what was dumped.
    Decoded,
    /// It is what was written, to the last byte. It is encrypted, and no private key is at hand to look inside.
    Stored,
}

/// Reads a backup back and writes down whether it is whole: retention counts on it, or does not any more. `seen` hears of the stored bytes as they pass.
///
/// # Errors
/// It is damaged, or the store fails.
pub async fn verify(
    store: &BackupStore,
    backup: &Backup,
    identities: &IdentitySource,
    seen: &(dyn Fn(u64) + Sync),
) -> Result<Depth, BackupError> {
    let depth = match backup.data().prove(store, identities, seen).await {
        Ok(depth) => depth,
        Err(error) => {
            if matches!(error, BackupError::Damaged { .. })
                && let Some(key) = backup.key(catalog::VERIFIED)
            {
                store.delete(&key).await?;
            }
            return Err(error);
        }
    };
    // What a drill has proved is more, and stays.
    if backup.verified.as_ref().is_none_or(|verified| verified.how == Proof::Stored) {
        catalog::record_proof(store, backup, Proof::Stored).await?;
    }
    Ok(depth)
}
