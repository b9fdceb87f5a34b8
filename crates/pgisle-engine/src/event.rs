//! What a long piece of work tells whoever watches it.

use pgisle_core::name::DatabaseName;
use pgisle_core::plan::{Planned, Step};

/// Something that happened, as it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// Another run holds the lock, and this one waits for it.
    WaitingForLock {
        /// Who holds it.
        holder: &'a str,
    },
    /// A database was looked at.
    Inspected {
        /// Databases so far.
        done: usize,
        /// Databases in all.
        total: usize,
    },
    /// A database that is to be dropped is compared with its backup.
    Comparing(&'a DatabaseName),
    /// The plan stands, and its execution begins.
    Planned(&'a Planned),
    /// A step begins. A step that is tried again begins again.
    StepStarted(&'a Step),
    /// A step is done for good: its transaction is committed.
    StepDone(&'a Step),
    /// A step failed for good.
    StepFailed {
        /// The step.
        step: &'a Step,
        /// Why.
        reason: &'a str,
    },
    /// A database is finished.
    DatabaseDone(&'a DatabaseName),
    /// The cluster is read back.
    ReadingBack,
    /// A restore begins another of its steps.
    Restoring(&'a str),
    /// A private server is being made of a backup, or brought to a time.
    Recovering {
        /// What is being done.
        doing: &'a str,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, as far as can be known.
        total: u64,
    },
    /// A dump is being loaded.
    Loading {
        /// Bytes of it so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// Where events go.
pub type Events<'a> = &'a (dyn Fn(Event<'_>) + Sync);
