//! Writing files of pgisle's own so that they are whole or untouched, and never readable by more people than asked for.
//!
//! All names are looked up below one open folder, so exchanging the folder's path meanwhile redirects nothing, and a symbolic
//! link in the file's place is replaced, never followed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};

use crate::fault::{self, Moment};

/// Between the file's name and the random part of its temporary twin's name.
const TEMPORARY_MARK: &str = ".pgisle-new-";

/// Random bytes in a temporary name: two writers never meet by chance.
const TEMPORARY_RANDOM_BYTES: usize = 8;

/// How many files are written at once: file systems commit together what is asked for together.
const WRITERS_MAX: usize = 16;

/// Why a file or folder was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path ends in no file name.
    #[error("{path:?} does not name a file")]
    Name {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder cannot be made.
    #[error("cannot create the folder {path:?}")]
    CreateFolder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be opened: it is missing, a file, or a symbolic link where only a real folder will do.
    #[error("cannot open the folder {path:?}")]
    OpenFolder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A folder that must be private belongs to someone else.
    #[error("the folder {path:?} belongs to another user")]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The mode of a folder cannot be set.
    #[error("cannot make the folder {path:?} private")]
    ProtectFolder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The content cannot be written. The file is as it was.
    #[error("cannot write the file {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The new content stands beside the file and cannot take its place. The file is as it was.
    #[error("cannot replace the file {path:?}")]
    Replace {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file cannot be removed.
    #[error("cannot remove the file {path:?}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// Writes a file whole or not at all, with exactly this mode whatever the umask. Whoever reads meanwhile, and whatever is
/// left after a crash, is the old content or the new one.
///
/// # Errors
/// When the folder is missing or the content cannot be written; the file is then as it was.
pub fn write_atomically(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), FileError> {
    write_all_atomically(&[NewFile { path: path.to_owned(), mode, bytes }])
}

/// A file to be written.
pub struct NewFile<'a> {
    /// Where.
    pub path: PathBuf,
    /// Its mode, whatever the umask.
    pub mode: u32,
    /// What will be in it.
    pub bytes: &'a [u8],
}

/// Writes several files, each as [`write_atomically`] does. Each waits for the disk, so they are written side by side.
///
/// # Errors
/// Of the files that could not be written, the first one's. The others are written nevertheless.
pub fn write_all_atomically(files: &[NewFile<'_>]) -> Result<(), FileError> {
    let next = AtomicUsize::new(0);
    let write_some = || {
        let mut failures = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(index) else { return failures };
            failures.extend(replace(file).err().map(|error| (index, error)));
        }
    };
    let mut failures: Vec<(usize, FileError)> = thread::scope(|scope| {
        let others: Vec<_> = (1..WRITERS_MAX.min(files.len())).map(|_| scope.spawn(write_some)).collect();
        let own = write_some();
        let others = others.into_iter().flat_map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        own.into_iter().chain(others).collect()
    });
    // The renames themselves must outlive a power cut, too.
    let mut folders: BTreeMap<&Path, usize> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        folders.entry(split(&file.path)?.0).or_insert(index);
    }
    for (folder, index) in folders {
        let synced = open_folder(folder, OFlags::empty()).and_then(|opened| {
            rustix::fs::fsync(&opened).map_err(|error| FileError::Write { path: files[index].path.clone(), source: error.into() })
        });
        failures.extend(synced.err().map(|error| (index, error)));
    }
    // Of one file the earlier failure comes first.
    failures.sort_by_key(|(index, _)| *index);
    failures.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

/// Puts a file into its place. The folder is not synced.
fn replace(file: &NewFile<'_>) -> Result<(), FileError> {
    let NewFile { path, mode, bytes } = file;
    let mut writer = FileWriter::create(path, *mode)?;
    writer.write_all(bytes).map_err(|source| FileError::Write { path: path.clone(), source })?;
    writer.place()
}

/// A file that is written beside the one whose place it takes when it is whole. Dropped before that, it leaves nothing.
#[derive(Debug)]
pub struct FileWriter {
    path: PathBuf,
    folder: OwnedFd,
    name: OsString,
    /// None once it has taken its place.
    temporary: Option<OsString>,
    file: File,
}

impl FileWriter {
    /// Begins a file of exactly this mode whatever the umask.
    ///
    /// # Errors
    /// When the folder is missing or takes no file.
    pub fn create(path: &Path, mode: u32) -> Result<Self, FileError> {
        let write_error = |source| FileError::Write { path: path.to_owned(), source };
        let (folder_path, name) = split(path)?;
        let folder = open_folder(folder_path, OFlags::empty())?;
        let temporary = temporary_name(name).map_err(write_error)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Born private, and with its final mode before the first byte is in it.
        let file =
            rustix::fs::openat(&folder, &temporary, flags, Mode::RUSR | Mode::WUSR).map_err(|error| write_error(error.into()))?;
        let new = Self { path: path.to_owned(), folder, name: name.to_owned(), temporary: Some(temporary), file: File::from(file) };
        new.file.set_permissions(Permissions::from_mode(mode)).map_err(write_error)?;
        Ok(new)
    }

    /// Puts the file in its place, so that it stays there after a power cut.
    ///
    /// # Errors
    /// When it cannot be written to the disk or put in its place; what was there before is then as it was.
    pub fn finish(mut self) -> Result<(), FileError> {
        self.place()?;
        // The rename itself must outlive a power cut, too.
        rustix::fs::fsync(&self.folder).map_err(|error| FileError::Write { path: self.path.clone(), source: error.into() })
    }

    /// The same, but what is there already is left as it is. False when something was.
    ///
    /// # Errors
    /// When it cannot be written to the disk or put in its place.
    pub fn finish_new(mut self) -> Result<bool, FileError> {
        let Some(temporary) = &self.temporary else { return Ok(false) };
        self.file.sync_all().map_err(|source| FileError::Write { path: self.path.clone(), source })?;
        // A link, unlike a rename, takes nobody's place. The temporary name goes when this is dropped.
        match rustix::fs::linkat(&self.folder, temporary, &self.folder, &self.name, AtFlags::empty()) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Ok(false),
            // A file system without links. Nobody else writes here as a rule.
            Err(rustix::io::Errno::PERM | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::MLINK) => self.place()?,
            Err(error) => return Err(FileError::Replace { path: self.path.clone(), source: error.into() }),
        }
        rustix::fs::fsync(&self.folder).map_err(|error| FileError::Write { path: self.path.clone(), source: error.into() })?;
        Ok(true)
    }

    /// Root gives the file to whoever owned the one before: to PgBouncer's account, which reads its file of verifiers itself, or to the
    /// person whose project it is.
    fn keep_owner(&self) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let Ok(before) = rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        if !rustix::fs::FileType::from_raw_mode(before.st_mode).is_file() {
            return Ok(());
        }
        let owner = (rustix::fs::Uid::from_raw(before.st_uid), rustix::fs::Gid::from_raw(before.st_gid));
        Ok(rustix::fs::fchown(&self.file, Some(owner.0), Some(owner.1))?)
    }

    /// The same without syncing the folder.
    fn place(&mut self) -> Result<(), FileError> {
        self.keep_owner().map_err(|source| FileError::Write { path: self.path.clone(), source })?;
        self.file.sync_all().map_err(|source| FileError::Write { path: self.path.clone(), source })?;
        if let Some(temporary) = &self.temporary {
            fault::after(Moment::File);
            rustix::fs::renameat(&self.folder, temporary, &self.folder, &self.name)
                .map_err(|error| FileError::Replace { path: self.path.clone(), source: error.into() })?;
            fault::after(Moment::File);
        }
        self.temporary = None;
        Ok(())
    }
}

impl io::Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Best effort: what made it fail is the error to report.
            let _ = rustix::fs::unlinkat(&self.folder, temporary, AtFlags::empty());
        }
    }
}

/// Whether a name is that of a file which is being written, or was when its writer was killed.
#[must_use]
pub fn is_temporary(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && name.as_bytes().windows(TEMPORARY_MARK.len()).any(|part| part == TEMPORARY_MARK.as_bytes())
}

/// Makes a folder that only its owner can enter, and the missing folders above it likewise. One that exists is made private;
/// one that is a symbolic link or belongs to another user is refused, because someone else may have put it there.
///
/// # Errors
/// When the folder cannot be made, or is not this user's own.
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| FileError::CreateFolder { path: path.to_owned(), source })?;
    let folder = open_folder(path, OFlags::NOFOLLOW)?;
    let protect_error = |error: rustix::io::Errno| FileError::ProtectFolder { path: path.to_owned(), source: error.into() };
    let status = rustix::fs::fstat(&folder).map_err(protect_error)?;
    let me = rustix::process::geteuid();
    if status.st_uid != me.as_raw() && !me.is_root() {
        return Err(FileError::ForeignFolder { path: path.to_owned() });
    }
    if status.st_mode & 0o7777 != 0o700 {
        rustix::fs::fchmod(&folder, Mode::RWXU).map_err(protect_error)?;
    }
    Ok(())
}

/// Removes a file so that it stays removed after a power cut.
///
/// # Errors
/// When it cannot be removed. One that is not there counts as removed.
pub fn remove_durably(path: &Path) -> Result<(), FileError> {
    let (folder_path, name) = split(path)?;
    let folder = open_folder(folder_path, OFlags::empty())?;
    match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) => {
            fault::after(Moment::File);
            rustix::fs::fsync(&folder)
        }
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| FileError::Remove { path: path.to_owned(), source: error.into() })
}

/// Removes what killed writers left of this file. Only for who holds the file's lock: a live writer's work would go, too.
///
/// # Errors
/// When the folder cannot be read or a leftover cannot be removed.
pub fn remove_leftovers(path: &Path) -> Result<(), FileError> {
    let (folder_path, name) = split(path)?;
    let folder = open_folder(folder_path, OFlags::empty())?;
    let prefix = temporary_prefix(name);
    let read_error = |error: rustix::io::Errno| FileError::OpenFolder { path: folder_path.to_owned(), source: error.into() };
    for entry in Dir::read_from(&folder).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        if entry.file_name().to_bytes().starts_with(prefix.as_bytes()) {
            rustix::fs::unlinkat(&folder, entry.file_name(), AtFlags::empty())
                .map_err(|error| FileError::Remove { path: path.to_owned(), source: error.into() })?;
        }
    }
    Ok(())
}

fn split(path: &Path) -> Result<(&Path, &OsStr), FileError> {
    let name = path.file_name().ok_or_else(|| FileError::Name { path: path.to_owned() })?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((folder, name))
}

fn open_folder(path: &Path, more: OFlags) -> Result<OwnedFd, FileError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more, Mode::empty())
        .map_err(|error| FileError::OpenFolder { path: path.to_owned(), source: error.into() })
}

fn temporary_prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(TEMPORARY_MARK);
    prefix
}

fn temporary_name(name: &OsStr) -> io::Result<OsString> {
    let mut random = [0; TEMPORARY_RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut temporary = temporary_prefix(name);
    temporary.push(format!("{:016x}", u64::from_ne_bytes(random)));
    Ok(temporary)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn content_and_mode_are_replaced_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.env");
        for (bits, text) in [(0o600, "one"), (0o644, "two"), (0o755, "three"), (0o600, "")] {
            write_atomically(&path, bits, text.as_bytes()).unwrap();
            assert_eq!((mode(&path), fs::read_to_string(&path).unwrap().as_str()), (bits, text));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no leftover");
    }

    #[test]
    fn what_root_writes_again_stays_its_owners() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("userlist.txt");
        write_atomically(&path, 0o600, b"one").unwrap();
        std::os::unix::fs::chown(&path, Some(12_345), Some(12_346)).unwrap();
        write_atomically(&path, 0o600, b"two").unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!(
            (found.uid(), found.gid(), mode(&path), fs::read(&path).unwrap().as_slice()),
            (12_345, 12_346, 0o600, &b"two"[..])
        );
    }

    #[test]
    fn a_symbolic_link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("file"));
        fs::write(&victim, "untouched").unwrap();
        symlink(&victim, &path).unwrap();
        write_atomically(&path, 0o600, b"mine").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn a_failed_write_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = write_atomically(&path, 0o600, b"x").unwrap_err();
        assert!(matches!(error, FileError::Replace { .. }), "{error:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no leftover");
        let missing = write_atomically(&folder.path().join("no/such"), 0o600, b"x").unwrap_err();
        assert!(matches!(missing, FileError::OpenFolder { .. }), "{missing:?}");
    }

    #[test]
    fn of_many_files_one_that_fails_keeps_none_of_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: usize| folder.path().join(format!("{}/{number}", number % 3));
        for number in 0..2 {
            fs::create_dir(folder.path().join(number.to_string())).unwrap();
        }
        fs::create_dir(path(4)).unwrap();
        // Where 4 shall be there is a folder, and the folder of 2, 5, 8, … is missing.
        let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let files: Vec<NewFile<'_>> = texts
            .iter()
            .enumerate()
            .map(|(number, text)| NewFile { path: path(number), mode: 0o600, bytes: text.as_bytes() })
            .collect();
        let error = write_all_atomically(&files).unwrap_err();
        assert!(matches!(&error, FileError::OpenFolder { path, .. } if path.ends_with("2")), "{error:?}");
        for (number, text) in texts.iter().enumerate().filter(|(number, _)| number % 3 != 2 && *number != 4) {
            assert_eq!((mode(&path(number)), fs::read_to_string(path(number)).unwrap()), (0o600, text.clone()));
        }
        assert_eq!(fs::read_dir(folder.path().join("1")).unwrap().count(), 33, "no leftover");
        write_all_atomically(&[]).unwrap();
    }

    #[test]
    fn leftovers_of_killed_writers_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.json");
        for name in ["store.json", ".store.json.pgisle-new-0123456789abcdef", ".other.json.pgisle-new-0123456789abcdef"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove_leftovers(&path).unwrap();
        assert!(path.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn private_folders_are_private_all_the_way_down() {
        let folder = tempfile::tempdir().unwrap();
        let (outer, inner) = (folder.path().join(".pgisle"), folder.path().join(".pgisle/development"));
        create_private_dir(&inner).unwrap();
        assert_eq!((mode(&outer), mode(&inner)), (0o700, 0o700));
        fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        create_private_dir(&inner).unwrap();
        assert_eq!(mode(&inner), 0o700);
    }

    #[test]
    fn a_private_folder_is_never_a_link_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link, file) = (folder.path().join("target"), folder.path().join("link"), folder.path().join("file"));
        fs::create_dir(&target).unwrap();
        symlink(&target, &link).unwrap();
        fs::write(&file, "").unwrap();
        assert!(matches!(create_private_dir(&link).unwrap_err(), FileError::OpenFolder { .. }));
        assert!(matches!(create_private_dir(&file).unwrap_err(), FileError::CreateFolder { .. }));
    }
}
