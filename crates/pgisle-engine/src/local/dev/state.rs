//! The connection file of a private cluster: what cannot be found out otherwise, and where other programs may look.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::secret::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{DevCluster, Layout};
use crate::file::write_atomically;
use crate::local::LocalError;

/// Raised when the file changes in a way that an older pgisle would misunderstand.
const FORMAT: u32 = 1;

/// The file as it is written. The password is lent for writing, and goes into a [`Secret`] without a copy after reading.
#[derive(Serialize, Deserialize)]
struct File<'a> {
    format: u32,
    host: String,
    port: u16,
    socket_dir: PathBuf,
    admin: RoleName,
    password: Cow<'a, str>,
    database: DatabaseName,
    data_dir: PathBuf,
    log_file: PathBuf,
    major: u32,
}

/// The part that every format has.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

/// Reads how to connect to the project's private cluster, whether it runs or not; none when there is none.
///
/// # Errors
/// When the connection file is there and cannot be used.
pub fn load(project: &Path) -> Result<Option<DevCluster>, LocalError> {
    read(&Layout::of(project)?.folder)
}

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("dev.json")
}

pub(super) fn read(folder: &Path) -> Result<Option<DevCluster>, LocalError> {
    let path = path(folder);
    let text = match fs::read_to_string(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LocalError::file("read", path)(error)),
    };
    let syntax = |source| LocalError::StateSyntax { path: path.clone(), source };
    let header: Header = serde_json::from_str(&text).map_err(syntax)?;
    if header.format != FORMAT {
        return Err(LocalError::StateFormat { path, found: header.format, known: FORMAT });
    }
    let file: File<'_> = serde_json::from_str(&text).map_err(syntax)?;
    let File { format: _, host, port, socket_dir, admin, password, database, data_dir, log_file, major } = file;
    Ok(Some(DevCluster {
        host,
        port,
        socket_folder: socket_dir,
        admin,
        password: Secret::new(password.into_owned()),
        database,
        data: data_dir,
        log: log_file,
        major,
    }))
}

/// Writes the file whole or not at all. It stays ours, not the server's account's.
pub(super) fn save(folder: &Path, cluster: &DevCluster) -> Result<(), LocalError> {
    if read(folder).ok().flatten().as_ref() == Some(cluster) {
        return Ok(());
    }
    let DevCluster { host, port, socket_folder, admin, password, database, data, log, major } = cluster.clone();
    let file = File {
        format: FORMAT,
        host,
        port,
        socket_dir: socket_folder,
        admin,
        password: Cow::Borrowed(password.expose()),
        database,
        data_dir: data,
        log_file: log,
        major,
    };
    let path = path(folder);
    let text = serde_json::to_string_pretty(&file).map_err(|source| LocalError::StateSyntax { path: path.clone(), source })?;
    let text = Zeroizing::new(text + "\n");
    write_atomically(&path, 0o600, text.as_bytes()).map_err(LocalError::StateWrite)
}
