//! Why a backup cannot be found, read or made.

use std::fmt;
use std::io;
use std::path::PathBuf;

use pgisle_core::backup::BackupId;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;

use super::store::{StoreError, chain};
use crate::credential;
use crate::process::ProcessError;

/// Whose a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// One service's.
    Service(ServiceName),
    /// The whole cluster's.
    Cluster,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => write!(f, "service \"{service}\""),
            Self::Cluster => f.write_str("the cluster"),
        }
    }
}

impl Whose {
    /// What a finding is about.
    fn subject(&self) -> String {
        match self {
            Self::Service(_) => self.to_string(),
            Self::Cluster => "cluster".to_owned(),
        }
    }

    /// The command that makes a new one.
    fn create(&self) -> String {
        match self {
            Self::Service(service) => format!("pgisle backup create -service={service}"),
            Self::Cluster => "pgisle backup create -cluster".to_owned(),
        }
    }

    fn list(&self) -> String {
        match self {
            Self::Service(service) => format!("pgisle backup list -service={service}"),
            Self::Cluster => "pgisle backup list".to_owned(),
        }
    }
}

/// What can go wrong with a backup that is there, or should be.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none, or none of this name.
    #[error("{}", none(.whose, .wanted.as_deref()))]
    None {
        /// Whose was wanted.
        whose: Whose,
        /// Which; the newest, when none.
        wanted: Option<String>,
        /// Those that are there.
        there: Vec<BackupId>,
    },
    /// The beginning of a name fits several.
    #[error("several backups of {whose} are called \"{wanted}…\"")]
    Several {
        /// Whose was wanted.
        whose: Whose,
        /// The beginning.
        wanted: String,
        /// Those that fit.
        there: Vec<BackupId>,
    },
    /// It is not what it was.
    #[error("backup {id} of {whose} is damaged")]
    Damaged {
        /// Whose it is.
        whose: Whose,
        /// Its name.
        id: BackupId,
        /// What was found, as a sentence without its full stop.
        reason: String,
    },
    /// It is encrypted and no private key is at hand.
    #[error("backup {id} of {whose} is encrypted, and no age identity is at hand")]
    KeyMissing {
        /// Whose it is.
        whose: Whose,
        /// Its name.
        id: BackupId,
        /// Where one would have been found.
        default_file: Option<PathBuf>,
    },
    /// It is encrypted to other keys.
    #[error("backup {id} of {whose} is not encrypted to the age identity at hand")]
    KeyWrong {
        /// Whose it is.
        whose: Whose,
        /// Its name.
        id: BackupId,
    },
    /// The private key itself cannot be used.
    #[error("the age identity for reading backups cannot be used")]
    KeyUnusable(#[source] credential::StoreError),
    /// A public key of the spec cannot be used.
    #[error("item {position} of backup_recipients is not an age public key")]
    Recipient {
        /// Which one, from 1.
        position: usize,
    },
    /// A program that puts a cluster's backup together is missing, or is of another version.
    #[error("there is no {program} of PostgreSQL {major}")]
    Program {
        /// The program.
        program: &'static str,
        /// The major version that it must be of.
        major: u32,
    },
    /// The folder has no room for what is unpacked.
    #[error("there is not enough space to unpack cluster backup {id}")]
    Space {
        /// The backup.
        id: BackupId,
        /// Where.
        folder: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// What a cluster's backup was unpacked to is not what PostgreSQL's own program takes for whole.
    #[error("cluster backup {id} is not whole")]
    Check {
        /// The backup.
        id: BackupId,
        /// What `pg_verifybackup` said.
        said: String,
    },
    /// A cluster's backup could not be made a data directory.
    #[error("cluster backup {id} cannot be unpacked into \"{}\"", .folder.display())]
    Unpack {
        /// The backup.
        id: BackupId,
        /// Where.
        folder: PathBuf,
        /// Why.
        #[source]
        source: UnpackError,
    },
}

/// Why a data directory could not be written.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Something is there already.
    #[error("the folder is there and not empty")]
    Taken,
    /// The file system refused.
    #[error(transparent)]
    File(#[from] io::Error),
    /// `pg_combinebackup` failed.
    #[error(transparent)]
    Program(#[from] ProcessError),
}

fn none(whose: &Whose, wanted: Option<&str>) -> String {
    match wanted {
        Some(wanted) => format!("{whose} has no backup \"{wanted}\""),
        None => format!("{whose} has no backup"),
    }
}

impl BackupError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let about = |diagnostic: Diagnostic, whose: &Whose| diagnostic.about(whose.subject());
        match self {
            Self::Store(error) => error.diagnostic(),
            Self::None { whose, wanted, there } => {
                let diagnostic = about(Diagnostic::error(Code::BACKUP_NONE, self.to_string()), whose);
                match (wanted, there.last()) {
                    (_, None) => diagnostic.hint("Make one:").command(whose.create()),
                    (_, Some(newest)) => diagnostic
                        .detail(format!("The newest of its {} backups is {newest}.", there.len()))
                        .hint("All of them:")
                        .command(whose.list()),
                }
            }
            Self::Several { whose, there, .. } => {
                let names: Vec<&str> = there.iter().map(BackupId::as_str).collect();
                about(Diagnostic::error(Code::BACKUP_NONE, self.to_string()), whose)
                    .detail(format!("They are {}.", names.join(", ")))
                    .hint("Give more of the name.")
            }
            Self::Damaged { whose, reason, .. } => about(Diagnostic::error(Code::BACKUP_DAMAGED, self.to_string()), whose)
                .detail(format!("{}.", capitalised(reason)))
                .hint("It cannot be restored. Look at the disk, and make a new one:")
                .command(whose.create()),
            Self::KeyMissing { whose, default_file, .. } => {
                let place = default_file.as_ref().map_or_else(String::new, |path| format!(", or put it into {path:?}"));
                about(Diagnostic::error(Code::BACKUP_KEY, self.to_string()), whose)
                    .hint(format!("Set PGISLE_AGE_IDENTITY_FILE to the private key's file{place}."))
            }
            Self::KeyWrong { whose, .. } => about(Diagnostic::error(Code::BACKUP_KEY, self.to_string()), whose)
                .hint("Use the identity of one of the backup_recipients that it was made with."),
            Self::KeyUnusable(error) => {
                let inner = error.diagnostic();
                let mut diagnostic = Diagnostic { code: Code::BACKUP_KEY, ..inner };
                diagnostic.subject.get_or_insert_with(|| "backups".to_owned());
                diagnostic
            }
            Self::Recipient { .. } => Diagnostic::error(Code::BACKUP_KEY, self.to_string())
                .hint("backup_recipients takes X25519 keys, as age-keygen prints them: `age1` and 58 more characters."),
            Self::Program { program, major } => cluster(Code::CLUSTER_TOOLS, self).hint(format!(
                "Install PostgreSQL {major} with {program}, which belongs to the server's package on some systems, or name its folder in PGISLE_PG_BIN."
            )),
            Self::Space { folder, free, needed, .. } => cluster(Code::BACKUP_SPACE, self)
                .detail(format!("{folder:?} has {free} bytes left, and about {needed} are needed. Nothing was written.")),
            Self::Check { said, .. } => cluster(Code::CLUSTER_CHECK, self)
                .detail(format!("pg_verifybackup says: {}.", said.trim_end_matches('.')))
                .hint("It counts for retention no more. Look at the disk, and make a new one:")
                .command(Whose::Cluster.create()),
            Self::Unpack { source, .. } => cluster(Code::CLUSTER_UNPACK, self).detail(format!("{}.", capitalised(&chain(source)))),
        }
    }
}

fn cluster(code: Code, error: &BackupError) -> Diagnostic {
    Diagnostic::error(code, error.to_string()).about("cluster")
}

pub(super) fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), characters.as_str()))
}
