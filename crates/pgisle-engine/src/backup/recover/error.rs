//! Why a service was not recovered.

use std::path::PathBuf;
use std::time::Duration;

use pgisle_core::backup::wal::{PointInTime, Segment};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::moment::Moment;

use crate::backup::error::BackupError;
use crate::backup::store::StoreError;
use crate::backup::wal::WalError;
use crate::file::FileError;
use crate::local::LocalError;

/// Why a service was not recovered. Nothing on the cluster was changed, and nothing is left on this machine.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The time is not yet.
    #[error("{at} is in the future")]
    Future {
        /// The time.
        at: PointInTime,
        /// Now.
        now: Moment,
    },
    /// No backup of the cluster was complete by then.
    #[error("no backup of the cluster was complete at {at}")]
    Early {
        /// The time.
        at: PointInTime,
        /// When the first one was; none when there is none.
        first: Option<Moment>,
    },
    /// A segment that is needed is missing.
    #[error("{at} cannot be reached: segment {missing} is missing from the archive")]
    Gap {
        /// The time.
        at: PointInTime,
        /// The segment.
        missing: Segment,
        /// Up to when the log before it reaches, about.
        until: Option<Moment>,
    },
    /// Nothing was archived that was written later.
    #[error("the archived log ends before {at}")]
    Ends {
        /// The time.
        at: PointInTime,
        /// The last transaction, or when the last segment was archived.
        last: Option<String>,
        /// Why the server archives nothing, where it says so.
        obstacle: Option<String>,
    },
    /// The time is before the backup's own end, by the log's account.
    #[error("the backup of the cluster was not complete at {0}")]
    Inconsistent(PointInTime),
    /// The service had no database then.
    #[error("the service had no database at that time")]
    NotThere,
    /// Another recovery is at work in this project.
    #[error("another recovery is at work in this project")]
    Busy,
    /// The private server ended.
    #[error("the private server ended before it reached {at}")]
    Died {
        /// The time.
        at: PointInTime,
        /// The end of its log.
        log_tail: String,
    },
    /// The private server neither replays nor ends.
    #[error("the private server stands still before it has reached {at}")]
    Still {
        /// The time.
        at: PointInTime,
        /// For how long.
        patience: Duration,
        /// The end of its log.
        log_tail: String,
    },
    /// The private server cannot be had.
    #[error("a private server cannot be had")]
    Server(#[source] LocalError),
    /// The private server does not answer.
    #[error("the private server does not answer")]
    Ask(Box<Diagnostic>),
    /// The cluster does not answer.
    #[error("the cluster cannot be asked")]
    Live(Box<Diagnostic>),
    /// The database could not be dumped.
    #[error("the database could not be dumped from the private server")]
    Dump(Box<Diagnostic>),
    /// The backup of the cluster is damaged, and no older one helps.
    #[error("{damage}")]
    Damaged {
        /// What is wrong with it.
        damage: BackupError,
        /// Why there is no older one.
        older: Box<RecoverError>,
    },
    /// The backup of the cluster cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The archive cannot be used.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder is not ours.
    #[error("the folder for a private server cannot be had")]
    Folder(#[source] Box<FileError>),
    /// A path that is no text.
    #[error("\"{}\" cannot be used: it is no text", .0.display())]
    Path(PathBuf),
}

impl RecoverError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let of = |code: Code| Diagnostic::error(code, self.to_string());
        match self {
            Self::Future { now, .. } => of(Code::RECOVER_TIME).detail(format!("It is {now}. Times without a zone are UTC.")),
            Self::Early { first: Some(first), .. } => of(Code::RECOVER_TIME)
                .detail(format!("The first one was complete at {first}. Times without a zone are UTC."))
                .hint("Give a later time, or restore a backup of the service:")
                .command("pgisle backup list"),
            Self::Early { first: None, .. } => of(Code::RECOVER_TIME)
                .detail("There is no backup of the cluster in the store.")
                .hint("Times after the next one can be recovered, when the server archives its log:")
                .command("pgisle backup create -cluster")
                .command("pgisle backup wal-setup"),
            Self::Gap { until, .. } => {
                let reach = until.map_or_else(String::new, |until| format!(" The log before it reaches to about {until}."));
                of(Code::WAL_GAP)
                    .detail(format!("A server replays its log without a gap or not at all.{reach}"))
                    .hint("Give a time before the gap, or one after the next backup of the cluster:")
                    .command("pgisle backup list")
            }
            Self::Ends { last, obstacle, .. } => {
                let last = last.as_ref().map_or_else(String::new, |last| format!("It reaches to {last}. "));
                if let Some(obstacle) = obstacle {
                    return of(Code::RECOVER_END)
                        .detail(format!("{last}{obstacle}"))
                        .hint("See to the archiving, and try again:")
                        .command("pgisle backup wal-setup");
                }
                of(Code::RECOVER_END)
                    .detail(format!("{last}The server has archived nothing that was written later."))
                    .hint("Give an earlier time, or have a DBA run this and try again; `pgisle backup wal-setup` looks at the archiving:")
                    .command("SELECT pg_current_xact_id(), pg_switch_wal();")
            }
            Self::Inconsistent(_) => of(Code::RECOVER_TIME).hint("Give a time that is a second later."),
            Self::NotThere => of(Code::RECOVER_TIME)
                .detail("No database of the cluster carried pgisle's mark for it then, or its owner role was missing.")
                .hint("Give a time at which the service was there."),
            Self::Busy => of(Code::RECOVER_SERVER).hint("Wait until the other one is done, and run the command again."),
            Self::Still { patience, log_tail, .. } => of(Code::RECOVER_SERVER)
                .detail(format!(
                    "For {} s it has asked for no file of the log and said nothing. It was ended. The end of its log:\n{log_tail}",
                    patience.as_secs()
                ))
                .hint("Look whether this machine's disk answers, and run the command again."),
            Self::Died { log_tail, .. } => of(Code::RECOVER_SERVER).detail(format!("The end of its log:\n{log_tail}")),
            Self::Server(error) => without_server(of(Code::RECOVER_SERVER), error),
            Self::Ask(inner) | Self::Live(inner) | Self::Dump(inner) => inner.as_ref().clone(),
            Self::Damaged { damage, older } => {
                let diagnostic = damage.diagnostic();
                let reason = diagnostic.detail.clone().unwrap_or_default();
                diagnostic.detail(format!("{reason} An older one does not help: {older}."))
            }
            Self::Backup(error) => error.diagnostic(),
            Self::Wal(error) => error.diagnostic(),
            Self::Store(error) => error.diagnostic(),
            Self::Folder(source) => {
                let source = std::io::Error::other(source.to_string());
                of(Code::IO).detail(format!("{}.", crate::backup::store::chain(&source)))
            }
            Self::Path(_) => of(Code::IO),
        }
    }
}

/// Adds why there is no private server.
fn without_server(diagnostic: Diagnostic, error: &LocalError) -> Diagnostic {
    let inner = error.diagnostic();
    let why = match &inner.detail {
        Some(detail) => format!("{}: {detail}", inner.summary),
        None => format!("{}.", inner.summary),
    };
    let diagnostic = diagnostic.detail(crate::backup::error::capitalised(&why));
    match inner.hint {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}
