//! The run lock: one session on the maintenance database that holds one advisory lock for a whole run.
//!
//! Advisory locks belong to a database, so everyone must take this one in the same: `maintenance_database`. The key is fixed; who
//! wants to keep pgisle out for a while takes it by hand, in psql: `SELECT pg_advisory_lock(123589453114469)`. Backups have a lock of
//! their own, whose key is one more: they take hours, change nothing, and must not hold up an apply. Restores have one for each
//! service, for the hours in which they fill a database that nobody else knows; they hold the run lock before that and after it.
//!
//! The lock goes with the session that took it. When a run is killed or cut off, the server goes on with the statements that it was
//! at, and their sessions end only then. So whoever gets the run lock waits for these, too: they carry [`worker`]'s name.

use std::fmt;
use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::NAME_BYTES_MAX;
use tokio::time::Instant;

use super::connect::{ConnectError, query_diagnostic};
use super::conninfo::ConnectOptions;
use super::session::Session;

/// The bytes of `pgisle` as a number.
pub const LOCK_KEY: i64 = i64::from_be_bytes([0, 0, b'p', b'g', b'i', b's', b'l', b'e']);

/// What is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The cluster's roles, databases and grants.
    Run,
    /// The backup store.
    Backup,
    /// What restores one service, by a key of its own.
    Restore(i64),
}

impl Scope {
    /// The key of the advisory lock.
    #[must_use]
    pub fn key(self) -> i64 {
        match self {
            Self::Run => LOCK_KEY,
            Self::Backup => LOCK_KEY + 1,
            Self::Restore(key) => key,
        }
    }

    fn code(self) -> Code {
        match self {
            Self::Run | Self::Restore(_) => Code::APPLY_LOCKED,
            Self::Backup => Code::BACKUP_LOCKED,
        }
    }
}

/// As it is called in messages.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run lock",
            Self::Backup => "backup lock",
            Self::Restore(_) => "lock on this service's restores",
        })
    }
}

/// How long to sleep before asking again. The waiting time of a person, not of a machine.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A statement that waits for a lock gives up after 30 s: what a killed run left is gone by then, however short one wants to wait.
const STRAGGLER_WAIT: Duration = Duration::from_secs(40);

/// Between two looks for them. They take milliseconds, as a rule.
const STRAGGLER_PAUSE: Duration = Duration::from_millis(20);

/// What the sessions of a run that do its work begin their names with.
const WORKER: &str = "pgisle work of pid";

/// Who has the lock, as far as the server tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its server process.
    pub backend_pid: i32,
    /// What it calls itself, such as `pgisle apply pid 4711 on host`.
    pub application_name: String,
    /// Its login.
    pub role: String,
    /// When its session began; not told to everyone.
    pub since: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend_pid, application_name, role, since } = self;
        let name = if application_name.is_empty() { "a session without a name" } else { application_name };
        write!(f, "\"{}\", user \"{role}\", server process {backend_pid}", name.escape_debug())?;
        match since {
            Some(since) => write!(f, ", since {since}"),
            None => Ok(()),
        }
    }
}

/// Why the lock is not held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// No session.
    #[error("cannot take the lock")]
    Connect(#[from] ConnectError),
    /// Someone else has it.
    #[error("another run holds the {scope}")]
    Held {
        /// What it has.
        scope: Scope,
        /// Who. None when it was gone by the time that was asked.
        holder: Option<Holder>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The server refused a query.
    #[error("cannot take the lock")]
    Query(#[source] Box<tokio_postgres::Error>),
    /// It was held and is not any more.
    #[error("the {scope} was lost")]
    Lost {
        /// What was held.
        scope: Scope,
        /// Why; none when the server only says that it is so.
        #[source]
        source: Option<Box<tokio_postgres::Error>>,
    },
}

impl LockError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Connect(error) => error.diagnostic(),
            Self::Query(source) => query_diagnostic(&self.to_string(), source),
            Self::Held { scope, holder, waited } => {
                let who = match holder {
                    Some(holder) => format!("It is held by {holder}."),
                    None => "Whoever held it has just left.".to_owned(),
                };
                let diagnostic = Diagnostic::error(scope.code(), self.to_string());
                let diagnostic = diagnostic.detail(format!("{who} Waited {} s.", waited.as_secs()));
                let diagnostic =
                    diagnostic.hint("Wait for it with -lock-timeout=5m, or, if it hangs, end its session as its own user:");
                match holder {
                    Some(holder) => diagnostic.command(format!("SELECT pg_terminate_backend({});", holder.backend_pid)),
                    None => diagnostic,
                }
            }
            Self::Lost { source, .. } => {
                let diagnostic = Diagnostic::error(Code::CONNECT_LOST, self.to_string());
                match source {
                    Some(source) => diagnostic.detail(format!("{}.", super::connect::describe(source))),
                    None => diagnostic,
                }
            }
        }
    }
}

/// The lock, for as long as this value lives and its connection does.
#[derive(Debug)]
pub struct RunLock {
    scope: Scope,
    session: Session,
}

impl RunLock {
    /// Takes the run lock, waiting for it at most `timeout`. `waiting` hears of each holder that is waited for.
    ///
    /// # Errors
    /// Someone else has it for longer, or there is no session.
    pub async fn acquire(
        options: &ConnectOptions,
        purpose: &str,
        timeout: Duration,
        waiting: &(dyn Fn(&Holder) + Sync),
    ) -> Result<Self, LockError> {
        Self::acquire_scope(Scope::Run, options, purpose, timeout, waiting).await
    }

    /// Takes the lock of a scope, as [`RunLock::acquire`] does.
    ///
    /// # Errors
    /// Someone else has it for longer, or there is no session.
    pub async fn acquire_scope(
        scope: Scope,
        options: &ConnectOptions,
        purpose: &str,
        timeout: Duration,
        waiting: &(dyn Fn(&Holder) + Sync),
    ) -> Result<Self, LockError> {
        let mut options = options.clone();
        options.application_name = holder_name(purpose);
        let session = Session::connect(&options).await?;
        let started = Instant::now();
        let mut known: Option<Holder> = None;
        loop {
            if try_lock(&session, scope.key()).await.map_err(query_failed)? {
                let lock = Self { scope, session };
                if scope == Scope::Run {
                    lock.outwait_stragglers(started + timeout.max(STRAGGLER_WAIT), waiting).await?;
                }
                return Ok(lock);
            }
            let holder = find_holder(&session, scope.key()).await.map_err(query_failed)?;
            let waited = started.elapsed();
            if waited >= timeout {
                session.close().await;
                return Err(LockError::Held { scope, holder: holder.or(known), waited });
            }
            if let Some(holder) = holder
                && known.as_ref() != Some(&holder)
            {
                waiting(&holder);
                known = Some(holder);
            }
            tokio::time::sleep(RETRY_PAUSE.min(timeout - waited)).await;
        }
    }

    /// Waits until the statements of a run that was killed have ended, too.
    async fn outwait_stragglers(&self, deadline: Instant, waiting: &(dyn Fn(&Holder) + Sync)) -> Result<(), LockError> {
        let started = Instant::now();
        let mut known: Option<Holder> = None;
        while let Some(holder) = find_straggler(&self.session).await.map_err(query_failed)? {
            if Instant::now() >= deadline {
                return Err(LockError::Held { scope: self.scope, holder: Some(holder), waited: started.elapsed() });
            }
            if known.as_ref() != Some(&holder) {
                waiting(&holder);
                known = Some(holder);
            }
            tokio::time::sleep(STRAGGLER_PAUSE).await;
        }
        Ok(())
    }

    /// True while the connection that holds the lock lives, as far as is known here. Costs nothing.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.session.is_closed()
    }

    /// Asks the server whether the lock is held. One round trip.
    ///
    /// # Errors
    /// It is not.
    pub async fn confirm(&self) -> Result<(), LockError> {
        const OWN: &str = "SELECT FROM pg_catalog.pg_locks AS l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
             AND l.pid = pg_catalog.pg_backend_pid() AND l.classid = ($1::pg_catalog.int8 >> 32)::pg_catalog.oid \
             AND l.objid = ($1::pg_catalog.int8 & 4294967295)::pg_catalog.oid";
        let scope = self.scope;
        match self.session.query(OWN, &[&scope.key()]).await {
            Ok(rows) if rows.is_empty() => Err(LockError::Lost { scope, source: None }),
            Ok(_) => Ok(()),
            Err(error) => Err(LockError::Lost { scope, source: Some(Box::new(error)) }),
        }
    }

    /// The session that holds it: for reading the shared catalogs under the lock without one more connection.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Gives the lock back and waits until the connection is gone.
    pub async fn release(self) {
        // The lock goes with the session, which a busy server takes a moment to notice, and who comes next need not wait for that. A
        // server that is gone has let go of it already.
        let _unlocked = self.session.query("SELECT pg_catalog.pg_advisory_unlock($1)", &[&self.scope.key()]).await;
        self.session.close().await;
    }
}

fn query_failed(error: tokio_postgres::Error) -> LockError {
    LockError::Query(Box::new(error))
}

async fn try_lock(session: &Session, key: i64) -> Result<bool, tokio_postgres::Error> {
    let rows = session.query("SELECT pg_catalog.pg_try_advisory_lock($1)", &[&key]).await?;
    rows.first().map_or(Ok(false), |row| row.try_get(0))
}

async fn find_holder(session: &Session, key: i64) -> Result<Option<Holder>, tokio_postgres::Error> {
    const HOLDER: &str = "SELECT l.pid, COALESCE(a.application_name, ''), \
             COALESCE(pg_catalog.pg_get_userbyid(a.usesysid)::pg_catalog.text, ''), \
             pg_catalog.to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS') || ' UTC' \
         FROM pg_catalog.pg_locks AS l \
         LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
             AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()) \
             AND l.classid = ($1::pg_catalog.int8 >> 32)::pg_catalog.oid \
             AND l.objid = ($1::pg_catalog.int8 & 4294967295)::pg_catalog.oid";
    first_holder(&session.query(HOLDER, &[&key]).await?)
}

/// A session that does the work of a run which does not hold the lock any more. Only of this login: others could be anyone's.
async fn find_straggler(session: &Session) -> Result<Option<Holder>, tokio_postgres::Error> {
    const STRAGGLER: &str = "SELECT a.pid, a.application_name, a.usename::pg_catalog.text, \
             pg_catalog.to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS') || ' UTC' \
         FROM pg_catalog.pg_stat_activity AS a \
         WHERE a.usename = session_user AND pg_catalog.starts_with(a.application_name, $1) \
         ORDER BY a.pid LIMIT 1";
    first_holder(&session.query(STRAGGLER, &[&WORKER]).await?)
}

fn first_holder(rows: &[tokio_postgres::Row]) -> Result<Option<Holder>, tokio_postgres::Error> {
    let holder = |row: &tokio_postgres::Row| {
        Ok(Holder {
            backend_pid: row.try_get(0)?,
            application_name: row.try_get(1)?,
            role: row.try_get(2)?,
            since: row.try_get(3)?,
        })
    };
    rows.first().map(holder).transpose()
}

/// How the sessions connect that do the work of a run which holds the lock.
pub(crate) fn worker(options: &ConnectOptions) -> ConnectOptions {
    let mut options = options.clone();
    options.application_name = process_name(WORKER);
    options
}

/// `pgisle apply pid 4711 on host`.
fn holder_name(purpose: &str) -> String {
    process_name(&format!("pgisle {purpose} pid"))
}

/// Our process behind a few words, cut where the server would cut it.
fn process_name(words: &str) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    cut_name(format!("{words} {} on {host}", std::process::id()))
}

fn cut_name(name: String) -> String {
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    name[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_key_is_the_key() {
        assert_eq!(LOCK_KEY, 123_589_453_114_469);
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        assert_eq!(cut_name("é".repeat(40)), "é".repeat(31));
        assert_eq!(cut_name("short".to_owned()), "short");
    }
}
