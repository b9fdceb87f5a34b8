//! The connection file of a private cluster: what cannot be found out otherwise, and where other programs may look.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::secret::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::pair::Pair;
use super::{DevCluster, Layout};
use crate::file::write_atomically;
use crate::local::LocalError;

/// Raised when the file changes in a way that an older pgisle would misunderstand.
const FORMAT: u32 = 2;

/// The format of a cluster without a standby, which an older pgisle understands.
const FORMAT_ALONE: u32 = 1;

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// How to connect to the primary.
    pub(super) cluster: DevCluster,
    /// Which of two servers that is, where there is a standby.
    pub(super) pair: Option<Pair>,
}

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pair: Option<Pair>,
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
    Ok(read(&Layout::of(project)?.folder)?.map(|state| state.cluster))
}

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("dev.json")
}

pub(super) fn read(folder: &Path) -> Result<Option<State>, LocalError> {
    let path = path(folder);
    let text = match fs::read_to_string(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LocalError::file("read", path)(error)),
    };
    let syntax = |source| LocalError::StateSyntax { path: path.clone(), source };
    let header: Header = serde_json::from_str(&text).map_err(syntax)?;
    if !(FORMAT_ALONE..=FORMAT).contains(&header.format) {
        return Err(LocalError::StateFormat { path, found: header.format, known: FORMAT });
    }
    let file: File<'_> = serde_json::from_str(&text).map_err(syntax)?;
    let File { format: _, host, port, socket_dir, admin, password, database, data_dir, log_file, major, pair } = file;
    let cluster = DevCluster {
        host,
        port,
        socket_folder: socket_dir,
        admin,
        password: Secret::new(password.into_owned()),
        database,
        data: data_dir,
        log: log_file,
        major,
    };
    Ok(Some(State { cluster, pair }))
}

/// Writes the file whole or not at all. It stays ours, not the server's account's.
pub(super) fn save(folder: &Path, state: &State) -> Result<(), LocalError> {
    if read(folder).ok().flatten().as_ref() == Some(state) {
        return Ok(());
    }
    let State { cluster, pair } = state.clone();
    let DevCluster { host, port, socket_folder, admin, password, database, data, log, major } = cluster;
    let file = File {
        format: if pair.is_some() { FORMAT } else { FORMAT_ALONE },
        host,
        port,
        socket_dir: socket_folder,
        admin,
        password: Cow::Borrowed(password.expose()),
        database,
        data_dir: data,
        log_file: log,
        major,
        pair,
    };
    let path = path(folder);
    let text = serde_json::to_string_pretty(&file).map_err(|source| LocalError::StateSyntax { path: path.clone(), source })?;
    let text = Zeroizing::new(text + "\n");
    write_atomically(&path, 0o600, text.as_bytes()).map_err(LocalError::StateWrite)
}
