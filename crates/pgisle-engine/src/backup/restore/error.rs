//! Why a restore did not happen.

use std::io;

use pgisle_core::backup::archive::ArchiveError;
use pgisle_core::backup::script::ScriptError;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::{DatabaseName, ServiceName};
use pgisle_core::plan::DbaStatement;

use crate::apply::ApplyError;
use crate::backup::content::ContentError;
use crate::postgres::connect::{describe, is_lost};
use crate::postgres::{ConnectError, InspectError, LockError};
use crate::process::ProcessError;

/// Why a restore did not happen. The live database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// No session.
    #[error("cannot connect")]
    Connect(#[from] ConnectError),
    /// No inventory.
    #[error("cannot inspect the cluster")]
    Inspect(#[from] InspectError),
    /// No lock.
    #[error("cannot take the run lock")]
    Lock(#[from] LockError),
    /// The apply that goes with it was refused.
    #[error("cannot apply the service")]
    Apply(#[from] ApplyError),
    /// The content of the new database cannot be read.
    #[error("the content of the new database cannot be read")]
    Content(#[from] ContentError),
    /// The input cannot be read, or only in part.
    #[error("\"{name}\" cannot be read")]
    Read {
        /// The input.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is an archive that is damaged or cut.
    #[error("\"{name}\" is not a whole archive")]
    Archive {
        /// The input.
        name: String,
        /// In what.
        #[source]
        source: ArchiveError,
    },
    /// It is a script that is cut, or that a restore does not run.
    #[error("\"{name}\" cannot be run as a script")]
    Script {
        /// The input.
        name: String,
        /// In what.
        #[source]
        source: ScriptError,
    },
    /// It is something else.
    #[error("\"{name}\" is not a dump that can be restored: {why}")]
    Form {
        /// The input.
        name: String,
        /// Why.
        why: String,
    },
    /// The service is not there as the file has it.
    #[error("service \"{service}\" cannot be restored into: {why}")]
    Service {
        /// The service.
        service: ServiceName,
        /// Why.
        why: String,
    },
    /// Extensions that are missing.
    #[error("database \"{database}\" waits for extensions")]
    Extensions {
        /// The new database.
        database: DatabaseName,
        /// The server's words, an extension each.
        reasons: Vec<String>,
        /// What a DBA must run.
        statements: Vec<DbaStatement>,
    },
    /// Extensions that nobody can make.
    #[error("the dump needs extensions that the server does not have")]
    Unavailable {
        /// Which, a sentence each.
        reasons: Vec<String>,
    },
    /// `pg_restore` is not here, or too old.
    #[error("no pg_restore here can read the archive")]
    Tools {
        /// What there is.
        detail: String,
    },
    /// `pg_restore` failed.
    #[error("pg_restore failed")]
    Process(#[from] ProcessError),
    /// The server refused a statement of the dump.
    #[error("the server refused a statement of the dump")]
    Load {
        /// The statement's first words.
        statement: String,
        /// Its line, in a script.
        line: u64,
        /// The server's or the library's reason.
        #[source]
        source: Box<tokio_postgres::Error>,
    },
    /// The server refused a statement of ours.
    #[error("cannot {doing}")]
    Query {
        /// What was to be done.
        doing: String,
        /// The server's or the library's reason.
        #[source]
        source: Box<tokio_postgres::Error>,
    },
    /// A step of the plan failed.
    #[error("the new database cannot be made like the live one")]
    Step(#[source] Box<crate::apply::StepFailure>),
    /// The server went away while it committed that the databases trade places.
    #[error("whether the databases have traded places is not known")]
    InDoubt {
        /// The service.
        service: ServiceName,
        /// The server's or the library's reason.
        #[source]
        source: Box<tokio_postgres::Error>,
    },
    /// It failed, and what it had made could not be taken away.
    #[error("{cause}")]
    Unfinished {
        /// Why it failed.
        cause: Box<RestoreError>,
        /// Why that stays, in a few words.
        why: String,
    },
    /// What was restored is not what was backed up.
    #[error("database \"{database}\" does not hold what the backup holds")]
    Differs {
        /// The new database, which is dropped.
        database: DatabaseName,
        /// In what, a line each.
        differences: Vec<String>,
    },
    /// Someone is connected and cannot be made to leave.
    #[error("database \"{database}\" is in use")]
    InUse {
        /// The live database.
        database: DatabaseName,
        /// By whom.
        by: String,
    },
    /// Nothing to put back.
    #[error("service \"{0}\" has no replaced database")]
    NothingToUndo(ServiceName),
    /// No random password.
    #[error("the system gives no random bytes")]
    Random,
    /// A task of ours ended without a word.
    #[error("a part of the restore stopped without a word")]
    Stopped,
}

/// What everyone who reads of a failure wants to know first.
const UNTOUCHED: &str = "The live database is untouched.";

/// The server's disk is full.
const DISK_FULL: &str = "53100";

impl RestoreError {
    pub(super) fn query(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Query { doing, source: Box::new(source) }
    }

    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let summary = self.to_string();
        let source = std::error::Error::source(self).map(ToString::to_string).unwrap_or_default();
        match self {
            Self::Connect(error) => untouched(error.diagnostic()),
            Self::Inspect(error) => untouched(error.diagnostic()),
            Self::Lock(error @ LockError::Held { .. }) => error.diagnostic(),
            Self::Lock(error) => untouched(error.diagnostic()),
            Self::Apply(error) => untouched(error.diagnostic()),
            Self::Content(error) => untouched(error.diagnostic()),
            Self::Step(failure) => untouched(failure.diagnostic()),
            Self::Read { .. } | Self::Archive { .. } => {
                Diagnostic::error(Code::RESTORE_INPUT, summary).detail(format!("{}. {UNTOUCHED}", with_causes(self)))
            }
            Self::Script { source: error, .. } => {
                let diagnostic =
                    Diagnostic::error(Code::RESTORE_INPUT, summary).detail(format!("{}. {UNTOUCHED}", with_causes(self)));
                match error {
                    ScriptError::Command { .. } => {
                        diagnostic.hint("Take the command out of the script, or make the dump with pg_dump.")
                    }
                    _ => diagnostic,
                }
            }
            Self::Form { .. } => Diagnostic::error(Code::RESTORE_INPUT, summary)
                .detail(UNTOUCHED)
                .hint("pg_dump's custom format (-Fc) and plain SQL can be restored, also compressed with gzip or zstd."),
            Self::Service { service, .. } => Diagnostic::error(Code::RESTORE_SERVICE, summary)
                .hint("Apply makes its roles and its database:")
                .command(format!("pgisle apply -target=service.{service}")),
            Self::Extensions { reasons, statements, .. } => {
                let mut diagnostic = Diagnostic::error(Code::RESTORE_EXTENSION, summary)
                    .detail(format!("{} {UNTOUCHED}", reasons.join(" ")))
                    .hint("A DBA must run this; then run the same command again, and it goes on:");
                for DbaStatement { database, sql } in statements {
                    if let Some(name) = database {
                        diagnostic = diagnostic.command(format!("\\connect \"{}\"", name.as_str().replace('"', "\"\"")));
                    }
                    diagnostic = diagnostic.command(format!("{sql};"));
                }
                diagnostic
            }
            Self::Unavailable { reasons } => {
                Diagnostic::error(Code::RESTORE_EXTENSION, summary).detail(format!("{} {UNTOUCHED}", reasons.join(" ")))
            }
            Self::Tools { detail } => Diagnostic::error(Code::RESTORE_TOOLS, summary).detail(detail.clone()),
            Self::Process(error) => Diagnostic::error(Code::RESTORE_LOAD, error.to_string()).detail(UNTOUCHED),
            Self::Load { statement, line, source } => load_diagnostic(statement, *line, source),
            Self::Query { source, .. } => {
                let code = if is_lost(source) { Code::CONNECT_LOST } else { Code::RESTORE_SWAP };
                Diagnostic::error(code, summary).detail(format!("{}. {UNTOUCHED}", describe(source)))
            }
            Self::InDoubt { service, source } => Diagnostic::error(Code::CONNECT_LOST, summary)
                .detail(format!("{}. One of the two is live, whole and open; the other is kept, closed.", describe(source)))
                .hint("When the server is back, see which:")
                .command("pgisle status")
                .command(format!("pgisle restore {service} -undo")),
            Self::Unfinished { cause, why } => {
                let left = format!("What the restore had made is still there ({why}); the next restore of the service removes it.");
                and(cause.diagnostic(), &left)
            }
            Self::Differs { differences, .. } => Diagnostic::error(Code::RESTORE_DIFFERS, summary)
                .detail(format!("{}. It was dropped. {UNTOUCHED}", shown(differences))),
            Self::InUse { by, .. } => Diagnostic::error(Code::RESTORE_SWAP, summary)
                .detail(format!("{by} {UNTOUCHED}"))
                .hint("End them as a superuser or as their own user, and run the same command again."),
            Self::NothingToUndo(_) => {
                Diagnostic::error(Code::RESTORE_UNDO, summary).hint("`pgisle status` lists what restores have left.")
            }
            Self::Random | Self::Stopped => Diagnostic::error(Code::IO, summary).detail(source),
        }
    }
}

/// Says that nothing has happened to the service.
fn untouched(diagnostic: Diagnostic) -> Diagnostic {
    and(diagnostic, UNTOUCHED)
}

/// Puts a sentence behind what is said already.
fn and(diagnostic: Diagnostic, sentence: &str) -> Diagnostic {
    match diagnostic.detail.clone() {
        Some(detail) => diagnostic.detail(format!("{detail} {sentence}")),
        None => diagnostic.detail(sentence),
    }
}

fn load_diagnostic(statement: &str, line: u64, source: &tokio_postgres::Error) -> Diagnostic {
    let code = if is_lost(source) { Code::CONNECT_LOST } else { Code::RESTORE_LOAD };
    let words = match source.as_db_error() {
        Some(error) => format!("{} [{}]", error.message(), error.code().code()),
        None => describe(source),
    };
    let summary = if code == Code::CONNECT_LOST {
        "the connection was lost while the dump was loaded"
    } else {
        "the server refused a statement of the dump"
    };
    let diagnostic = Diagnostic::error(code, summary).detail(format!("Line {line}: {statement} …: {words}. {UNTOUCHED}"));
    match source.code() {
        Some(code) if code.code() == DISK_FULL => {
            diagnostic.hint("Until it is pruned the old database stays beside the new one: make room for both on the server.")
        }
        _ => diagnostic,
    }
}

/// How many differences are worth reading.
const DIFFERENCES_SHOWN: usize = 20;

fn shown(differences: &[String]) -> String {
    let more = differences.len().saturating_sub(DIFFERENCES_SHOWN);
    let mut text = differences.iter().take(DIFFERENCES_SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

/// The causes of an error, as one sentence that begins with a capital.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    let text = words.join(": ");
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), characters.as_str()))
}
