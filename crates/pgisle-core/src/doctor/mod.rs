//! What a checkup looks at, what is said of what was seen, and the command that mends it.
//!
//! The engine looks and hands in [`ServerFacts`] and the like; here it is decided what is wrong. A finding's summary is the cause, its
//! detail the evidence, and its commands are to paste.

mod connections;
mod facts;
mod log;
mod login;
mod pooler;
mod server;
mod software;
mod space;

use serde::Serialize;

use crate::diagnostic::{Diagnostic, Severity};

pub use connections::{connections, locks};
pub use facts::{
    ArchiveFacts, Blocker, ClientFacts, DatabaseFacts, ExtensionFacts, HbaFault, Held, LibraryFacts, LoginFacts, ReplicationSlot,
    ServerFacts, Upstream,
};
pub use log::log;
pub use login::{Place, Refusal, mute, no_such_host, remedy, stranger};
pub use pooler::{AliasFacts, PoolerTrouble, PoolerWhere, alias, pooled_login, pooler_down};
pub use server::{clock, server, settings};
pub use software::{collations, extensions, programs};
pub use space::{Disk, space};

/// What is looked at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The project's own files: spec, credential store, generated files.
    Files,
    /// Whether the host's name leads anywhere.
    Name,
    /// Whether its port takes connections.
    Port,
    /// Whether PostgreSQL is behind it.
    Protocol,
    /// Whether the server is who it says.
    Tls,
    /// Whether the administrator gets in.
    Administrator,
    /// Whether it can be worked on: its version, and that it is no standby.
    Server,
    /// Its settings.
    Settings,
    /// The client programs on this machine.
    Programs,
    /// Extensions and their libraries.
    Extensions,
    /// Whether texts are still sorted as when the indexes were made.
    Collations,
    /// Who holds the connections.
    Connections,
    /// Who holds others up.
    Locks,
    /// Whether services get into their databases.
    Logins,
    /// Whether monitoring does.
    Monitoring,
    /// `PgBouncer` itself.
    Pooler,
    /// Whether services get into their databases through it.
    Pooled,
    /// The clocks.
    Clock,
    /// Room for the data.
    Disk,
    /// The write-ahead log: what is kept, and whether it is archived.
    Log,
    /// Where backups go.
    Backups,
}

impl Check {
    /// All of them, in order.
    pub const ALL: &[Self] = &[
        Self::Files,
        Self::Name,
        Self::Port,
        Self::Protocol,
        Self::Tls,
        Self::Administrator,
        Self::Server,
        Self::Settings,
        Self::Programs,
        Self::Extensions,
        Self::Collations,
        Self::Connections,
        Self::Locks,
        Self::Logins,
        Self::Monitoring,
        Self::Pooler,
        Self::Pooled,
        Self::Clock,
        Self::Disk,
        Self::Log,
        Self::Backups,
    ];

    /// Its name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Name => "host name",
            Self::Port => "port",
            Self::Protocol => "protocol",
            Self::Tls => "TLS",
            Self::Administrator => "administrator",
            Self::Server => "server",
            Self::Settings => "settings",
            Self::Programs => "client programs",
            Self::Extensions => "extensions",
            Self::Collations => "collations",
            Self::Connections => "connections",
            Self::Locks => "locks",
            Self::Logins => "service logins",
            Self::Monitoring => "monitoring login",
            Self::Pooler => "PgBouncer",
            Self::Pooled => "through PgBouncer",
            Self::Clock => "clock",
            Self::Disk => "disk",
            Self::Log => "write-ahead log",
            Self::Backups => "backups",
        }
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All is well.
    Ok,
    /// It was not looked at.
    Skipped,
    /// It works, and someone should look.
    Warning,
    /// It does not work.
    Failed,
}

/// One check and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// What was looked at.
    pub check: Check,
    /// What came of it.
    pub outcome: Outcome,
    /// What was seen, or why nothing was, in a few words.
    pub seen: String,
    /// What is wrong.
    pub findings: Vec<Diagnostic>,
}

impl Checked {
    /// What was looked at, and what is wrong with it: nothing, when there is no finding.
    #[must_use]
    pub fn new(check: Check, seen: impl Into<String>, findings: Vec<Diagnostic>) -> Self {
        let outcome = match findings.iter().map(|finding| finding.severity).min() {
            Some(Severity::Error) => Outcome::Failed,
            Some(Severity::Warning) => Outcome::Warning,
            Some(Severity::Note) | None => Outcome::Ok,
        };
        Self { check, outcome, seen: seen.into(), findings }
    }

    /// What could not be looked at, because.
    #[must_use]
    pub fn skipped(check: Check, because: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Skipped, seen: because.into(), findings: Vec::new() }
    }

    /// What was looked at in vain.
    #[must_use]
    pub fn failed(check: Check, finding: Diagnostic) -> Self {
        Self::new(check, finding.summary.clone(), vec![finding])
    }
}

/// How many checks came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// All is well.
    pub ok: usize,
    /// Someone should look.
    pub warning: usize,
    /// It does not work.
    pub failed: usize,
    /// Not looked at.
    pub skipped: usize,
}

/// All checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkup {
    /// How many came to what.
    pub counts: Counts,
    /// One for each of [`Check::ALL`], in that order.
    pub checks: Vec<Checked>,
}

impl Checkup {
    /// Puts the checks in order. One that is missing was not looked at, because.
    #[must_use]
    pub fn new(checks: Vec<Checked>, because: &str) -> Self {
        // What was looked at twice is as bad as the worse of the two.
        let found =
            |check: Check| checks.iter().filter(|checked| checked.check == check).max_by_key(|checked| checked.outcome).cloned();
        let checks: Vec<Checked> =
            Check::ALL.iter().map(|check| found(*check).unwrap_or_else(|| Checked::skipped(*check, because))).collect();
        let count = |outcome| checks.iter().filter(|checked| checked.outcome == outcome).count();
        let counts = Counts {
            ok: count(Outcome::Ok),
            warning: count(Outcome::Warning),
            failed: count(Outcome::Failed),
            skipped: count(Outcome::Skipped),
        };
        Self { counts, checks }
    }

    /// All findings, in order.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.checks.iter().flat_map(|checked| checked.findings.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
