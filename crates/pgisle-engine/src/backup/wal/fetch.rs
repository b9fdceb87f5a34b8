//! Getting one file back, checked to the last byte, and written whole or not at all.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use pgisle_core::backup::wal::{SegmentHeader, WalName, WalSeal};

use super::error::WalError;
use super::{WAL, folder, seal};
use crate::backup::restore::decoded;
use crate::backup::store::{BackupStore, Key, Reader, StoreError, chain};
use crate::backup::stream::DataReader;
use crate::credential::{Identities, IdentitySource};
use crate::file::FileWriter;

/// What a server that is not pgisle's may have put behind a name.
const PLAIN_SUFFIXES: [&str; 3] = ["", ".zst", ".gz"];

/// Only its reader's user may read it: it holds rows.
const MODE: u32 = 0o600;

/// How much is read at once.
const PIECE_BYTES: usize = 1 << 18;

/// Gets a file out of the archive and writes it to a path.
///
/// # Errors
/// [`WalError::Absent`] when the archive does not hold it; otherwise it is damaged, the key does not fit, or a disk or the store
/// fails. The path is then as it was.
pub async fn fetch(store: &BackupStore, name: WalName, to: &Path, identities: &IdentitySource) -> Result<(), WalError> {
    let found = find(store, name, identities).await?;
    let to = to.to_owned();
    let location = store.location();
    let work = tokio::task::spawn_blocking(move || write(name, found, &to, location));
    work.await.unwrap_or_else(|error| Err(WalError::Process { name, source: io::Error::other(error) }))
}

/// Reads a small file of the archive, such as a history.
pub(super) async fn read(store: &BackupStore, name: WalName, identities: &IdentitySource) -> Result<Vec<u8>, WalError> {
    let found = find(store, name, identities).await?;
    let location = store.location();
    let work = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        copy(name, found, &mut bytes, location).map(|()| bytes)
    });
    work.await.unwrap_or_else(|error| Err(WalError::Process { name, source: io::Error::other(error) }))
}

/// A file in the archive, begun to be read.
enum Found {
    Sealed(WalSeal, Key, Reader, Option<Identities>),
    Plain(Key, Reader),
}

async fn find(store: &BackupStore, name: WalName, identities: &IdentitySource) -> Result<Found, WalError> {
    let damaged = |reason: String| WalError::Damaged { name, reason };
    if let Some(seal) = seal(store, name).await? {
        let object = &seal.data;
        let key = Key::of(&[WAL, &folder(name), &object.name]);
        let key = key.ok_or_else(|| damaged("its seal names an object that cannot be".to_owned()))?;
        let keys = match object.is_encrypted {
            true => Some(identities.load(Path::new(&store.location())).map_err(|error| WalError::of_identity(name, error))?),
            false => None,
        };
        let reader = match store.reader(&key).await {
            Err(StoreError::Missing { .. }) => return Err(damaged(format!("its object \"{}\" is missing", object.name))),
            reader => reader?,
        };
        return Ok(Found::Sealed(seal, key, reader, keys));
    }
    for key in plain_keys(name) {
        match store.reader(&key).await {
            Err(StoreError::Missing { .. }) => {}
            reader => return Ok(Found::Plain(key, reader?)),
        }
    }
    Err(WalError::Absent { name, location: store.location() })
}

/// Where others may have put a file.
pub(super) fn plain_keys(name: WalName) -> impl Iterator<Item = Key> {
    PLAIN_SUFFIXES.into_iter().flat_map(move |suffix| {
        let file = format!("{name}{suffix}");
        [Key::of(&[WAL, &folder(name), &file]), Key::of(&[WAL, &file])].into_iter().flatten()
    })
}

fn write(name: WalName, found: Found, to: &Path, location: String) -> Result<(), WalError> {
    let failed = |path: PathBuf| move |source| WalError::Write { path, source: Box::new(source) };
    let mut file = FileWriter::create(to, MODE).map_err(failed(to.to_owned()))?;
    copy(name, found, &mut file, location)?;
    file.finish().map_err(failed(to.to_owned()))
}

fn copy(name: WalName, found: Found, output: &mut dyn Write, location: String) -> Result<(), WalError> {
    match found {
        Found::Sealed(seal, key, reader, identities) => {
            let opened = DataReader::new(reader, &seal.data, identities.as_ref());
            let mut reader = opened.map_err(|error| unreadable(name, error, true, (&location, &key)))?;
            let passed = pour(name, &mut reader, output);
            passed.map_err(|error| match error {
                PourError::Input(error) => unreadable(name, error, !reader.has_store_failed(), (&location, &key)),
                PourError::Wal(error) => error,
            })
        }
        Found::Plain(key, reader) => {
            let mut reader = decoded(Box::new(reader)).map_err(|error| unreadable(name, error, true, (&location, &key)))?;
            pour(name, &mut reader, output).map_err(|error| match error {
                PourError::Input(error) => unreadable(name, error, true, (&location, &key)),
                PourError::Wal(error) => error,
            })
        }
    }
}

/// What a failure to read means: damage, a key that does not fit, or a store that fails.
fn unreadable(name: WalName, error: io::Error, is_damage: bool, (location, key): (&str, &Key)) -> WalError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<age::DecryptError>()) {
        Some(age::DecryptError::NoMatchingKeys) => WalError::KeyWrong { name },
        _ if is_damage => WalError::Damaged { name, reason: chain(&error) },
        _ => StoreError::Failed { verb: "read", location: location.to_owned(), key: key.clone(), source: error }.into(),
    }
}

enum PourError {
    Input(io::Error),
    Wal(WalError),
}

/// Passes the data on, and makes sure that it is of that name.
fn pour(name: WalName, input: &mut dyn Read, output: &mut dyn Write) -> Result<(), PourError> {
    let mut head = Vec::with_capacity(SegmentHeader::BYTES);
    let mut buffer = vec![0; PIECE_BYTES];
    let mut bytes = 0;
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(PourError::Input(error)),
        };
        let wanted = SegmentHeader::BYTES.saturating_sub(head.len()).min(count);
        head.extend_from_slice(&buffer[..wanted]);
        bytes += count as u64;
        let written = output.write_all(&buffer[..count]);
        written.map_err(|source| PourError::Wal(WalError::Process { name, source }))?;
    }
    let (WalName::Segment(segment) | WalName::Partial(segment)) = name else { return Ok(()) };
    let reason = match SegmentHeader::parse(&head) {
        Some(header) => header.contradiction(segment, bytes),
        None => Some("it does not begin as a segment does".to_owned()),
    };
    reason.map_or(Ok(()), |reason| Err(PourError::Wal(WalError::Damaged { name, reason })))
}
