//! Why the store cannot be used.

use std::io;

use pgisle_core::diagnostic::{Code, Diagnostic};

use super::Key;

/// Why something was not read from the store or written to it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The location is none.
    #[error("backup_storage_path \"{location}\" cannot be used")]
    Location {
        /// As it was given.
        location: String,
        /// What is wrong, as a sentence.
        reason: String,
    },
    /// An object is not there.
    #[error("the backup store \"{location}\" has no \"{key}\"")]
    Missing {
        /// The store.
        location: String,
        /// The object.
        key: Key,
    },
    /// An operation failed.
    #[error("cannot {verb} \"{key}\" in the backup store \"{location}\"")]
    Failed {
        /// What was tried.
        verb: &'static str,
        /// The store.
        location: String,
        /// The object.
        key: Key,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let diagnostic = Diagnostic::error(Code::BACKUP_STORE, self.to_string());
        match self {
            Self::Location { reason, .. } => diagnostic.detail(reason),
            Self::Missing { .. } => diagnostic,
            Self::Failed { source, location, .. } => {
                let diagnostic = diagnostic.detail(format!("{}.", chain(source)));
                match location.strip_prefix("s3://") {
                    Some(place) => advise_s3(diagnostic, source.kind(), place.split('/').next().unwrap_or_default()),
                    None => advise(diagnostic, source.kind()),
                }
            }
        }
    }
}

/// What to do about a folder.
fn advise(diagnostic: Diagnostic, kind: io::ErrorKind) -> Diagnostic {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            diagnostic.hint("Make room, or shorten backup_retention_days and remove what is due:").command("pgisle backup prune")
        }
        io::ErrorKind::PermissionDenied => {
            diagnostic.hint("Run pgisle as the user that the store belongs to; backups are readable by nobody else.")
        }
        _ => diagnostic,
    }
}

/// What to do about a bucket.
fn advise_s3(diagnostic: Diagnostic, kind: io::ErrorKind, bucket: &str) -> Diagnostic {
    match kind {
        io::ErrorKind::NotFound => diagnostic
            .hint("The bucket does not exist. Make it, or name another one in backup_storage_path:")
            .command(format!("aws s3 mb s3://{bucket}")),
        io::ErrorKind::PermissionDenied => diagnostic
            .hint(
                "The S3 server refuses the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what they may do there. Try them:",
            )
            .command(format!("aws s3 ls s3://{bucket}")),
        io::ErrorKind::NotConnected => diagnostic
            .hint("Nothing answers. Is AWS_ENDPOINT_URL right, and does the network let you through?")
            .command("curl -sS -o /dev/null \"${AWS_ENDPOINT_URL:-https://s3.amazonaws.com}\""),
        _ => diagnostic,
    }
}

/// An error and what caused it, as one line. What a library repeats of its cause is said once.
pub(in crate::backup) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text.trim_end_matches('.').to_owned()
}
