//! What can go wrong with a private cluster, and how to tell the user.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use pgisle_core::diagnostic::{Code, Diagnostic};

use crate::file::FileError;
use crate::postgres::ConnectError;
use crate::process::{AccountError, ProcessError};

/// What can go wrong with a private cluster.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The server programs are not there.
    #[error("{} not installed", wanted_server(.major.as_ref()))]
    NotInstalled {
        /// The major version that was asked for, if one was.
        major: Option<u32>,
        /// The major versions that are there.
        found: Vec<u32>,
    },
    /// PgBouncer is not there.
    #[error("PgBouncer is not installed")]
    PgBouncerNotInstalled,
    /// There is no account to run a server as.
    #[error("cannot choose the account that the server runs as")]
    Account(#[source] AccountError),
    /// The operating system gave no random bytes.
    #[error("cannot make a random password")]
    Random(#[source] getrandom::Error),
    /// A file or folder could not be handled.
    #[error("cannot {action} \"{}\"", .path.display())]
    File {
        /// What was tried: `create`, `read`, …
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A folder is somebody else's, or others may write to it.
    #[error("folder \"{}\" cannot be trusted: {reason}", .path.display())]
    Untrusted {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// `initdb` failed.
    #[error("cannot initialise the data directory \"{}\"", .data.display())]
    Initialise {
        /// The data directory.
        data: PathBuf,
        /// Why.
        #[source]
        source: ProcessError,
    },
    /// The server did not come up.
    #[error("the server on \"{}\" did not start", .data.display())]
    Start {
        /// The data directory.
        data: PathBuf,
        /// The end of the server's log.
        log_tail: String,
        /// Why.
        #[source]
        source: ProcessError,
    },
    /// The server did not go down.
    #[error("the server on \"{}\" did not stop within {timeout_s} s", .data.display())]
    Stop {
        /// The data directory.
        data: PathBuf,
        /// How long we waited.
        timeout_s: u64,
    },
    /// The data directory is another major version's than was asked for.
    #[error("the private cluster was made by PostgreSQL {found}, not {wanted}")]
    OtherMajor {
        /// The data directory.
        data: PathBuf,
        /// Who made it.
        found: u32,
        /// What was asked for.
        wanted: u32,
    },
    /// The data directory is of a major version that is not installed any more.
    #[error("the private cluster was made by PostgreSQL {major}, which is not installed")]
    MajorGone {
        /// The data directory.
        data: PathBuf,
        /// Who made it.
        major: u32,
    },
    /// There is a folder in the data directory's place that is none.
    #[error("folder \"{}\" is in the way: it is no data directory", .0.display())]
    NotADataDirectory(PathBuf),
    /// There is a data directory and nobody knows its password.
    #[error("the private cluster's connection file \"{}\" is missing", .state.display())]
    StateMissing {
        /// Where it should be.
        state: PathBuf,
    },
    /// The connection file is not what we wrote.
    #[error("the private cluster's connection file \"{}\" cannot be understood", .path.display())]
    StateSyntax {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The connection file was written by a newer pgisle.
    #[error("the private cluster's connection file \"{}\" has format {found}, and this pgisle knows {known}", .path.display())]
    StateFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The private cluster has another administrator than was asked for.
    #[error("the private cluster's administrator is \"{found}\", not \"{wanted}\"")]
    OtherAdmin {
        /// Who it is.
        found: String,
        /// Who was asked for.
        wanted: String,
    },
    /// Another pgisle is at work on the private cluster and does not end.
    #[error("another pgisle is starting or stopping the private cluster")]
    Busy {
        /// The lock's file.
        lock: PathBuf,
    },
    /// The connection file cannot be written.
    #[error("cannot write down how to connect to the private cluster")]
    StateWrite(#[source] FileError),
    /// The server runs and does not let us in.
    #[error("the private cluster is running and does not let us in")]
    Connect(#[source] ConnectError),
    /// The server runs and refuses a statement.
    #[error("the private cluster is running and does not take a statement")]
    Query(#[source] tokio_postgres::Error),
    /// The server runs and does not answer.
    #[error("the private cluster is running and did not answer within {timeout_s} s")]
    Silent {
        /// How long we waited.
        timeout_s: u64,
        /// The end of the server's log.
        log_tail: String,
    },
    /// The files of a running server could not be copied, or a data directory not be brought back to them.
    #[error("cannot make a standby in \"{}\"", .data.display())]
    Copy {
        /// The data directory.
        data: PathBuf,
        /// Why.
        #[source]
        source: ProcessError,
    },
    /// A standby was made and gets no log.
    #[error("the standby runs and does not follow the primary")]
    Standby {
        /// The end of its log.
        log_tail: String,
    },
    /// A standby did not become a primary.
    #[error("the standby was not promoted within a minute")]
    Promote {
        /// The end of its log.
        log_tail: String,
    },
    /// Somebody else has promoted the standby: each of two servers may hold what the other does not.
    #[error("both servers of the private cluster take writes")]
    TwoPrimaries {
        /// The data directory of the one that is taken for the primary.
        known: PathBuf,
        /// The other one.
        other: PathBuf,
    },
    /// The primary's data directory is gone, and there is a standby.
    #[error("the primary's data directory \"{}\" is gone", .0.display())]
    DataGone(PathBuf),
    /// What a failover made cannot be removed.
    #[error("{}", .0.summary)]
    Sweep(Box<Diagnostic>),
    /// PgBouncer did not come up.
    #[error("PgBouncer did not start with \"{}\"", .ini.display())]
    Pooler {
        /// Its configuration.
        ini: PathBuf,
        /// The end of its log.
        log_tail: String,
        /// Why, if it was not its own fault.
        #[source]
        source: Option<ProcessError>,
    },
}

fn wanted_server(major: Option<&u32>) -> String {
    major.map_or_else(|| "PostgreSQL's server programs are".to_owned(), |major| format!("PostgreSQL {major} is"))
}

impl LocalError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// What to tell the user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let diagnostic = Diagnostic::error(self.code(), self.to_string());
        let diagnostic = match self.detail() {
            Some(detail) => diagnostic.detail(detail),
            None => diagnostic,
        };
        self.remedy(diagnostic)
    }

    fn code(&self) -> Code {
        match self {
            Self::NotInstalled { .. } | Self::PgBouncerNotInstalled => Code::LOCAL_BINARIES,
            Self::Initialise { .. } | Self::Start { .. } | Self::Account(_) | Self::Pooler { .. } => Code::LOCAL_START,
            Self::Copy { .. } | Self::Standby { .. } | Self::Promote { .. } | Self::TwoPrimaries { .. } | Self::DataGone(_) => {
                Code::LOCAL_STANDBY
            }
            Self::Sweep(diagnostic) => diagnostic.code,
            Self::Stop { .. } | Self::Busy { .. } | Self::Connect(_) | Self::Query(_) | Self::Silent { .. } => Code::LOCAL_STATE,
            Self::OtherMajor { .. } | Self::MajorGone { .. } | Self::OtherAdmin { .. } => Code::LOCAL_MISMATCH,
            Self::StateMissing { .. } | Self::StateSyntax { .. } | Self::StateFormat { .. } => Code::LOCAL_STATE,
            Self::Untrusted { .. } | Self::File { .. } | Self::StateWrite(_) | Self::NotADataDirectory(_) | Self::Random(_) => {
                Code::IO
            }
        }
    }

    /// The causes in order, then the server's log where that says more.
    fn detail(&self) -> Option<String> {
        let mut lines = Vec::new();
        let mut cause = self.source();
        while let Some(error) = cause {
            lines.push(error.to_string());
            cause = error.source();
        }
        match self {
            Self::NotInstalled { found, .. } if !found.is_empty() => {
                let mut found = found.clone();
                found.sort_unstable();
                found.dedup();
                let found: Vec<String> = found.iter().map(u32::to_string).collect();
                lines.push(format!("Installed: PostgreSQL {}.", found.join(", ")));
            }
            Self::Start { log_tail, .. }
            | Self::Pooler { log_tail, .. }
            | Self::Silent { log_tail, .. }
            | Self::Standby { log_tail }
            | Self::Promote { log_tail }
                if !log_tail.is_empty() =>
            {
                lines.push(format!("The log ends with:\n{log_tail}"));
            }
            Self::TwoPrimaries { known, other } => lines.push(format!(
                "\"{}\" is the primary, and \"{}\" was promoted beside it. Each may hold rows that the other has not.",
                known.display(),
                other.display()
            )),
            Self::Sweep(diagnostic) => lines.extend(diagnostic.detail.clone()),
            _ => {}
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn remedy(&self, diagnostic: Diagnostic) -> Diagnostic {
        match self {
            Self::NotInstalled { major, .. } => diagnostic
                .hint("Install the server's package, or name the folder of its programs in PGISLE_PG_BIN.")
                .command(format!("sudo apt-get install postgresql{}", major.map(|major| format!("-{major}")).unwrap_or_default())),
            Self::PgBouncerNotInstalled => diagnostic.hint("Install it.").command("sudo apt-get install pgbouncer"),
            Self::OtherMajor { found, .. } => diagnostic
                .hint(format!(
                    "Go on with PostgreSQL {found} by leaving the version out, or remove the private cluster and all its data."
                ))
                .command("pgisle dev down -destroy"),
            Self::MajorGone { major, .. } => diagnostic
                .hint(format!("Install PostgreSQL {major} again, or remove the private cluster and all its data."))
                .command("pgisle dev down -destroy"),
            Self::OtherAdmin { .. } | Self::StateMissing { .. } | Self::StateSyntax { .. } | Self::StateFormat { .. } => diagnostic
                .hint("Put it back as it was, or remove the private cluster and all its data.")
                .command("pgisle dev down -destroy"),
            Self::TwoPrimaries { other, .. } => diagnostic
                .hint("Save what is only in the other one, and remove it; the next start copies the primary again.")
                .command(format!("rm -r \"{}\"", other.display())),
            Self::DataGone(_) => diagnostic
                .hint("Put it back, or remove the private cluster with its standby and all data.")
                .command("pgisle dev down -destroy"),
            Self::Busy { .. } => diagnostic.hint("Wait until the other one is done, and run the command again."),
            Self::Untrusted { .. } | Self::NotADataDirectory(_) => {
                diagnostic.hint("Move it out of the way, and run the command again.")
            }
            _ => diagnostic,
        }
    }
}
