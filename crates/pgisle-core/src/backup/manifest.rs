//! What is written beside a backup's data, last: without it there is no backup.
//!
//! The file is one line of JSON and the SHA-256 of that line. A byte that flips anywhere in it shows, and so does a manifest that
//! lies where another belongs: it names the service and the backup that it is of.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{BackupId, Content};
use crate::moment::Moment;
use crate::name::{DatabaseName, ExtensionName, RoleName, SchemaName, ServiceName};

/// The format's version.
pub const FORMAT: u32 = 1;

/// Why a manifest is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Its checksum is not that of its content.
    #[error("the manifest is damaged: its checksum does not fit")]
    Checksum,
    /// It was written by a newer pgisle, or by something else.
    #[error("the manifest cannot be understood: {0}")]
    Content(String),
    /// It is another backup's.
    #[error("the manifest is that of {found} and lies where that of {expected} should be")]
    Misplaced {
        /// Whose it should be.
        expected: String,
        /// Whose it is.
        found: String,
    },
}

/// Writes a manifest of any kind as text.
#[must_use]
pub fn seal<T: Serialize>(manifest: &T) -> String {
    // Structs of numbers, texts and lists always serialise.
    let line = serde_json::to_string(manifest).unwrap_or_default();
    let checksum = checksum(line.as_bytes());
    format!("{line}\n{checksum}\n")
}

/// Reads what [`seal`] wrote, and takes nothing else.
///
/// # Errors
/// A byte is not as it was, or the content is of another kind.
pub fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ManifestError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::Checksum)?;
    let (line, rest) = text.split_once('\n').ok_or(ManifestError::Checksum)?;
    if rest.strip_suffix('\n') != Some(checksum(line.as_bytes()).as_str()) {
        return Err(ManifestError::Checksum);
    }
    serde_json::from_str(line).map_err(|error| ManifestError::Content(error.to_string()))
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn checksum(bytes: &[u8]) -> String {
    crate::artifact::digest(bytes)
}

/// SHA-256 of what flows by.
#[derive(Debug, Clone, Default)]
pub struct Checksum(Sha256);

impl Checksum {
    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// In hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        use std::fmt::Write as _;
        self.0.finalize().iter().fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// How the data is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DumpFormat {
    /// `pg_dump`'s custom format, uncompressed by it.
    Custom,
    /// A script for `psql`.
    Plain,
}

/// How the data is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard.
    Zstd,
    /// gzip.
    Gzip,
}

/// A file of a backup, as it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredObject {
    /// Its name beside the manifest.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: String,
    /// The bytes before compression and encryption.
    pub raw_bytes: u64,
    /// Their SHA-256, where something else is compared with them: a segment of the write-ahead log with the server's. Otherwise what
    /// is stored has a SHA-256, and the compression a checksum of its own, that it gives back what it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_sha256: Option<String>,
    /// How it is compressed.
    pub compression: Compression,
    /// Whether it is encrypted by `age`, over the compression.
    pub is_encrypted: bool,
}

/// An extension that was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionThere {
    /// Its name.
    pub name: ExtensionName,
    /// Its version.
    pub version: String,
    /// The schema that its objects are in.
    pub schema: SchemaName,
}

/// The moment that a backup stands at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotThere {
    /// When it was taken.
    pub taken: Moment,
    /// Where the write-ahead log was, such as `0/1A2B3C4D`.
    pub lsn: String,
    /// The snapshot itself (`pg_current_snapshot`): which transactions it saw.
    pub transactions: String,
}

/// A backup that was made together with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetThere {
    /// The set's name, the same in all its members.
    pub id: BackupId,
    /// Whether all members stand at one moment: nothing was written between the first snapshot and the last.
    pub is_consistent: bool,
    /// Milliseconds between the first snapshot and the last.
    pub spread_ms: u64,
    /// The services of the set.
    pub services: Vec<ServiceName>,
}

/// One service's backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Its name.
    pub id: BackupId,
    /// `name_prefix` of the spec.
    pub project: String,
    /// The environment.
    pub environment: String,
    /// The service.
    pub service: ServiceName,
    /// Its database.
    pub database: DatabaseName,
    /// The role that owned everything in it.
    pub owner: RoleName,
    /// When it was begun.
    pub begun: Moment,
    /// When its data was complete.
    pub completed: Moment,
    /// pgisle's version.
    pub pgisle_version: String,
    /// The server's version.
    pub server_version: String,
    /// `pg_dump`'s version.
    pub dump_version: String,
    /// The database's encoding.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collation: String,
    /// The moment that it stands at.
    pub snapshot: SnapshotThere,
    /// What it was made together with.
    pub set: Option<SetThere>,
    /// The extensions, which a restore makes itself.
    pub extensions: Vec<ExtensionThere>,
    /// How the data is laid out.
    pub dump_format: DumpFormat,
    /// The data.
    pub data: StoredObject,
    /// What is in it, taken from the same snapshot.
    pub content: Content,
}

impl Manifest {
    /// Reads the manifest that lies where that of `service` and `id` belongs.
    ///
    /// # Errors
    /// It is damaged, or another's.
    pub fn open(bytes: &[u8], service: &ServiceName, id: &BackupId) -> Result<Self, ManifestError> {
        let manifest: Self = open(bytes)?;
        if manifest.format != FORMAT {
            return Err(ManifestError::Content(format!("it has format {}, and this pgisle knows {FORMAT}", manifest.format)));
        }
        if manifest.service != *service || manifest.id != *id {
            let name = |service: &ServiceName, id: &BackupId| format!("backup {id} of service \"{service}\"");
            return Err(ManifestError::Misplaced { expected: name(service, id), found: name(&manifest.service, &manifest.id) });
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn any_flipped_bit_shows() {
        let text = seal(&vec!["one".to_owned(), "two".to_owned()]);
        assert_eq!(open::<Vec<String>>(text.as_bytes()).unwrap(), ["one", "two"]);
        for place in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                assert!(open::<Vec<String>>(&bytes).is_err(), "byte {place} bit {bit}");
            }
        }
        for length in 0..text.len() {
            assert!(open::<Vec<String>>(&text.as_bytes()[..length]).is_err(), "cut to {length}");
        }
        assert!(open::<Vec<String>>(format!("{text}\n").as_bytes()).is_err());
    }

    #[test]
    fn the_checksum_of_a_stream_is_that_of_the_whole() {
        let mut stream = Checksum::default();
        stream.feed(b"ab");
        stream.feed(b"c");
        assert_eq!(stream.finish(), checksum(b"abc"));
        assert!(checksum(b"abc").starts_with("ba7816bf"));
    }
}
