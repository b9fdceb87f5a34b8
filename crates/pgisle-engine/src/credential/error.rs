//! Why the store cannot be used.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use pgisle_core::diagnostic::{Code, Diagnostic};

use crate::file::FileError;

/// Why the credential store was not read or written. In every case the file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is there and cannot be read.
    #[error("cannot read the credential store {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It is a symbolic link, a folder or a pipe.
    #[error("the credential store {path:?} is not an ordinary file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it: the store, or the file with the private key.
    #[error("other users can read {path:?}, mode {mode:04o}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Others may write it.
    #[error("other users can change {path:?}, mode {mode:04o}")]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is no store, or a damaged one.
    #[error("the credential store {path:?} is malformed at line {line}, column {column}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A newer pgisle wrote it.
    #[error("the credential store {path:?} has version {found}, and this pgisle knows version 1")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A plain and an encrypted file stand side by side and differ.
    #[error("the credential stores {plain:?} and {encrypted:?} contradict each other")]
    Ambiguous {
        /// The plain file.
        plain: PathBuf,
        /// The encrypted file.
        encrypted: PathBuf,
    },
    /// A setting names no public key. The text is not shown: people have pasted the private key.
    #[error("item {position} of credential_recipients is not an age public key")]
    Recipient {
        /// Which one, from 1.
        position: usize,
    },
    /// There is no private key.
    #[error("no age identity is at hand for the credential store {path:?}")]
    IdentityMissing {
        /// The store.
        path: PathBuf,
        /// Where one would have been found.
        default_file: Option<PathBuf>,
    },
    /// The private key's file cannot be read.
    #[error("cannot read the age identity file {path:?}")]
    IdentityUnreadable {
        /// The identity file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The text holds no private key.
    #[error("{origin} holds no usable age identity")]
    IdentityMalformed {
        /// The file or variable.
        origin: String,
    },
    /// The private key does not fit.
    #[error("the credential store {path:?} is not encrypted to the age identity at hand")]
    IdentityWrong {
        /// The store.
        path: PathBuf,
    },
    /// What would be written could not be read again.
    #[error("the age identity at hand is not among the credential recipients")]
    LockedOut,
    /// The content was changed or cut.
    #[error("the credential store {path:?} is damaged or no age file")]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What age found.
        #[source]
        source: age::DecryptError,
    },
    /// Encrypting failed.
    #[error("cannot encrypt the credential store {path:?}")]
    Encrypt {
        /// The store.
        path: PathBuf,
        /// What age found.
        #[source]
        source: age::EncryptError,
    },
    /// Rendering failed.
    #[error("cannot render the credential store {path:?}")]
    Render {
        /// The store.
        path: PathBuf,
        /// What was found.
        #[source]
        source: serde_json::Error,
    },
    /// The lock file cannot be used.
    #[error("cannot lock the credential store by {path:?}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another process holds the lock for too long.
    #[error("the credential store is locked by another pgisle ({holder}) through {path:?}")]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who, as far as the lock file tells.
        holder: String,
    },
    /// The file or its folder cannot be written.
    #[error("cannot write the credential store {path:?}")]
    Write {
        /// The store.
        path: PathBuf,
        /// What failed.
        #[source]
        source: FileError,
    },
}

impl StoreError {
    /// The error as people see it.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let diagnostic = Diagnostic::error(Code::CREDENTIAL_STORE, self.to_string());
        match self {
            Self::Exposed { path, .. } | Self::Writable { path, .. } => diagnostic
                .detail("It holds or opens passwords, so only its owner may have access.")
                .hint("Close it. If others can have read it, rotate as well:")
                .command(format!("chmod 600 {}", shell_quoted(path))),
            Self::NotAFile { .. } => diagnostic.hint("Put the file itself there; it is replaced on every change, so a link would not last."),
            Self::Malformed { .. } => {
                diagnostic.detail("What stands there is not shown, because it may be a password.").hint("Take the file from a backup.")
            }
            Self::Version { .. } => diagnostic.hint("Use the pgisle that wrote it, or a newer one. The file was not changed."),
            Self::Ambiguous { .. } => diagnostic.hint("Find out which one is right and remove the other."),
            Self::Recipient { .. } => {
                diagnostic.hint("credential_recipients takes X25519 keys, as age-keygen prints them: `age1` and 58 more characters.")
            }
            Self::IdentityMissing { default_file, .. } => {
                let place = default_file.as_ref().map_or_else(String::new, |path| format!(", or put it into {path:?}"));
                diagnostic
                    .detail("The store is encrypted, and the private key for it was found nowhere.")
                    .hint(format!("Set PGISLE_AGE_IDENTITY_FILE to the key's file{place}. `age-keygen` makes one."))
            }
            Self::IdentityMalformed { .. } => diagnostic
                .hint("An identity is a line that begins with AGE-SECRET-KEY-1. One that is protected by a passphrase must be decrypted first."),
            Self::IdentityWrong { .. } => diagnostic.hint(
                "Use the identity of one of the recipients, or have someone who can read the store add your public key to credential_recipients and apply.",
            ),
            Self::LockedOut => diagnostic
                .detail("The store would be written so that this machine could not read it at the next run.")
                .hint("Add this machine's public key to credential_recipients; `age-keygen -y FILE` prints it."),
            Self::Held { .. } => diagnostic.hint("Wait for it to end and try again."),
            _ => match causes(self.source()) {
                Some(causes) => diagnostic.detail(causes),
                None => diagnostic,
            },
        }
    }
}

/// The chain of sources as one line.
fn causes(first: Option<&(dyn std::error::Error + 'static)>) -> Option<String> {
    let mut text = first?.to_string();
    let mut next = first?.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    Some(text)
}

fn shell_quoted(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte)) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
