//! A store that is a folder.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use pgisle_core::moment::Moment;

use super::{Key, Listed};
use crate::file::{self, FileError, FileWriter};
use crate::process::Account;

/// Only its owner may read a backup: it is the whole database.
const FILE_MODE: u32 = 0o600;

/// As often as this the folders are made again that someone else has just found empty.
const CREATE_ATTEMPTS: u32 = 5;

#[derive(Debug, Clone)]
pub(super) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, key: &Key) -> PathBuf {
        key.parts().fold(self.root.clone(), |path, part| path.join(part))
    }

    /// Begins a file, and makes the private folders above it.
    pub(super) fn create(&self, key: &Key) -> io::Result<Begun> {
        let mut attempt = 1;
        loop {
            match self.try_create(key) {
                // Another writer has just given up and taken the folder away that it shared with this one.
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < CREATE_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn try_create(&self, key: &Key) -> io::Result<Begun> {
        let parts: Vec<&str> = key.parts().collect();
        let mut folder = self.root.clone();
        enter(&folder)?;
        for part in &parts[..parts.len().saturating_sub(1)] {
            folder.push(part);
            enter(&folder)?;
        }
        let path = self.path(key);
        let file = Some(FileWriter::create(&path, FILE_MODE).map_err(into_io)?);
        Ok(Begun { file, path, root: self.root.clone() })
    }

    /// Gives a folder and all in it to an account, and opens the way to it for passing.
    pub(super) fn hand_over(&self, key: &Key, account: &Account) -> io::Result<()> {
        let path = self.path(key);
        file::create_private_dir(&path).map_err(into_io)?;
        // The location itself too, unless it is somebody's who has opened it already.
        for folder in self.root.parent().into_iter().chain([self.root.as_path()]) {
            let mode = folder.metadata()?.mode() & 0o7777;
            if mode & 0o011 != 0o011 {
                fs::set_permissions(folder, fs::Permissions::from_mode(mode | 0o011))?;
            }
        }
        let mut all = vec![path];
        while let Some(path) = all.pop() {
            account.give(&path).map_err(io::Error::other)?;
            if path.symlink_metadata()?.is_dir() {
                all.extend(fs::read_dir(&path)?.filter_map(Result::ok).map(|entry| entry.path()));
            }
        }
        Ok(())
    }

    pub(super) fn list(&self, below: &Key) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        self.walk(&self.path(below), below, &mut listed)?;
        Ok(listed)
    }

    fn walk(&self, folder: &Path, key: &Key, listed: &mut Vec<Listed>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let parts: Vec<&str> = key.parts().chain(name.to_str()).collect();
            // A name that is no key was not put there by us.
            let (Some(_), Some(key)) = (name.to_str(), Key::of(&parts)) else { continue };
            let metadata = match entry.metadata() {
                // Taken away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if metadata.is_dir() {
                self.walk(&entry.path(), &key, listed)?;
            } else if metadata.is_file() {
                let since = metadata.modified()?.duration_since(UNIX_EPOCH);
                let modified = Moment::from_unix_s(since.map_or(0, |since| since.as_secs()));
                listed.push(Listed { key, bytes: metadata.len(), modified, is_partial: file::is_temporary(&name) });
            }
        }
        Ok(())
    }

    pub(super) fn delete(&self, key: &Key) -> io::Result<()> {
        let path = self.path(key);
        match file::remove_durably(&path) {
            Err(FileError::OpenFolder { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(into_io)?,
        }
        remove_empty_folders(&path, &self.root);
        Ok(())
    }

    /// What the file system has left for us, of the nearest folder that exists.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let mut folder = self.root.as_path();
        loop {
            match (rustix::fs::statvfs(folder), folder.parent()) {
                (Ok(status), _) => return Ok(status.f_bavail.saturating_mul(status.f_frsize)),
                (Err(rustix::io::Errno::NOENT), Some(parent)) => {
                    folder = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
    }
}

/// A file that has been begun. Dropped before its end, neither it nor the folders that were made for it stay.
#[derive(Debug)]
pub(super) struct Begun {
    /// None at the end.
    file: Option<FileWriter>,
    path: PathBuf,
    root: PathBuf,
}

impl Begun {
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.take().map_or(Ok(()), |file| file.finish().map_err(into_io))
    }

    /// The same, but what is there already is left as it is. False when something was.
    pub(super) fn finish_new(mut self) -> io::Result<bool> {
        self.file.take().map_or(Ok(false), |file| file.finish_new().map_err(into_io))
    }
}

impl io::Write for Begun {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // The file itself goes first. After a success nothing is empty.
        self.file = None;
        remove_empty_folders(&self.path, &self.root);
    }
}

/// Makes a private folder, or makes one of ours private.
///
/// Two kinds are left as they are. Through a folder of root's that nobody else can write to, one may pass: the server, whose user is
/// not root, archives its log into a folder of its own below. And one of ours that others may enter and not list was opened for
/// that by [`Directory::hand_over`].
fn enter(folder: &Path) -> io::Result<()> {
    const PASSABLE: u32 = 0o711;
    let us = rustix::process::geteuid().as_raw();
    match folder.symlink_metadata() {
        Ok(found) if found.is_dir() && found.uid() == 0 && us != 0 && found.mode() & 0o022 == 0 => Ok(()),
        Ok(found) if found.is_dir() && found.uid() == us && found.mode() & 0o7777 == PASSABLE => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            file::create_private_dir(folder).map_err(into_io)?;
            // Its name must outlive a power cut as what is put into it does. Above the store it may not be ours to sync.
            let _ = folder.parent().and_then(|parent| File::open(parent).ok()).map(|parent| parent.sync_all());
            Ok(())
        }
        _ => file::create_private_dir(folder).map_err(into_io),
    }
}

/// Removes the folders above a path that have become empty; one that has not refuses, and stays.
fn remove_empty_folders(path: &Path, root: &Path) {
    let mut folder = path.parent();
    while let Some(path) = folder.filter(|path| path.starts_with(root) && *path != root) {
        if fs::remove_dir(path).is_err() {
            break;
        }
        folder = path.parent();
    }
}

pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a plain file")) }
}

pub(super) fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(Some(bytes)) }
}

/// The system's own error with the path that it is about, so that its kind is kept.
fn into_io(error: FileError) -> io::Error {
    let kind = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    io::Error::new(kind.unwrap_or(io::ErrorKind::Other), error)
}
