//! The socket: in a folder that nobody else can enter, and it goes with the process.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

/// Nobody but the owner.
const FOLDER_MODE: u32 = 0o700;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// The folder cannot be made.
    #[error("no private folder can be made in {}", folder.display())]
    Folder {
        /// The one for temporary files.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file system gives it other rights than were asked for.
    #[error("the folder {} has mode {mode:04o} where {FOLDER_MODE:04o} was asked for: set TMPDIR to a folder in another file system", folder.display())]
    Mode {
        /// It.
        folder: PathBuf,
        /// What it has.
        mode: u32,
    },
    /// The socket cannot be made.
    #[error("the socket {} cannot be made; is the path of TMPDIR long?", path.display())]
    Bind {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A socket that is listened on.
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Removed when this is dropped.
    _folder: TempDir,
}

impl Socket {
    /// Makes one.
    pub(super) fn open() -> Result<Self, SocketError> {
        let parent = std::env::temp_dir();
        let made = tempfile::Builder::new()
            .prefix("terraform-provider-")
            .permissions(std::fs::Permissions::from_mode(FOLDER_MODE))
            .tempdir_in(&parent);
        let folder = made.map_err(|source| SocketError::Folder { folder: parent, source })?;
        let metadata = folder.path().metadata();
        let metadata = metadata.map_err(|source| SocketError::Folder { folder: folder.path().to_owned(), source })?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode != FOLDER_MODE {
            return Err(SocketError::Mode { folder: folder.path().to_owned(), mode });
        }
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).map_err(|source| SocketError::Bind { path: path.clone(), source })?;
        Ok(Self { listener, path, _folder: folder })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for someone of our own account.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            // The folder keeps others out already; this costs nothing and does not hang on a file system's rights.
            if stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw()) {
                return Ok(stream);
            }
        }
    }
}
