//! The file that keeps the credentials of one environment.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgisle_core::credential::Credentials;
use pgisle_core::spec::Environment;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::encryption::{IdentitySource, Recipients};
use super::error::StoreError;
use super::format::{self, Content, FormatError};
use crate::file::{create_private_dir, remove_durably, remove_leftovers, write_atomically};

/// The folder of pgisle's own files in a project.
const FOLDER: &str = ".pgisle";

/// Whoever holds the lock computes verifiers meanwhile, a few milliseconds each: for hundreds of services this is seconds.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Between two tries for the lock.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Ten thousand services take some ten megabytes; a larger file is something else.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The credentials of one environment of a project, in `.pgisle/<environment>/credentials.json`, or in `credentials.json.age`
/// when there are recipients.
///
/// When the two names change over, the whole content is first copied to the new name and then removed from the old one, and
/// only then is anything changed. So both may be there after a crash, and then they agree.
pub struct Store {
    project: PathBuf,
    folder: PathBuf,
    recipients: Recipients,
    identities: IdentitySource,
}

/// What was found on disk.
struct Found {
    content: Content,
    plain: bool,
    encrypted: bool,
}

impl Store {
    /// Names the store of an environment. Nothing is read or written yet.
    ///
    /// # Errors
    /// When a recipient (the setting `credential_recipients`) is no `age` public key.
    pub fn new(
        project: &Path,
        environment: Environment,
        recipients: &[String],
        identities: IdentitySource,
    ) -> Result<Self, StoreError> {
        let project = project.join(FOLDER);
        let folder = project.join(environment.as_str());
        Ok(Self { project, folder, recipients: Recipients::parse(recipients)?, identities })
    }

    /// The file that the next change is written to.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        if self.is_encrypted() { self.encrypted_path() } else { self.plain_path() }
    }

    /// Reads the credentials; none at all when there is no store yet. Writes nothing.
    ///
    /// # Errors
    /// When the store is there and cannot be used.
    pub fn load(&self) -> Result<Credentials, StoreError> {
        let _lock = self.lock_shared()?;
        Ok(self.read()?.map(|found| found.content.credentials).unwrap_or_default())
    }

    /// Changes the credentials: reads them under the lock, hands them out, and saves what is left of them if it differs. Also
    /// brings the file itself to what the settings ask for: its name, its encryption, its recipients. So an apply calls this
    /// even when it has nothing to change.
    ///
    /// # Errors
    /// When the store cannot be used. Nothing is changed then.
    pub fn update<T>(&self, change: impl FnOnce(&mut Credentials) -> T) -> Result<T, StoreError> {
        create_private_dir(&self.folder).map_err(|source| StoreError::Write { path: self.path(), source })?;
        let _lock = self.lock_exclusive()?;
        for path in [self.ignore_path(), self.plain_path(), self.encrypted_path()] {
            remove_leftovers(&path).map_err(|source| StoreError::Write { path, source })?;
        }
        self.write_ignore()?;
        let mut credentials = Credentials::default();
        if let Some(found) = self.read()? {
            if found.plain == self.is_encrypted() || found.encrypted != self.is_encrypted() || !self.is_encrypted_as(&found.content)
            {
                self.write(&found.content.credentials)?;
                self.remove_other()?;
            }
            credentials = found.content.credentials;
        }
        let before = credentials.clone();
        let result = change(&mut credentials);
        if credentials != before {
            self.write(&credentials)?;
        }
        Ok(result)
    }

    fn is_encrypted(&self) -> bool {
        !self.recipients.texts().is_empty()
    }

    fn is_encrypted_as(&self, content: &Content) -> bool {
        content.recipients == self.recipients.texts()
    }

    fn plain_path(&self) -> PathBuf {
        self.folder.join("credentials.json")
    }

    fn encrypted_path(&self) -> PathBuf {
        self.folder.join("credentials.json.age")
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.join("credentials.lock")
    }

    fn ignore_path(&self) -> PathBuf {
        self.project.join(".gitignore")
    }

    /// Keeps the folder out of version control.
    fn write_ignore(&self) -> Result<(), StoreError> {
        let ignore = self.ignore_path();
        if ignore.symlink_metadata().is_ok() {
            return Ok(());
        }
        write_atomically(&ignore, 0o600, b"*\n").map_err(|source| StoreError::Write { path: ignore, source })
    }

    fn read(&self) -> Result<Option<Found>, StoreError> {
        let plain = self.read_plain()?;
        let encrypted = self.read_encrypted()?;
        let (in_plain, in_encrypted) = (plain.is_some(), encrypted.is_some());
        let content = match (plain, encrypted) {
            (None, None) => return Ok(None),
            (Some(plain), Some(encrypted)) if plain.credentials != encrypted.credentials => {
                return Err(StoreError::Ambiguous { plain: self.plain_path(), encrypted: self.encrypted_path() });
            }
            (_, Some(content)) | (Some(content), None) => content,
        };
        Ok(Some(Found { content, plain: in_plain, encrypted: in_encrypted }))
    }

    fn read_plain(&self) -> Result<Option<Content>, StoreError> {
        let path = self.plain_path();
        let Some(OnDisk { bytes, mode }) = read_file(&path)? else { return Ok(None) };
        if mode & 0o077 != 0 {
            return Err(StoreError::Exposed { path, mode });
        }
        parse(&bytes, path).map(Some)
    }

    fn read_encrypted(&self) -> Result<Option<Content>, StoreError> {
        let path = self.encrypted_path();
        let Some(OnDisk { bytes, mode }) = read_file(&path)? else { return Ok(None) };
        // It may be shared, and a checkout has mode 0644; but whoever can write it can have pgisle set passwords of their choice.
        if mode & 0o022 != 0 {
            return Err(StoreError::Writable { path, mode });
        }
        let plain = self.identities.load(&path)?.decrypt(&bytes).map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => StoreError::IdentityWrong { path: path.clone() },
            source => StoreError::Damaged { path: path.clone(), source },
        })?;
        parse(&plain, path).map(Some)
    }

    fn write(&self, credentials: &Credentials) -> Result<(), StoreError> {
        let path = self.path();
        let content = Content { credentials: credentials.clone(), recipients: self.recipients.texts().to_vec() };
        let plain = format::render(&content).map_err(|source| StoreError::Render { path: path.clone(), source })?;
        let result = if self.is_encrypted() {
            let bytes = self.recipients.encrypt(&plain).map_err(|source| StoreError::Encrypt { path: path.clone(), source })?;
            // The next run must be able to read it; it is cheaper to find out now.
            self.identities.load(&path)?.decrypt(&bytes).map_err(|_| StoreError::LockedOut)?;
            write_atomically(&path, 0o600, &bytes)
        } else {
            write_atomically(&path, 0o600, &plain)
        };
        result.map_err(|source| StoreError::Write { path, source })
    }

    fn remove_other(&self) -> Result<(), StoreError> {
        let path = if self.is_encrypted() { self.plain_path() } else { self.encrypted_path() };
        remove_durably(&path).map_err(|source| StoreError::Write { path, source })
    }

    fn lock_exclusive(&self) -> Result<File, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = self.open_lock(&mut options).map_err(|source| StoreError::Lock { path: self.lock_path(), source })?;
        self.wait_for(&file, File::try_lock)?;
        // Only for the message of whoever waits too long, so a failure is no matter.
        let _ = file.set_len(0).and_then(|()| write!(file, "process {}", std::process::id()));
        Ok(file)
    }

    /// None when nothing was ever written here.
    fn lock_shared(&self) -> Result<Option<File>, StoreError> {
        match self.open_lock(OpenOptions::new().read(true)) {
            Ok(file) => {
                self.wait_for(&file, File::try_lock_shared)?;
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Lock { path: self.lock_path(), source }),
        }
    }

    fn open_lock(&self, options: &mut OpenOptions) -> io::Result<File> {
        options.custom_flags(no_follow()).open(self.lock_path())
    }

    fn wait_for(&self, file: &File, try_lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<(), StoreError> {
        let path = self.lock_path();
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match try_lock(file) {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(source)) => return Err(StoreError::Lock { path, source }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_RETRY),
                Err(TryLockError::WouldBlock) => {
                    let holder = std::fs::read_to_string(&path).unwrap_or_default();
                    let holder = if holder.is_empty() { "unknown".to_owned() } else { holder };
                    return Err(StoreError::Held { path, holder });
                }
            }
        }
    }
}

fn parse(bytes: &[u8], path: PathBuf) -> Result<Content, StoreError> {
    format::parse(bytes).map_err(|error| match error {
        FormatError::Version(found) => StoreError::Version { path, found },
        FormatError::Malformed { line, column } => StoreError::Malformed { path, line, column },
    })
}

/// A file as it was read.
struct OnDisk {
    bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

/// Reads a file; none when it does not exist.
fn read_file(path: &Path) -> Result<Option<OnDisk>, StoreError> {
    let read_error = |source| StoreError::Read { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Ok(metadata) if !metadata.is_file() => return Err(StoreError::NotAFile { path: path.to_owned() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(read_error(source)),
    }
    let file = OpenOptions::new().read(true).custom_flags(no_follow()).open(path).map_err(read_error)?;
    let metadata = file.metadata().map_err(read_error)?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(read_error(io::ErrorKind::FileTooLarge.into()));
    }
    // One more than its length, so that reading never grows the buffer and leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(read_error)?;
    Ok(Some(OnDisk { bytes, mode: metadata.mode() & 0o7777 }))
}

fn no_follow() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}
