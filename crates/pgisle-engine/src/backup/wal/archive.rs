//! Archiving one file: looked at, compressed, encrypted, written, sealed. Whatever is in doubt is refused, and the server asks again.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use pgisle_core::backup::wal::{History, SegmentHeader, WAL_FORMAT, WalName, WalSeal};
use pgisle_core::backup::{Checksum, Compression, StoredObject, seal as sealed};

use super::error::WalError;
use super::{SEAL, key, seal};
use crate::backup::error::BackupError;
use crate::backup::store::{BackupStore, Reader, StoreError, Writer};
use crate::credential::{self, Recipients};
use crate::{clock, fault};

/// How much is read at once.
const PIECE_BYTES: usize = 1 << 18;

/// zstd's level: a segment takes some 50 ms, and a busy server archives several a second.
const ZSTD_LEVEL: i32 = 3;

/// Only segments are larger than this.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// A file that is in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The file.
    pub name: WalName,
    /// False when it was there already, with the same content.
    pub is_new: bool,
    /// Its bytes.
    pub raw_bytes: u64,
    /// Its bytes in the store.
    pub bytes: u64,
}

/// Puts a file of a server's log into the archive. It outlives a power cut when this comes back.
///
/// The same file again is a success, and mends what is damaged in the archive. Another one of the same name is refused.
///
/// # Errors
/// It is not what its name says, there is another one, or the store fails. The archive holds then what it held before.
pub async fn archive(store: &BackupStore, path: &Path, recipients: &[String]) -> Result<Archived, WalError> {
    let text = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = WalName::parse(&text).ok_or(WalError::Name(text))?;
    let recipients = match name {
        // Timelines and places are no secret, and whoever lists the archive needs them.
        WalName::History(_) => None,
        _ => keys(recipients)?,
    };
    let source = Source { name, path: path.to_owned() };
    let (file, examined) = blocking(name, move || examine(&source)).await?;
    let there = seal(store, name).await?;
    if let Some(there) = &there {
        if (there.data.raw_bytes, there.data.raw_sha256.as_ref()) != (examined.bytes, Some(&examined.sha256)) {
            return Err(WalError::Conflict { name, location: store.location() });
        }
        if is_whole(store, name, &there.data).await? {
            return Ok(Archived { name, is_new: false, raw_bytes: examined.bytes, bytes: there.data.bytes });
        }
    }
    let suffix = if recipients.is_some() { ".zst.age" } else { ".zst" };
    let object = key(name, suffix);
    // Under no lock: several servers may archive at once.
    let writer = store.writer(&object, examined.bytes, None).await?;
    let packed = blocking(name, move || pack(name, file, writer, recipients.as_ref())).await?;
    if (packed.raw_bytes, packed.raw_sha256.as_ref()) != (examined.bytes, Some(&examined.sha256)) {
        return Err(WalError::Content { name, reason: "it changed while it was read".to_owned() });
    }
    fault::stage("wal.data");
    let data = StoredObject { name: format!("{name}{suffix}"), ..packed };
    let (raw_bytes, bytes) = (data.raw_bytes, data.bytes);
    let system_identifier = examined.system_identifier.map(|number| number.to_string());
    let new = WalSeal { format: WAL_FORMAT, name: name.to_string(), system_identifier, archived: clock::now(), data };
    let text = sealed(&new).into_bytes();
    if there.is_some() {
        store.put(&key(name, SEAL), text).await?;
    } else if !store.put_new(&key(name, SEAL), text).await? {
        // Another server archives a file of this name at the same moment.
        return Err(WalError::Conflict { name, location: store.location() });
    }
    fault::stage("wal.seal");
    Ok(Archived { name, is_new: true, raw_bytes, bytes })
}

fn keys(texts: &[String]) -> Result<Option<Recipients>, WalError> {
    if texts.is_empty() {
        return Ok(None);
    }
    Recipients::parse(texts).map(Some).map_err(|error| {
        WalError::Key(match error {
            credential::StoreError::Recipient { position } => BackupError::Recipient { position },
            error => BackupError::KeyUnusable(error),
        })
    })
}

async fn blocking<T: Send + 'static>(
    name: WalName,
    work: impl FnOnce() -> Result<T, WalError> + Send + 'static,
) -> Result<T, WalError> {
    let result = tokio::task::spawn_blocking(work).await;
    result.unwrap_or_else(|error| Err(WalError::Process { name, source: io::Error::other(error) }))
}

struct Source {
    name: WalName,
    path: PathBuf,
}

/// What a file was found to be.
struct Examined {
    bytes: u64,
    sha256: String,
    /// Of a segment.
    system_identifier: Option<u64>,
}

/// Makes sure that a file is what its name says, and gives it to be read again.
fn examine(source: &Source) -> Result<(File, Examined), WalError> {
    let Source { name, path } = source;
    let failed = |source| WalError::Read { path: path.clone(), source };
    let wrong = |reason: String| WalError::Content { name: *name, reason };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(wrong("it is no plain file".to_owned()));
    }
    let (head, bytes, sha256) = hash(&mut file).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let mut system_identifier = None;
    match name {
        WalName::Segment(segment) | WalName::Partial(segment) => {
            let header = SegmentHeader::parse(&head).ok_or_else(|| wrong("it does not begin as a segment does".to_owned()))?;
            if let Some(reason) = header.contradiction(*segment, bytes) {
                return Err(wrong(reason));
            }
            system_identifier = Some(header.system_identifier);
        }
        WalName::History(timeline) => {
            let text = String::from_utf8_lossy(&head);
            if bytes > TEXT_BYTES_MAX || History::parse(*timeline, &text).is_none() {
                return Err(wrong("it does not say how the timeline came to be".to_owned()));
            }
        }
        WalName::Label { .. } if bytes == 0 || bytes > TEXT_BYTES_MAX => {
            return Err(wrong(format!("it has {bytes} bytes")));
        }
        WalName::Label { .. } => {}
    }
    Ok((file, Examined { bytes, sha256, system_identifier }))
}

/// Reads a file to its end; gives as much of its beginning as a text or a header takes.
fn hash(file: &mut File) -> io::Result<(Vec<u8>, u64, String)> {
    let mut head = Vec::new();
    let mut all = Checksum::default();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((head, bytes, all.finish()));
        }
        if bytes < TEXT_BYTES_MAX {
            head.extend_from_slice(&buffer[..count]);
        }
        all.feed(&buffer[..count]);
        bytes += count as u64;
    }
}

/// Whether the object is there as its seal has it, to the last byte. It need not be decrypted for that.
async fn is_whole(store: &BackupStore, name: WalName, data: &StoredObject) -> Result<bool, WalError> {
    let Some(suffix) = data.name.strip_prefix(&name.to_string()) else { return Ok(false) };
    let mut reader: Reader = match store.reader(&key(name, suffix)).await {
        Err(StoreError::Missing { .. }) => return Ok(false),
        reader => reader?,
    };
    let expected = (data.bytes, data.sha256.clone());
    let (location, object) = (store.location(), key(name, suffix));
    blocking(name, move || {
        let mut tally = Tally { output: io::sink(), checksum: Checksum::default(), bytes: 0 };
        io::copy(&mut reader, &mut tally).map_err(|source| StoreError::Failed { verb: "read", location, key: object, source })?;
        Ok((tally.bytes, tally.checksum.finish()) == expected)
    })
    .await
}

/// Compresses, encrypts and writes; the object is in its place when this comes back.
fn pack(name: WalName, mut file: File, writer: Writer, recipients: Option<&Recipients>) -> Result<StoredObject, WalError> {
    let mut output = Tally { output: writer, checksum: Checksum::default(), bytes: 0 };
    let result = match recipients {
        None => compress(&mut file, &mut output),
        Some(recipients) => recipients.wrap(&mut output).and_then(|mut wrapped| {
            let raw = compress(&mut file, &mut wrapped)?;
            wrapped.finish().map(|_| raw)
        }),
    };
    let (raw_bytes, raw_sha256) = result.map_err(|source| WalError::Process { name, source })?;
    let Tally { output: writer, checksum: stored, bytes } = output;
    writer.finish()?;
    Ok(StoredObject {
        name: String::new(),
        bytes,
        sha256: stored.finish(),
        raw_bytes,
        raw_sha256: Some(raw_sha256),
        compression: Compression::Zstd,
        is_encrypted: recipients.is_some(),
    })
}

fn compress(input: &mut impl Read, output: &mut dyn Write) -> io::Result<(u64, String)> {
    let mut encoder = zstd::Encoder::new(output, ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    let mut raw = Tally { output: encoder, checksum: Checksum::default(), bytes: 0 };
    io::copy(input, &mut raw)?;
    let Tally { output: encoder, checksum: all, bytes } = raw;
    encoder.finish()?;
    Ok((bytes, all.finish()))
}

/// Counts and hashes what is written through it.
struct Tally<W> {
    output: W,
    checksum: Checksum,
    bytes: u64,
}

impl<W: Write> Write for Tally<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.checksum.feed(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
