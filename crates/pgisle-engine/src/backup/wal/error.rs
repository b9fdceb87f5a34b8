//! Why a file of the log was not archived or fetched.

use std::io;
use std::path::PathBuf;

use pgisle_core::backup::wal::WalName;
use pgisle_core::diagnostic::{Code, Diagnostic};

use crate::backup::error::{BackupError, capitalised};
use crate::backup::store::StoreError;
use crate::credential;
use crate::file::FileError;

/// What can go wrong with the archive.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// A server archives nothing of that name.
    #[error("\"{}\" is not the name of a file of the write-ahead log", .0.escape_debug())]
    Name(String),
    /// The file that is to be archived cannot be read.
    #[error("cannot read \"{}\"", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what its name says.
    #[error("{name} is not the file that its name says")]
    Content {
        /// The file.
        name: WalName,
        /// What is wrong, as half a sentence.
        reason: String,
    },
    /// Another file of that name is in the archive.
    #[error("the archive holds another {name}")]
    Conflict {
        /// The file.
        name: WalName,
        /// Where.
        location: String,
    },
    /// The archive does not hold it.
    #[error("the archive does not hold {name}")]
    Absent {
        /// The file.
        name: WalName,
        /// Where it was looked for.
        location: String,
    },
    /// What the archive holds is not what was archived.
    #[error("archived file {name} is damaged")]
    Damaged {
        /// The file.
        name: WalName,
        /// What is wrong, as half a sentence.
        reason: String,
    },
    /// It is encrypted and no private key is at hand.
    #[error("archived file {name} is encrypted, and no age identity is at hand")]
    KeyMissing {
        /// The file.
        name: WalName,
        /// Where one would have been found.
        default_file: Option<PathBuf>,
    },
    /// It is encrypted to other keys.
    #[error("archived file {name} is not encrypted to the age identity at hand")]
    KeyWrong {
        /// The file.
        name: WalName,
    },
    /// A key cannot be used.
    #[error(transparent)]
    Key(BackupError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The fetched file cannot be written.
    #[error("cannot write \"{}\"", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<FileError>,
    },
    /// Compressing or encrypting failed.
    #[error("cannot process {name}")]
    Process {
        /// The file.
        name: WalName,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl WalError {
    /// True when the archive was read and the file is not in it.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }

    /// A private key that cannot be used for a file.
    pub(super) fn of_identity(name: WalName, error: credential::StoreError) -> Self {
        match error {
            credential::StoreError::IdentityMissing { default_file, .. } => Self::KeyMissing { name, default_file },
            error => Self::Key(BackupError::KeyUnusable(error)),
        }
    }

    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let of = |code: Code| Diagnostic::error(code, self.to_string());
        match self {
            Self::Store(error) => error.diagnostic(),
            Self::Key(error) => error.diagnostic(),
            Self::Name(_) => of(Code::WAL_ARCHIVE).hint("The server gives the path as %p, and the name as %f."),
            Self::Read { source, .. } => of(Code::WAL_ARCHIVE).detail(format!("The system says: {source}.")),
            Self::Content { reason, .. } => of(Code::WAL_ARCHIVE)
                .detail(format!("{}.", capitalised(reason)))
                .hint("Nothing was archived. The server keeps the file and asks again."),
            Self::Conflict { location, .. } => of(Code::WAL_CONFLICT)
                .detail(format!("Nothing in \"{location}\" was changed. The server keeps the file and asks again."))
                .hint("Two servers archive to one place, or the cluster was made anew. Give each a name_prefix, an environment or a backup_storage_path of its own, or move the folder wal of the former cluster away."),
            Self::Absent { location, .. } => of(Code::WAL_ABSENT).detail(format!("Looked for in \"{location}\".")),
            Self::Damaged { reason, .. } => of(Code::WAL_DAMAGED)
                .detail(format!("{}.", capitalised(reason)))
                .hint("Times before it can be recovered, and times after the next backup of the cluster. Make one:")
                .command("pgisle backup create -cluster"),
            Self::KeyMissing { default_file, .. } => {
                let place = default_file.as_ref().map_or_else(String::new, |path| format!(", or put it into {path:?}"));
                of(Code::BACKUP_KEY).hint(format!("Set PGISLE_AGE_IDENTITY_FILE to the private key's file{place}."))
            }
            Self::KeyWrong { .. } => {
                of(Code::BACKUP_KEY).hint("Use the identity of one of the backup_recipients that it was archived with.")
            }
            Self::Write { source, .. } => {
                let source = io::Error::other(source.to_string());
                of(Code::WAL_ABSENT).detail(format!("{}.", crate::backup::store::chain(&source)))
            }
            Self::Process { source, .. } => {
                of(Code::WAL_ARCHIVE).detail(format!("{}.", crate::backup::store::chain(source)))
            }
        }
    }
}
