//! Why a backup cannot be found, read or made.

use std::path::PathBuf;

use pgisle_core::backup::BackupId;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;

use super::store::StoreError;
use crate::credential;

/// What can go wrong with a backup that is there, or should be.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none, or none of this name.
    #[error("{}", none(.service, .wanted.as_deref()))]
    None {
        /// Whose was wanted.
        service: ServiceName,
        /// Which; the newest, when none.
        wanted: Option<String>,
        /// Those that are there.
        there: Vec<BackupId>,
    },
    /// The beginning of a name fits several.
    #[error("several backups of service \"{service}\" are called \"{wanted}…\"")]
    Several {
        /// Whose was wanted.
        service: ServiceName,
        /// The beginning.
        wanted: String,
        /// Those that fit.
        there: Vec<BackupId>,
    },
    /// It is not what it was.
    #[error("backup {id} of service \"{service}\" is damaged")]
    Damaged {
        /// Its service.
        service: ServiceName,
        /// Its name.
        id: BackupId,
        /// What was found, as a sentence without its full stop.
        reason: String,
    },
    /// It is encrypted and no private key is at hand.
    #[error("backup {id} of service \"{service}\" is encrypted, and no age identity is at hand")]
    KeyMissing {
        /// Its service.
        service: ServiceName,
        /// Its name.
        id: BackupId,
        /// Where one would have been found.
        default_file: Option<PathBuf>,
    },
    /// It is encrypted to other keys.
    #[error("backup {id} of service \"{service}\" is not encrypted to the age identity at hand")]
    KeyWrong {
        /// Its service.
        service: ServiceName,
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
}

fn none(service: &ServiceName, wanted: Option<&str>) -> String {
    match wanted {
        Some(wanted) => format!("service \"{service}\" has no backup \"{wanted}\""),
        None => format!("service \"{service}\" has no backup"),
    }
}

impl BackupError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let about = |diagnostic: Diagnostic, service: &ServiceName| diagnostic.about(format!("service \"{service}\""));
        match self {
            Self::Store(error) => error.diagnostic(),
            Self::None { service, wanted, there } => {
                let diagnostic = about(Diagnostic::error(Code::BACKUP_NONE, self.to_string()), service);
                match (wanted, there.last()) {
                    (_, None) => diagnostic.hint("Make one:").command(format!("pgisle backup create -service={service}")),
                    (_, Some(newest)) => diagnostic
                        .detail(format!("The newest of its {} backups is {newest}.", there.len()))
                        .hint("All of them:")
                        .command(format!("pgisle backup list -service={service}")),
                }
            }
            Self::Several { service, there, .. } => {
                let names: Vec<&str> = there.iter().map(BackupId::as_str).collect();
                about(Diagnostic::error(Code::BACKUP_NONE, self.to_string()), service)
                    .detail(format!("They are {}.", names.join(", ")))
                    .hint("Give more of the name.")
            }
            Self::Damaged { service, reason, .. } => about(Diagnostic::error(Code::BACKUP_DAMAGED, self.to_string()), service)
                .detail(format!("{}.", capitalised(reason)))
                .hint("It cannot be restored. Look at the disk, and make a new one:")
                .command(format!("pgisle backup create -service={service}")),
            Self::KeyMissing { service, default_file, .. } => {
                let place = default_file.as_ref().map_or_else(String::new, |path| format!(", or put it into {path:?}"));
                about(Diagnostic::error(Code::BACKUP_KEY, self.to_string()), service)
                    .hint(format!("Set PGISLE_AGE_IDENTITY_FILE to the private key's file{place}."))
            }
            Self::KeyWrong { service, .. } => about(Diagnostic::error(Code::BACKUP_KEY, self.to_string()), service)
                .hint("Use the identity of one of the backup_recipients that it was made with."),
            Self::KeyUnusable(error) => {
                let inner = error.diagnostic();
                let mut diagnostic = Diagnostic { code: Code::BACKUP_KEY, ..inner };
                diagnostic.subject.get_or_insert_with(|| "backups".to_owned());
                diagnostic
            }
            Self::Recipient { .. } => Diagnostic::error(Code::BACKUP_KEY, self.to_string())
                .hint("backup_recipients takes X25519 keys, as age-keygen prints them: `age1` and 58 more characters."),
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), characters.as_str()))
}
