//! One object of a backup: opened, and read back to the last byte.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pgisle_core::backup::{BackupId, Checksum, StoredObject};

use super::error::{BackupError, Whose};
use super::store::{BackupStore, Key, StoreError, chain};
use super::stream::{DataError, DataReader};
use super::verify::Depth;
use crate::credential::{self, IdentitySource};

/// How much is read at once.
const PIECE_BYTES: usize = 1 << 20;
/// How often whoever watches is told.
const TICK: Duration = Duration::from_millis(200);

/// An object, as its backup's manifest describes it.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub(super) whose: Whose,
    pub(super) id: &'a BackupId,
    /// None when the manifest names what no object is called.
    pub(super) key: Option<Key>,
    pub(super) stored: &'a StoredObject,
}

impl Object<'_> {
    /// Opens its raw data, for a thread that may block.
    pub(super) async fn open(&self, store: &BackupStore, identities: &IdentitySource) -> Result<DataReader, BackupError> {
        let key = self.key()?;
        let identities = if self.stored.is_encrypted { Some(self.load(identities, store)?) } else { None };
        let input = match store.reader(&key).await {
            Err(StoreError::Missing { .. }) => return Err(self.damaged(format!("its object \"{}\" is missing", self.stored.name))),
            input => input?,
        };
        let expected = self.stored.clone();
        let opened = tokio::task::spawn_blocking(move || DataReader::new(input, &expected, identities.as_ref())).await;
        let opened = opened.unwrap_or_else(|error| Err(io::Error::other(error)));
        opened.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref::<age::DecryptError>()) {
            Some(age::DecryptError::NoMatchingKeys) => BackupError::KeyWrong { whose: self.whose.clone(), id: self.id.clone() },
            Some(error) => self.damaged(format!("it cannot be decrypted: {error}")),
            None if error.kind() == io::ErrorKind::UnexpectedEof => self.damaged("it ends in its header".to_owned()),
            None => StoreError::Failed { verb: "read", location: store.location(), key, source: error }.into(),
        })
    }

    fn key(&self) -> Result<Key, BackupError> {
        self.key.clone().ok_or_else(|| self.damaged("its manifest names an object that cannot be".to_owned()))
    }

    /// That the backup is damaged.
    pub(super) fn damaged(&self, reason: String) -> BackupError {
        BackupError::Damaged { whose: self.whose.clone(), id: self.id.clone(), reason }
    }

    fn load(&self, identities: &IdentitySource, store: &BackupStore) -> Result<credential::Identities, BackupError> {
        identities.load(Path::new(&store.location())).map_err(|error| match error {
            credential::StoreError::IdentityMissing { default_file, .. } => {
                BackupError::KeyMissing { whose: self.whose.clone(), id: self.id.clone(), default_file }
            }
            error => BackupError::KeyUnusable(error),
        })
    }

    /// Reads it back, as deep as it can be. `seen` hears of the stored bytes as they pass.
    pub(super) async fn prove(
        &self,
        store: &BackupStore,
        identities: &IdentitySource,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Depth, BackupError> {
        let opened = match self.open(store, identities).await {
            Ok(reader) => Opened::Decoded(Box::new(reader)),
            // The machine that makes backups need not be able to read them.
            Err(BackupError::KeyMissing { .. } | BackupError::KeyWrong { .. }) => Opened::Stored(store.reader(&self.key()?).await?),
            Err(error) => return Err(error),
        };
        let passed = Arc::new(AtomicU64::new(0));
        let abandoned = Abandoned::default();
        let (counter, flag, object) = (Arc::clone(&passed), Arc::clone(&abandoned.0), self.stored.clone());
        let mut work = tokio::task::spawn_blocking(move || match opened {
            Opened::Decoded(reader) => decoded(*reader, &counter, &flag),
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
                let key = self.key.clone().unwrap_or(Key::ROOT);
                return StoreError::Failed { verb: "read", location: store.location(), key, source }.into();
            }
            self.damaged(chain(&source))
        })
    }
}

enum Opened {
    Decoded(Box<DataReader>),
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
