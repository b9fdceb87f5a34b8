//! A store that is a folder.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use pgisle_core::moment::Moment;

use super::{Key, Listed};
use crate::file::{self, FileError, FileWriter};

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
        file::create_private_dir(&self.root).map_err(into_io)?;
        let mut folder = self.root.clone();
        let parts: Vec<&str> = key.parts().collect();
        for part in &parts[..parts.len().saturating_sub(1)] {
            folder.push(part);
            file::create_private_dir(&folder).map_err(into_io)?;
        }
        let path = self.path(key);
        let file = Some(FileWriter::create(&path, FILE_MODE).map_err(into_io)?);
        Ok(Begun { file, path, root: self.root.clone() })
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
