//! Reading what `pg_basebackup` writes, as it flows by: a data directory as a tar, with `backup_manifest` in it as the last file.
//!
//! The server writes down every file's size and SHA-256 as it sends it. What arrives is compared with that file by file, and the
//! write-ahead log that the backup cannot be started without is looked for, segment by segment. So neither a cut tar nor a changed
//! one is taken for whole.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::Deserialize;

use super::lsn::Lsn;
use super::manifest::{Checksum, checksum};
use super::tar::{Entry, Kind, TarError, TarReader};

/// The list of the files, as `pg_basebackup` calls it.
pub const MANIFEST: &str = "backup_manifest";
/// Where the backup starts, for the server that recovers from it.
const LABEL: &str = "backup_label";
/// Where the server keeps its identity; the first eight bytes are the system's identifier.
const CONTROL: &str = "global/pg_control";
/// Not empty where there are tablespaces.
const TABLESPACES: &str = "tablespace_map";
/// The server's settings, which some systems keep outside of the data directory.
pub const SETTINGS: &str = "postgresql.conf";
/// The folder of the write-ahead log, which is not listed.
const WAL: &[u8] = b"pg_wal/";

/// No list is larger; it is held in memory. It has some 150 bytes for each file.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;
/// No label is larger.
const LABEL_BYTES_MAX: u64 = 1 << 16;
/// How much of a file is read at once.
const PIECE_BYTES: usize = 1 << 18;
/// Digits in the name of a segment of the write-ahead log.
const SEGMENT_DIGITS: usize = 24;

/// Why a base backup is not taken for whole.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// It is no tar, or not a whole one.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A file's content could not be read.
    #[error("the tar cannot be read")]
    Read(#[from] io::Error),
    /// Something that every base backup has is not there.
    #[error("it has no \"{0}\"")]
    Missing(String),
    /// A file is not as the server sent it.
    #[error("its file \"{0}\" is not what the server listed")]
    Differs(String),
    /// A file that the server did not list.
    #[error("its file \"{0}\" is not in the server's list")]
    Unlisted(String),
    /// A file came twice.
    #[error("its file \"{0}\" comes twice")]
    Twice(String),
    /// The list cannot be understood, or is damaged.
    #[error("its list of files is damaged: {0}")]
    Manifest(String),
    /// The label cannot be understood.
    #[error("its backup_label cannot be understood")]
    Label,
    /// Its parts contradict each other.
    #[error("its {0} contradict each other")]
    Contradiction(&'static str),
    /// It reaches beyond the data directory.
    #[error("it has tablespaces, which lie outside of the data directory")]
    Tablespaces,
}

/// What a base backup is of, all of it read and found to be as the server sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The cluster's identity.
    pub system_identifier: u64,
    /// Where it starts and ends.
    pub span: Span,
    /// The last checkpoint before.
    pub checkpoint: Lsn,
    /// Where the backup before it started, when it only holds what has changed since.
    pub since: Option<Lsn>,
    /// How many files it has, those of the write-ahead log included.
    pub files: u64,
    /// Whether the server's settings are in it.
    pub has_settings: bool,
    /// `backup_manifest`, as it came.
    pub manifest: Vec<u8>,
}

/// The write-ahead log that a base backup cannot be started without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The timeline.
    pub timeline: u32,
    /// From here.
    pub start: Lsn,
    /// To here.
    pub stop: Lsn,
}

/// A file as it came.
struct Came {
    bytes: u64,
    sha256: String,
}

/// Reads a base backup to its end.
///
/// # Errors
/// It is not whole, or not what the server sent.
pub fn read(input: impl Read) -> Result<Base, BaseError> {
    let mut gathered = Gathered::default();
    let mut tar = TarReader::new(input);
    while let Some(entry) = tar.next_entry()? {
        if entry.kind == Kind::File {
            gathered.take(&entry, &mut tar)?;
        }
    }
    gathered.judge()
}

/// Compares the files of a base backup with its list, whatever they are read from.
#[derive(Default)]
pub struct Gathered {
    files: BTreeMap<Vec<u8>, Came>,
    kept: BTreeMap<&'static str, Vec<u8>>,
}

impl Gathered {
    /// Reads one file.
    ///
    /// # Errors
    /// It cannot be read, or was there before.
    pub fn take(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), BaseError> {
        self.pass(entry, content, &mut io::sink())
    }

    /// Reads one file, and writes it.
    ///
    /// # Errors
    /// It cannot be read or written, or was there before.
    pub fn pass(&mut self, entry: &Entry, content: &mut impl Read, output: &mut impl io::Write) -> Result<(), BaseError> {
        let kept = [(MANIFEST, MANIFEST_BYTES_MAX), (LABEL, LABEL_BYTES_MAX), (CONTROL, LABEL_BYTES_MAX)];
        let kept = kept.into_iter().find(|(name, _)| entry.path == name.as_bytes());
        let shown = || String::from_utf8_lossy(&entry.path).into_owned();
        if kept.is_some_and(|(_, limit)| entry.bytes > limit) {
            return Err(BaseError::Differs(shown()));
        }
        if entry.path == TABLESPACES.as_bytes() && entry.bytes > 0 {
            return Err(BaseError::Tablespaces);
        }
        let mut sum = Checksum::default();
        let mut whole = Vec::new();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            sum.feed(&buffer[..count]);
            output.write_all(&buffer[..count])?;
            if kept.is_some() {
                whole.extend_from_slice(&buffer[..count]);
            }
        }
        if let Some((name, _)) = kept {
            self.kept.insert(name, whole);
        }
        let came = Came { bytes: entry.bytes, sha256: sum.finish() };
        match self.files.insert(entry.path.clone(), came) {
            None => Ok(()),
            Some(_) => Err(BaseError::Twice(shown())),
        }
    }

    /// Compares all that came.
    ///
    /// # Errors
    /// Something is missing, too much, or not as it was sent.
    pub fn judge(mut self) -> Result<Base, BaseError> {
        let mut kept = |name: &'static str| self.kept.remove(name).ok_or_else(|| BaseError::Missing(name.to_owned()));
        let (manifest, label, control) = (kept(MANIFEST)?, kept(LABEL)?, kept(CONTROL)?);
        let List { system_identifier: listed_identifier, files: listed, span } = list(&manifest)?;
        let Label { start, checkpoint, timeline, since } = label_of(&label)?;
        if (start, timeline) != (span.start, span.timeline) || span.stop < span.start {
            return Err(BaseError::Contradiction("backup_label and list of files"));
        }
        let identifier = control.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).unwrap_or_default();
        if listed_identifier.is_some_and(|listed| listed != identifier) {
            return Err(BaseError::Contradiction("pg_control and list of files"));
        }
        let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        for (path, (bytes, sha256)) in &listed {
            match self.files.get(path) {
                None => return Err(BaseError::Missing(shown(path))),
                Some(came) if (came.bytes, &came.sha256) != (*bytes, sha256) => return Err(BaseError::Differs(shown(path))),
                Some(_) => {}
            }
        }
        let mut unlisted = self.files.keys().filter(|path| !listed.contains_key(*path));
        if let Some(path) = unlisted.find(|path| *path != MANIFEST.as_bytes() && !path.starts_with(WAL)) {
            return Err(BaseError::Unlisted(shown(path)));
        }
        self.look_for_wal(span)?;
        let files = self.files.len() as u64;
        let has_settings = self.files.contains_key(SETTINGS.as_bytes());
        Ok(Base { system_identifier: identifier, span, checkpoint, since, files, has_settings, manifest })
    }

    /// Looks for every segment between start and stop.
    fn look_for_wal(&self, span: Span) -> Result<(), BaseError> {
        let segments = self.files.iter().filter_map(|(path, came)| Some((path.strip_prefix(WAL)?, came.bytes)));
        let mut segments = segments.filter(|(name, _)| name.len() == SEGMENT_DIGITS && name.iter().all(u8::is_ascii_hexdigit));
        // All segments have the size that the cluster was made with.
        let segment_bytes = segments.next().map(|(_, bytes)| bytes).filter(|bytes| bytes.is_power_of_two() && *bytes <= 1 << 30);
        let segment_bytes = segment_bytes.ok_or_else(|| BaseError::Missing("pg_wal".to_owned()))?;
        let in_a_file = (1 << 32) / segment_bytes;
        // The log ends before the stop, which may be the first byte of a segment that was not begun.
        let last = span.stop.bytes().saturating_sub(1).max(span.start.bytes()) / segment_bytes;
        for number in span.start.bytes() / segment_bytes..=last {
            let name = format!("pg_wal/{:08X}{:08X}{:08X}", span.timeline, number / in_a_file, number % in_a_file);
            if self.files.get(name.as_bytes()).is_none_or(|came| came.bytes != segment_bytes) {
                return Err(BaseError::Missing(name));
            }
        }
        Ok(())
    }
}

struct Label {
    start: Lsn,
    checkpoint: Lsn,
    timeline: u32,
    since: Option<Lsn>,
}

fn label_of(bytes: &[u8]) -> Result<Label, BaseError> {
    let text = std::str::from_utf8(bytes).map_err(|_| BaseError::Label)?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim);
    let place = |name: &str| field(name).and_then(|value| Lsn::parse(value.split(' ').next()?));
    let attempt = || {
        Some(Label {
            start: place("START WAL LOCATION")?,
            checkpoint: place("CHECKPOINT LOCATION")?,
            timeline: field("START TIMELINE")?.parse().ok()?,
            since: place("INCREMENTAL FROM LSN"),
        })
    };
    attempt().ok_or(BaseError::Label)
}

struct List {
    system_identifier: Option<u64>,
    /// With bytes and SHA-256.
    files: BTreeMap<Vec<u8>, (u64, String)>,
    span: Span,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawList {
    #[serde(rename = "PostgreSQL-Backup-Manifest-Version")]
    version: u32,
    #[serde(rename = "System-Identifier")]
    system_identifier: Option<u64>,
    files: Vec<RawFile>,
    #[serde(rename = "WAL-Ranges")]
    wal_ranges: Vec<RawRange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawFile {
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    checksum: Option<String>,
}

#[derive(Deserialize)]
struct RawRange {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: Lsn,
    #[serde(rename = "End-LSN")]
    stop: Lsn,
}

/// The versions of the list that are known: 1 up to PostgreSQL 16, 2 from 17 on.
const VERSIONS: [u32; 2] = [1, 2];

fn list(bytes: &[u8]) -> Result<List, BaseError> {
    let damaged = |reason: &str| BaseError::Manifest(reason.to_owned());
    // The last line is the checksum of all lines before it.
    let body = bytes.strip_suffix(b"\n").ok_or_else(|| damaged("it is cut short"))?;
    let last = body.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
    let sum = format!("\"Manifest-Checksum\": \"{}\"}}", checksum(&bytes[..last]));
    if body[last..] != *sum.as_bytes() {
        return Err(damaged("its checksum does not fit"));
    }
    let raw: RawList = serde_json::from_slice(bytes).map_err(|error| BaseError::Manifest(error.to_string()))?;
    if !VERSIONS.contains(&raw.version) {
        return Err(BaseError::Manifest(format!("it is of version {}", raw.version)));
    }
    let mut files = BTreeMap::new();
    for file in raw.files {
        let (path, bytes, sha256) = listed(file).ok_or_else(|| damaged("a file has no name or no SHA-256"))?;
        if files.insert(path, (bytes, sha256)).is_some() {
            return Err(damaged("a file is listed twice"));
        }
    }
    // Several ranges are for a server whose timeline changed during the backup.
    let [RawRange { timeline, start, stop }] = raw.wal_ranges[..] else {
        return Err(damaged("it does not name one range of the write-ahead log"));
    };
    Ok(List { system_identifier: raw.system_identifier, files, span: Span { timeline, start, stop } })
}

fn listed(file: RawFile) -> Option<(Vec<u8>, u64, String)> {
    let RawFile { path, encoded_path, size, algorithm, checksum } = file;
    let path = match (path, encoded_path) {
        (Some(path), _) => path.into_bytes(),
        (None, Some(encoded)) => decoded(&encoded)?,
        (None, None) => return None,
    };
    if algorithm.as_deref() != Some("SHA256") {
        return None;
    }
    Some((path, size, checksum?.to_ascii_lowercase()))
}

/// Bytes from their hexadecimal digits.
fn decoded(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests;
