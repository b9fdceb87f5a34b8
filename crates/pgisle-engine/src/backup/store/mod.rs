//! The one place that touches the backup store: a folder, or a service that speaks S3.
//!
//! Small objects are read and written whole. Large ones flow through a [`Reader`] or a [`Writer`], which block and are for threads
//! that may. In both kinds of store an object is there whole or not at all, whenever its writer dies.

mod directory;
mod error;
mod key;
mod s3;
mod unfinished;
mod upload;

use std::io::{self, Read, Write};
use std::path::PathBuf;

use pgisle_core::moment::Moment;
use pgisle_core::spec::Environment;

pub use error::StoreError;
pub(super) use error::chain;
pub use key::Key;
pub use s3::S3Environment;
pub use unfinished::Unfinished;

use crate::process::Account;
use directory::Directory;
use s3::S3;

/// What `backup_storage_path` begins with when it is not a folder.
const S3_SCHEME: &str = "s3://";

/// No manifest, status or log is larger; what is, is something else, and would only fill the memory.
const SMALL_BYTES_MAX: u64 = 256 << 20;

/// Where one project's backups of one environment are. A clone shares its connections.
#[derive(Debug, Clone)]
pub struct BackupStore {
    base: Base,
}

#[derive(Debug, Clone)]
enum Base {
    Directory(Directory),
    S3(S3),
}

/// An object that lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// Its bytes.
    pub bytes: u64,
    /// When it was written.
    pub modified: Moment,
    /// Whether it is the rest of a writer that was killed, or one that is at work.
    pub is_partial: bool,
}

impl BackupStore {
    /// Takes `backup_storage_path`, and the project and environment whose backups are meant. Touches nothing yet.
    ///
    /// # Errors
    /// The location is not one, or the environment's S3 settings contradict each other.
    pub fn open(location: &str, project: &str, environment: Environment, s3: &S3Environment) -> Result<Self, StoreError> {
        let owner = format!("{project}-{environment}");
        let base = match location.strip_prefix(S3_SCHEME) {
            Some(place) => Base::S3(S3::open(location, place, &owner, s3)?),
            None => Base::Directory(Directory::new(PathBuf::from(location).join(owner))),
        };
        Ok(Self { base })
    }

    /// The place, for people.
    #[must_use]
    pub fn location(&self) -> String {
        match &self.base {
            Base::Directory(directory) => directory.root().display().to_string(),
            Base::S3(s3) => s3.location(),
        }
    }

    /// The folder, where it is one.
    #[must_use]
    pub fn folder(&self) -> Option<&std::path::Path> {
        match &self.base {
            Base::Directory(directory) => Some(directory.root()),
            Base::S3(_) => None,
        }
    }

    /// Reads a small object whole; none when it is not there.
    ///
    /// # Errors
    /// The store cannot be read, or the object is no small one.
    pub async fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        let result = match &self.base {
            Base::Directory(directory) => {
                let path = directory.path(key);
                blocking(move || directory::read(&path, SMALL_BYTES_MAX)).await
            }
            Base::S3(s3) => s3.read(key, SMALL_BYTES_MAX).await,
        };
        result.map_err(|source| self.failed("read", key, source))
    }

    /// Writes a small object whole, in place of what was there.
    ///
    /// # Errors
    /// The store cannot be written; what was there before is as it was.
    pub async fn put(&self, key: &Key, bytes: Vec<u8>) -> Result<(), StoreError> {
        let result = match &self.base {
            Base::Directory(directory) => {
                let (directory, key) = (directory.clone(), key.clone());
                blocking(move || {
                    let mut file = directory.create(&key)?;
                    file.write_all(&bytes)?;
                    file.finish()
                })
                .await
            }
            Base::S3(s3) => s3.put(key, bytes).await,
        };
        result.map_err(|source| self.failed("write", key, source))
    }

    /// Writes a small object whole, unless there is one of that name. False when there is. A service that speaks S3 without knowing
    /// conditions overwrites.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put_new(&self, key: &Key, bytes: Vec<u8>) -> Result<bool, StoreError> {
        let result = match &self.base {
            Base::Directory(directory) => {
                let (directory, key) = (directory.clone(), key.clone());
                blocking(move || {
                    let mut file = directory.create(&key)?;
                    file.write_all(&bytes)?;
                    file.finish_new()
                })
                .await
            }
            Base::S3(s3) => s3.put_new(key, bytes).await,
        };
        result.map_err(|source| self.failed("write", key, source))
    }

    /// Lists what lies below a key, in the order of the keys. What is not there has nothing below it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self, below: &Key) -> Result<Vec<Listed>, StoreError> {
        let result = match &self.base {
            Base::Directory(directory) => {
                let (directory, below) = (directory.clone(), below.clone());
                blocking(move || directory.list(&below)).await
            }
            Base::S3(s3) => s3.list(below).await,
        };
        let mut listed = result.map_err(|source| self.failed("list", below, source))?;
        listed.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(listed)
    }

    /// Takes an object away. One that is not there counts as taken away.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let result = match &self.base {
            Base::Directory(directory) => {
                let (directory, key) = (directory.clone(), key.clone());
                blocking(move || directory.delete(&key)).await
            }
            Base::S3(s3) => s3.delete(key).await,
        };
        result.map_err(|source| self.failed("delete", key, source))
    }

    /// Opens an object for reading, on a thread that may block.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when it is not there, or it cannot be read.
    pub async fn reader(&self, key: &Key) -> Result<Reader, StoreError> {
        let result = match &self.base {
            Base::Directory(directory) => {
                let path = directory.path(key);
                blocking(move || directory::open(&path).map(Reader::File)).await
            }
            Base::S3(s3) => s3.reader(key).await.map(Reader::S3),
        };
        result.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { location: self.location(), key: key.clone() },
            _ => self.failed("read", key, source),
        })
    }

    /// Begins an object, on a thread that may block. It is there once [`Writer::finish`] has come back, and not before. Who holds the
    /// backup lock of a cluster names it, so that the next who holds it may call off what is left.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn writer(&self, key: &Key, expected_bytes: u64, cluster: Option<&str>) -> Result<Writer, StoreError> {
        let target = match &self.base {
            Base::Directory(directory) => {
                let (directory, key) = (directory.clone(), key.clone());
                blocking(move || directory.create(&key)).await.map(Target::File)
            }
            Base::S3(s3) => Ok(Target::S3(s3.writer(key, expected_bytes, cluster))),
        };
        let target = target.map_err(|source| self.failed("write", key, source))?;
        Ok(Writer { target, store: self.clone(), key: key.clone() })
    }

    /// Makes a folder of the store another account's own, and lets that account pass through to it. In S3 there is nothing to do.
    ///
    /// # Errors
    /// The folder cannot be made or given away.
    pub fn hand_over(&self, folder: &Key, account: &Account) -> Result<(), StoreError> {
        match &self.base {
            Base::Directory(directory) => {
                directory.hand_over(folder, account).map_err(|source| self.failed("hand over", folder, source))
            }
            Base::S3(_) => Ok(()),
        }
    }

    /// How many bytes the store has room for, as far as that can be known: S3 does not tell.
    ///
    /// # Errors
    /// The file system does not answer.
    pub async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        let Base::Directory(directory) = &self.base else { return Ok(None) };
        let directory = directory.clone();
        let result = blocking(move || directory.free_bytes()).await;
        result.map(Some).map_err(|source| StoreError::Failed { verb: "look at", location: self.location(), key: Key::ROOT, source })
    }

    fn failed(&self, verb: &'static str, key: &Key, source: io::Error) -> StoreError {
        StoreError::Failed { verb, location: self.location(), key: key.clone(), source }
    }
}

/// Runs what may wait for a slow disk away from everything else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}

/// An object that is being read.
#[derive(Debug)]
pub enum Reader {
    /// From a file.
    #[doc(hidden)]
    File(std::fs::File),
    /// From S3.
    #[doc(hidden)]
    S3(s3::Download),
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::S3(download) => download.read(buffer),
        }
    }
}

/// An object that is being written. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub struct Writer {
    target: Target,
    store: BackupStore,
    key: Key,
}

#[derive(Debug)]
enum Target {
    File(directory::Begun),
    S3(upload::Upload),
}

impl Writer {
    /// Puts the object in its place. It then outlives a power cut.
    ///
    /// # Errors
    /// The store cannot be written; the object is then not there.
    pub fn finish(self) -> Result<(), StoreError> {
        let Self { target, store, key } = self;
        let result = match target {
            Target::File(file) => file.finish(),
            Target::S3(upload) => upload.finish(),
        };
        result.map_err(|source| store.failed("write", &key, source))
    }

    /// What a failed [`Write::write`] means.
    #[must_use]
    pub fn failed(&self, source: io::Error) -> StoreError {
        self.store.failed("write", &self.key, source)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            Target::File(file) => file.write(bytes),
            Target::S3(upload) => upload.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
