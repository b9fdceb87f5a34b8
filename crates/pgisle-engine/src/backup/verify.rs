//! Reading backups back, to the last byte.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pgisle_core::backup::Checksum;

use super::catalog::{self, Backup, Proof};
use super::error::BackupError;
use super::store::{BackupStore, Key, StoreError, chain};
use super::stream::{DataError, DataReader};
use crate::credential::IdentitySource;

/// How much is read at once.
const PIECE_BYTES: usize = 1 << 20;
/// How often whoever watches is told.
const TICK: Duration = Duration::from_millis(200);

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
    let depth = match prove_stored(store, backup, identities, seen).await {
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

/// Reads a backup back, as deep as it can be.
pub(super) async fn prove_stored(
    store: &BackupStore,
    backup: &Backup,
    identities: &IdentitySource,
    seen: &(dyn Fn(u64) + Sync),
) -> Result<Depth, BackupError> {
    let opened = match backup.open(store, identities).await {
        Ok(reader) => Opened::Decoded(reader),
        // The machine that makes backups need not be able to read them.
        Err(BackupError::KeyMissing { .. } | BackupError::KeyWrong { .. }) => {
            let key = backup.key(&backup.manifest.data.name).unwrap_or(Key::ROOT);
            Opened::Stored(store.reader(&key).await?)
        }
        Err(error) => return Err(error),
    };
    let passed = Arc::new(AtomicU64::new(0));
    let abandoned = Abandoned::default();
    let (counter, flag, object) = (Arc::clone(&passed), Arc::clone(&abandoned.0), backup.manifest.data.clone());
    let mut work = tokio::task::spawn_blocking(move || match opened {
        Opened::Decoded(reader) => decoded(reader, &counter, &flag),
        Opened::Stored(reader) => stored(reader, &object, &counter, &flag),
    });
    let result = loop {
        match tokio::time::timeout(TICK, &mut work).await {
            Ok(result) => break result.unwrap_or_else(|error| Err((io::Error::other(error), true))),
            Err(_) => seen(passed.load(Ordering::Relaxed)),
        }
    };
    seen(passed.load(Ordering::Relaxed));
    result.map_err(|(source, has_store_failed)| {
        if has_store_failed {
            let key = backup.key(&backup.manifest.data.name).unwrap_or(Key::ROOT);
            return StoreError::Failed { verb: "read", location: store.location(), key, source }.into();
        }
        BackupError::Damaged { service: backup.service().clone(), id: backup.id().clone(), reason: chain(&source) }
    })
}

enum Opened {
    Decoded(DataReader),
    Stored(super::store::Reader),
}

/// Tells a thread that nobody waits for it any more, when dropped.
#[derive(Default)]
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// With whether it was the store that failed.
type Proved = Result<Depth, (io::Error, bool)>;

fn decoded(mut reader: DataReader, passed: &AtomicU64, abandoned: &AtomicBool) -> Proved {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        if abandoned.load(Ordering::Relaxed) {
            return Err((io::ErrorKind::Interrupted.into(), true));
        }
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(Depth::Decoded),
            Ok(_) => passed.store(reader.stored_bytes(), Ordering::Relaxed),
            Err(error) => {
                let failed = reader.has_store_failed();
                return Err((error, failed));
            }
        }
    }
}

fn stored(
    mut reader: super::store::Reader,
    object: &pgisle_core::backup::StoredObject,
    passed: &AtomicU64,
    abandoned: &AtomicBool,
) -> Proved {
    let mut buffer = vec![0; PIECE_BYTES];
    let (mut checksum, mut bytes) = (Checksum::default(), 0);
    loop {
        if abandoned.load(Ordering::Relaxed) {
            return Err((io::ErrorKind::Interrupted.into(), true));
        }
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                checksum.feed(&buffer[..count]);
                bytes += count as u64;
                passed.store(bytes, Ordering::Relaxed);
            }
            Err(error) => return Err((error, true)),
        }
    }
    let wrong = |error: DataError| Err((io::Error::new(io::ErrorKind::InvalidData, error), false));
    if bytes != object.bytes {
        return wrong(DataError::Bytes { expected: object.bytes, found: bytes });
    }
    if checksum.finish() != object.sha256 {
        return wrong(DataError::Checksum);
    }
    Ok(Depth::Stored)
}
