//! Reading a backup's data: what lies in the store, decrypted, decompressed, and checked against the manifest to the last byte.

use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use pgisle_core::backup::{Checksum, Compression, StoredObject};

use super::store::Reader;
use crate::credential::Identities;

/// How much is read from the store at once.
const BUFFER_BYTES: usize = 256 << 10;

/// In what the data is not what the manifest says. Comes as the inner error of an [`io::Error`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// It is longer or shorter.
    #[error("the object has {found} bytes and should have {expected}")]
    Bytes {
        /// By the manifest.
        expected: u64,
        /// In the store.
        found: u64,
    },
    /// A byte differs.
    #[error("the object's checksum is not that of the manifest")]
    Checksum,
    /// The object is as it was and does not decompress to what was dumped.
    #[error("the decompressed data is not what was dumped: {found} bytes, and should be {expected}")]
    Raw {
        /// By the manifest.
        expected: u64,
        /// What came out.
        found: u64,
    },
    /// It cannot be decrypted or decompressed.
    #[error("the object cannot be decoded: {0}")]
    Decode(String),
}

/// A backup's raw data. The end is reached only if everything was as the manifest says; until then nothing is proved.
pub struct DataReader {
    decoder: Box<dyn Read + Send>,
    expected: StoredObject,
    stored: Arc<Mutex<Passed>>,
    /// Where the manifest has one.
    raw: Option<Checksum>,
    raw_bytes: u64,
    /// Set once all has been checked.
    is_proved: bool,
}

impl std::fmt::Debug for DataReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataReader").field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// What has passed by of the stored object.
#[derive(Debug, Default)]
struct Passed {
    checksum: Checksum,
    bytes: u64,
    /// The store itself failed, which says nothing about the backup.
    failed: bool,
}

/// Hashes what is read through it.
struct Passing<R> {
    input: R,
    passed: Arc<Mutex<Passed>>,
}

impl<R: Read> Read for Passing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.input.read(buffer);
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(count) => {
                passed.checksum.feed(&buffer[..count]);
                passed.bytes += count as u64;
                Ok(count)
            }
            Err(error) => {
                passed.failed |= error.kind() != io::ErrorKind::Interrupted;
                Err(error)
            }
        }
    }
}

impl DataReader {
    /// Reads an object as its manifest describes it. Blocks while the encryption's header is read.
    ///
    /// # Errors
    /// The store fails, or it cannot be decrypted; [`age::DecryptError::NoMatchingKeys`] is the inner error when the key does not fit.
    pub(super) fn new(input: Reader, object: &StoredObject, identities: Option<&Identities>) -> io::Result<Self> {
        let stored = Arc::new(Mutex::new(Passed::default()));
        let input = BufReader::with_capacity(BUFFER_BYTES, Passing { input, passed: Arc::clone(&stored) });
        let input: Box<dyn Read + Send> = match identities {
            Some(identities) => Box::new(identities.unwrap(input).map_err(|error| match error {
                age::DecryptError::Io(error) => error,
                error => io::Error::new(io::ErrorKind::InvalidData, error),
            })?),
            None => Box::new(input),
        };
        let decoder: Box<dyn Read + Send> = match object.compression {
            Compression::Zstd => Box::new(zstd::Decoder::new(input)?),
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, input))),
        };
        let raw = object.raw_sha256.is_some().then(Checksum::default);
        Ok(Self { decoder, expected: object.clone(), stored, raw, raw_bytes: 0, is_proved: false })
    }

    /// Bytes that have come from the store so far.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.passed().bytes
    }

    /// Whether it was the store that failed, which says nothing about the backup.
    #[must_use]
    pub fn has_store_failed(&self) -> bool {
        self.passed().failed
    }

    /// Reads all that is left, and with that proves the backup whole. `seen` hears of the stored bytes as they pass.
    ///
    /// # Errors
    /// The store fails, or the data is not what the manifest says.
    pub fn prove(&mut self, mut seen: impl FnMut(u64)) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        while self.read(&mut buffer)? > 0 {
            seen(self.stored_bytes());
        }
        Ok(())
    }

    fn passed(&self) -> std::sync::MutexGuard<'_, Passed> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&mut self) -> io::Result<()> {
        if self.is_proved {
            return Ok(());
        }
        let wrong = |error: DataError| Err(io::Error::new(io::ErrorKind::InvalidData, error));
        let (bytes, checksum) = {
            let passed = self.passed();
            (passed.bytes, passed.checksum.clone().finish())
        };
        let StoredObject { bytes: expected, sha256, raw_bytes, raw_sha256, .. } = &self.expected;
        if bytes != *expected {
            return wrong(DataError::Bytes { expected: *expected, found: bytes });
        }
        if checksum != *sha256 {
            return wrong(DataError::Checksum);
        }
        if self.raw_bytes != *raw_bytes || self.raw.clone().map(Checksum::finish) != *raw_sha256 {
            return wrong(DataError::Raw { expected: *raw_bytes, found: self.raw_bytes });
        }
        self.is_proved = true;
        Ok(())
    }
}

impl Read for DataReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = match self.decoder.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted || self.has_store_failed() => return Err(error),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, DataError::Decode(error.to_string()))),
        };
        if count == 0 {
            self.check()?;
        }
        if let Some(raw) = &mut self.raw {
            raw.feed(&buffer[..count]);
        }
        self.raw_bytes += count as u64;
        Ok(count)
    }
}
