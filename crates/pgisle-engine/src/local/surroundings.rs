//! Where a private cluster's files go: folders that its account can reach and nobody else can write to, and one worker at a time.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::{LocalError, server};
use crate::process::{Account, Invocation};

/// Where the data goes when the project's folder is closed to the server's account. It survives a reboot, unlike `/tmp`.
const DATA_REFUGE: &str = "/var/tmp";

/// The folder of the second of two servers, in the place of the first.
pub(crate) const SECOND: &str = "second";

/// Where the socket goes when the project's path is too long for one.
const SOCKET_REFUGE: &str = "/tmp";

/// How long to wait for another pgisle that works on the same private cluster: a start and a stop take up to half a minute each.
const LOCK_PATIENCE: Duration = Duration::from_secs(90);

/// The places where a project's server may live: inside the project, or in the refuge. The path makes the refuge's name, so it is
/// found again without being written down anywhere.
pub(crate) fn places(project_place: &Path) -> [PathBuf; 2] {
    [project_place.to_owned(), data_refuge(project_place)]
}

/// Chooses the place for a server: where its data already is, else inside the project, else in the refuge.
pub(crate) async fn choose_place(project_place: &Path, account: Option<&Account>) -> PathBuf {
    let [inside, refuge] = places(project_place);
    let is_taken = |place: &Path| ["data", SECOND].iter().any(|name| place.join(name).is_dir());
    if is_taken(&refuge) {
        return refuge;
    }
    let parent = inside.parent().unwrap_or(Path::new("/"));
    if is_taken(&inside) || is_reachable(parent, account).await { inside } else { refuge }
}

/// Chooses the folder for the server's socket: its own folder, unless that path is too long.
pub(crate) fn choose_socket_folder(place: &Path) -> PathBuf {
    if server::socket_fits(place) { place.to_owned() } else { refuge(SOCKET_REFUGE, place) }
}

/// Where a project's server lives when its account cannot get to its place inside the project.
#[must_use]
pub fn data_refuge(project_place: &Path) -> PathBuf {
    refuge(DATA_REFUGE, project_place)
}

fn refuge(parent: &str, original: &Path) -> PathBuf {
    let hash = Sha256::digest(original.as_os_str().as_bytes());
    let name: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Path::new(parent).join(format!("pgisle-{name}"))
}

/// Asks the operating system whether the account can get into a folder, which modes alone do not tell.
async fn is_reachable(folder: &Path, account: Option<&Account>) -> bool {
    let Some(account) = account else { return true };
    let attempt = Invocation::new("/bin/sh").arguments(["-c", "cd -- \"$1\"", "sh"]).argument(folder);
    attempt.clean_environment().run_as(Some(account)).directory("/").run().await.is_ok()
}

/// Makes a folder that is the server's account's alone, or makes sure that the one that is there is. In a folder that everybody can
/// write to, somebody else may have been first.
pub(crate) fn own_folder(folder: &Path, account: Option<&Account>) -> Result<(), LocalError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return server::give(account, folder),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(LocalError::file("create", folder)(error)),
    }
    let found = folder.symlink_metadata().map_err(LocalError::file("read", folder))?;
    let untrusted = |reason: &str| LocalError::Untrusted { path: folder.to_owned(), reason: reason.to_owned() };
    if !found.is_dir() {
        return Err(untrusted("it is no folder"));
    }
    let us = rustix::process::geteuid().as_raw();
    let owner = account.map_or(us, |account| account.uid);
    if found.uid() != owner && found.uid() != us {
        return Err(untrusted("it belongs to another user"));
    }
    if found.mode() & 0o7777 != 0o700 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(LocalError::file("protect", folder))?;
    }
    if found.uid() == owner { Ok(()) } else { server::give(account, folder) }
}

/// A lock that is held as long as the value lives, and by no process that is dead.
pub(crate) struct Lock(#[expect(dead_code, reason = "closing the file gives the lock up")] File);

/// Waits for our turn on a private cluster.
pub(crate) async fn lock(path: &Path) -> Result<Lock, LocalError> {
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(LocalError::file("open", path))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(TryLockError::Error(error)) => return Err(LocalError::file("lock", path)(error)),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => return Err(LocalError::Busy { lock: path.to_owned() }),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Removes a folder and all in it; one that is not there is as wanted.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), LocalError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(LocalError::file("remove", folder)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_long_path_gets_a_short_socket_folder_of_its_own() {
        let long = PathBuf::from(format!("/home/someone/{}", "deep/".repeat(30)));
        let folder = choose_socket_folder(&long);
        assert!(server::socket_fits(&folder), "{}", folder.display());
        assert_eq!(folder, choose_socket_folder(&long));
        assert_ne!(folder, choose_socket_folder(&long.join("other")));
        assert_eq!(choose_socket_folder(Path::new("/srv/app")), PathBuf::from("/srv/app"));
    }

    #[test]
    fn a_link_or_a_file_in_a_folders_place_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("target");
        fs::create_dir(&target).unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(own_folder(&link, None), Err(LocalError::Untrusted { .. })));
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(own_folder(&file, None), Err(LocalError::Untrusted { .. })));
    }

    #[test]
    fn a_folder_that_others_could_write_to_is_closed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("folder");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        own_folder(&folder, None).unwrap();
        assert_eq!(folder.metadata().unwrap().mode() & 0o7777, 0o700);
    }
}
