//! Faults on demand, in debug builds only: the tests kill pgisle after every single statement and around every file.
//!
//! `PGISLE_FAULT_KILL_AFTER=statement:7` is `kill -9` once the server has answered the seventh statement, and
//! `PGISLE_FAULT_KILL_AFTER=file:3` once the third change of a file is made: its new content stands beside it, it has taken the
//! old one's place, or the file is removed. `PGISLE_FAULT_KILL_DURING=statement:7` does not wait for the answer. With
//! `PGISLE_FAULT_STOP_AFTER` pgisle only stops, so that the test can do something to the server and then let it go on.
//! With `PGISLE_FAULT_PATIENCE=MILLISECONDS` what is waited for so long that no test could wait as long is given up after that.
//! `PGISLE_FAULT_KILL_AT=NAME` and `PGISLE_FAULT_STOP_AT=NAME` strike at a named stage of a long piece of work.

/// What a fault comes after.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    /// A statement that the server has answered.
    Statement,
    /// A change of a file.
    File,
}

#[cfg(debug_assertions)]
mod injection {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::Moment;

    /// Long enough for the statement to be on its way, too short for CREATE DATABASE to be done.
    const DURING: Duration = Duration::from_millis(2);

    static STATEMENTS_BEGUN: AtomicU64 = AtomicU64::new(0);
    static STATEMENTS: AtomicU64 = AtomicU64::new(0);
    static FILES: AtomicU64 = AtomicU64::new(0);

    /// Counts what has just happened, and strikes when it is the one that the test chose.
    pub(crate) fn after(moment: Moment) {
        let (counter, name) = match moment {
            Moment::Statement => (&STATEMENTS, "statement:"),
            Moment::File => (&FILES, "file:"),
        };
        let now = counter.fetch_add(1, Ordering::SeqCst) + 1;
        for (variable, signal) in [("PGISLE_FAULT_KILL_AFTER", Signal::KILL), ("PGISLE_FAULT_STOP_AFTER", Signal::STOP)] {
            if chosen(variable, name) == Some(now) {
                let _ = kill_process(getpid(), signal);
            }
        }
    }

    /// Counts a statement that is about to be sent.
    pub(crate) fn statement_begins() {
        let now = STATEMENTS_BEGUN.fetch_add(1, Ordering::SeqCst) + 1;
        if chosen("PGISLE_FAULT_KILL_DURING", "statement:") == Some(now) {
            std::thread::spawn(|| {
                std::thread::sleep(DURING);
                let _ = kill_process(getpid(), Signal::KILL);
            });
        }
    }

    /// Strikes at the stage of a long piece of work that the test chose.
    pub(crate) fn stage(name: &str) {
        for (variable, signal) in [("PGISLE_FAULT_KILL_AT", Signal::KILL), ("PGISLE_FAULT_STOP_AT", Signal::STOP)] {
            if std::env::var(variable).is_ok_and(|chosen| chosen == name) {
                let _ = kill_process(getpid(), signal);
            }
        }
    }

    /// How long is waited for something.
    pub(crate) fn patience(usual: Duration) -> Duration {
        let chosen = std::env::var("PGISLE_FAULT_PATIENCE").ok().and_then(|text| text.parse().ok());
        chosen.map_or(usual, Duration::from_millis)
    }

    fn chosen(variable: &str, name: &str) -> Option<u64> {
        std::env::var(variable).ok()?.strip_prefix(name)?.parse().ok()
    }
}

#[cfg(debug_assertions)]
pub(crate) use injection::{after, patience, stage, statement_begins};

/// Does nothing in a release.
#[cfg(not(debug_assertions))]
pub(crate) fn after(_moment: Moment) {}

/// Does nothing in a release.
#[cfg(not(debug_assertions))]
pub(crate) fn statement_begins() {}

/// Does nothing in a release.
#[cfg(not(debug_assertions))]
pub(crate) fn stage(_name: &str) {}

/// As long as is usual in a release.
#[cfg(not(debug_assertions))]
pub(crate) fn patience(usual: std::time::Duration) -> std::time::Duration {
    usual
}
