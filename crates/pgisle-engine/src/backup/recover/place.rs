//! The folder of the private server: one for a project and environment, used by one recovery at a time, and found again by the next
//! one when this one was killed.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use pgisle_core::spec::Environment;

use super::error::RecoverError;
use crate::file::create_private_dir;
use crate::local::{LocalError, server, surroundings};
use crate::process::Account;

/// The folder's name, beside the credentials.
const FOLDER: &str = "recover";

/// A recovery's folder, held against others. Dropped, it goes with all that is in it.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    pub(super) account: Option<Account>,
    _lock: File,
}

impl Place {
    /// Takes the folder, after removing what a recovery left that was killed.
    pub(super) async fn take(project: &Path, environment: Environment) -> Result<Self, RecoverError> {
        let private = private_folder(project, environment)?;
        create_private_dir(&private).map_err(|error| RecoverError::Folder(Box::new(error)))?;
        let lock = lock(&private)?.ok_or(RecoverError::Busy)?;
        let account = Account::for_servers().map_err(LocalError::Account)?;
        let inside = private.join(FOLDER);
        for folder in surroundings::places(&inside) {
            clear(&folder)?;
        }
        let folder = surroundings::choose_place(&inside, account.as_ref()).await;
        surroundings::own_folder(&folder, account.as_ref())?;
        Ok(Self { folder, account, _lock: lock })
    }

    /// The data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The server's log.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Where the server asks for files of the log.
    pub(super) fn feed(&self) -> PathBuf {
        self.folder.join("feed")
    }

    /// Where the dump goes.
    pub(super) fn dump(&self) -> PathBuf {
        self.folder.join("dump")
    }

    /// The folder of the server's socket.
    pub(super) fn socket_folder(&self) -> PathBuf {
        surroundings::choose_socket_folder(&self.folder)
    }

    pub(super) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Removes the data directory, which is large, and keeps the dump.
    pub(super) fn remove_data(&self) -> Result<(), RecoverError> {
        server::kill(&self.data());
        surroundings::remove_folder(&self.data())?;
        Ok(surroundings::remove_folder(&self.feed())?)
    }

    /// Removes all of it.
    pub(super) fn remove(self) -> Result<(), RecoverError> {
        clear(&self.folder)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Best effort: what stays is found by the next recovery.
        let _left = clear(&self.folder);
    }
}

/// Removes what a recovery left that was killed, unless one is at work. True when there was something.
///
/// # Errors
/// Something cannot be removed.
pub fn sweep(project: &Path, environment: Environment) -> Result<bool, RecoverError> {
    let private = private_folder(project, environment)?;
    let places = surroundings::places(&private.join(FOLDER));
    if !places.iter().any(|place| place.exists()) {
        return Ok(false);
    }
    let Some(_lock) = lock(&private)? else { return Ok(false) };
    for place in &places {
        clear(place)?;
    }
    Ok(true)
}

fn private_folder(project: &Path, environment: Environment) -> Result<PathBuf, RecoverError> {
    let project = project.canonicalize().map_err(LocalError::file("find", project))?;
    Ok(project.join(".pgisle").join(environment.as_str()))
}

/// Takes the lock; none when another recovery has it. It goes with the process.
fn lock(private: &Path) -> Result<Option<File>, RecoverError> {
    let path = private.join(format!("{FOLDER}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(LocalError::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(LocalError::file("lock", path)(error).into()),
    }
}

/// Ends a server that runs in a folder, and removes the folder and the server's sockets.
fn clear(folder: &Path) -> Result<(), RecoverError> {
    if folder.symlink_metadata().is_ok() {
        server::kill(&folder.join("data"));
    }
    let socket_folder = surroundings::choose_socket_folder(folder);
    surroundings::remove_folder(folder)?;
    Ok(surroundings::remove_folder(&socket_folder)?)
}
