//! Whether a server archives its log, and having it do so.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pgisle_core::backup::wal::setup::{Change, PARAMETERS, changes};
use pgisle_core::backup::wal::{Segment, WalName};
use pgisle_core::diagnostic::{Code, Diagnostic};
use serde::Serialize;
use tokio::time::Instant;

use super::{SEAL, key};
use crate::backup::store::{BackupStore, StoreError};
use crate::postgres::connect::query_diagnostic;
use crate::postgres::{ConnectOptions, Session};
use crate::process::{Account, Invocation};

// Those of a superuser alone are not shown to everyone; they are then not there.
const SETTINGS: &str = "SELECT s.name, s.setting FROM pg_catalog.pg_settings AS s WHERE s.name = ANY ($1::pg_catalog.text[])";

const ARCHIVER: &str = "SELECT a.archived_count, a.failed_count, a.last_archived_wal, a.last_failed_wal, \
    coalesce(a.last_failed_time > a.last_archived_time, a.last_failed_time IS NOT NULL), \
    pg_catalog.to_char(a.last_archived_time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
    FROM pg_catalog.pg_stat_archiver AS a";

const WAITING: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_ls_archive_statusdir() AS f WHERE f.name LIKE '%.ready'";

const RELOAD: &str = "SELECT pg_catalog.pg_reload_conf()";

// A transaction with a number of its own leaves a time in the log, though it writes nothing.
const LEAVE_A_TIME: &str = "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text";

const SWITCH: &str = "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_switch_wal())";

/// More than that waits, and the archiving is too slow.
const WAITING_MAX: u64 = 16;

/// How long a server that archives may take for one segment. It tries again every minute when a command fails.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(75);

/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Between two questions whether it fails.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// So often a server tries a command in a row before it waits for a minute: one that has failed as often will not succeed by itself.
const FAILURES_IN_A_ROW: u64 = 3;

/// Whether a server archives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Archiving {
    /// The parameters, as far as they are shown.
    pub settings: BTreeMap<String, String>,
    /// What it says of its archiver.
    pub archiver: Archiver,
}

/// What a server says of its archiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Archiver {
    /// Files archived since the statistics were reset.
    pub archived: u64,
    /// Failures since then.
    pub failed: u64,
    /// The last file archived.
    pub last_archived: Option<String>,
    /// When, in RFC 3339.
    pub last_archived_at: Option<String>,
    /// The last file that failed.
    pub last_failed: Option<String>,
    /// Whether the last attempt failed.
    pub is_failing: bool,
    /// Files that wait; none when this login may not see them.
    pub waiting: Option<u64>,
}

/// Asks a server.
///
/// # Errors
/// It cannot be reached or refuses.
pub async fn look(connect: &ConnectOptions) -> Result<Archiving, Diagnostic> {
    let session = Box::pin(Session::connect(connect)).await.map_err(|error| error.diagnostic())?;
    let failed = |error: tokio_postgres::Error| query_diagnostic("the archiver cannot be looked at", &error);
    let rows = session.query(SETTINGS, &[&PARAMETERS.as_slice()]).await.map_err(failed)?;
    let settings = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get::<_, Option<String>>(1)?.unwrap_or_default())));
    let settings = settings.collect::<Result<_, _>>().map_err(failed)?;
    let rows = session.query(ARCHIVER, &[]).await.map_err(failed)?;
    let waiting = session.query(WAITING, &[]).await.ok();
    let waiting = waiting.and_then(|rows| rows.first()?.try_get::<_, i64>(0).ok()).map(i64::unsigned_abs);
    let archiver = match rows.first() {
        Some(row) => archiver(row, waiting).map_err(failed)?,
        None => return Err(Diagnostic::error(Code::WAL_SETUP, "the server says nothing of its archiver")),
    };
    session.close().await;
    Ok(Archiving { settings, archiver })
}

fn archiver(row: &tokio_postgres::Row, waiting: Option<u64>) -> Result<Archiver, tokio_postgres::Error> {
    Ok(Archiver {
        archived: row.try_get::<_, i64>(0)?.unsigned_abs(),
        failed: row.try_get::<_, i64>(1)?.unsigned_abs(),
        last_archived: row.try_get(2)?,
        last_archived_at: row.try_get(5)?,
        last_failed: row.try_get(3)?,
        is_failing: row.try_get(4)?,
        waiting,
    })
}

impl Archiving {
    /// Whether it archives at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.settings.get("archive_mode").is_some_and(|mode| mode != "off")
    }

    /// What must change for this command.
    #[must_use]
    pub fn changes(&self, command: &str) -> Vec<Change> {
        changes(&self.settings, command)
    }

    /// Why nothing comes, where that is known.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        if !self.is_on() {
            return Some("The server does not archive its log.".to_owned());
        }
        let Archiver { last_failed, failed, is_failing, .. } = &self.archiver;
        let file = last_failed.as_deref().unwrap_or("a file");
        is_failing.then(|| format!("The server cannot archive {file}: its archive_command has failed {failed} times."))
    }

    /// What is wrong with an archiver that is on.
    #[must_use]
    pub fn findings(&self) -> Vec<Diagnostic> {
        let Archiver { last_failed, failed, is_failing, waiting, .. } = &self.archiver;
        let mut findings = Vec::new();
        if self.is_on() && *is_failing {
            let file = last_failed.as_deref().unwrap_or("a file");
            findings.push(
                Diagnostic::warning(Code::WAL_SETUP, format!("the server cannot archive {file}"))
                    .detail(format!("It has failed {failed} times, tries on, and keeps its log until it succeeds."))
                    .hint("Its log says why. Run archive_command as the server's user with a file of pg_wal."),
            );
        } else if let Some(waiting) = waiting.filter(|waiting| self.is_on() && *waiting > WAITING_MAX) {
            findings.push(
                Diagnostic::warning(Code::WAL_SETUP, "the archiving is behind")
                    .detail(format!("{waiting} files wait. What is written now can be recovered when they are archived.")),
            );
        }
        findings
    }
}

/// Changes a server's parameters, and makes it read them. What needs a restart takes effect then.
///
/// # Errors
/// It refuses; what was changed before that stays.
pub async fn change(connect: &ConnectOptions, changes: &[Change]) -> Result<(), Diagnostic> {
    let mut session = Box::pin(Session::connect(connect)).await.map_err(|error| error.diagnostic())?;
    let failed = |error: tokio_postgres::Error| query_diagnostic("the parameters cannot be changed", &error);
    for change in changes {
        session.run(change.statement().expose()).await.map_err(failed)?;
    }
    session.query(RELOAD, &[]).await.map_err(failed)?;
    session.close().await;
    Ok(())
}

/// Has a server archive what it has written until now, and waits until that is in the archive. None when this login may not, and when
/// the server does not archive or fails at it.
///
/// # Errors
/// The store cannot be read. A server that does not archive is no error here: whoever needs what it has will miss it.
pub async fn flush(connect: &ConnectOptions, store: &BackupStore) -> Result<Option<Segment>, StoreError> {
    let Ok(before) = look(connect).await else { return Ok(None) };
    let switched = async {
        let session = Box::pin(Session::connect(connect)).await.ok()?;
        session.query(LEAVE_A_TIME, &[]).await.ok()?;
        let rows = session.query(SWITCH, &[]).await.ok();
        session.close().await;
        WalName::parse(rows?.first()?.try_get(0).ok()?)
    };
    let Some(name @ WalName::Segment(segment)) = switched.await else { return Ok(None) };
    let (started, mut looked) = (Instant::now(), Instant::now());
    while before.is_on() && started.elapsed() < ARCHIVE_PATIENCE {
        if is_there(store, name).await? {
            return Ok(Some(segment));
        }
        if looked.elapsed() >= ASK_EVERY {
            let fails =
                |now: &Archiving| now.archiver.is_failing && now.archiver.failed >= before.archiver.failed + FAILURES_IN_A_ROW;
            if look(connect).await.as_ref().is_ok_and(fails) {
                return Ok(None);
            }
            looked = Instant::now();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(None)
}

async fn is_there(store: &BackupStore, name: WalName) -> Result<bool, StoreError> {
    if store.read(&key(name, SEAL)).await?.is_some() {
        return Ok(true);
    }
    for found in super::fetch::plain_keys(name) {
        match store.reader(&found).await {
            Ok(_) => return Ok(true),
            Err(StoreError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether an account of this machine can run the command that a server is to run: enter the project's folder, and read its files.
pub async fn is_within_reach(account: &Account, folder: &Path, program: &Path) -> bool {
    let script = "cd -- \"$1\" && test -x \"$2\" && for file in ./*.hcl ./*.tfvars; do test ! -e \"$file\" || test -r \"$file\" || exit 1; done";
    let attempt = Invocation::new("/bin/sh").arguments(["-c", script, "sh"]).argument(folder).argument(program);
    attempt.clean_environment().run_as(Some(account)).directory("/").run().await.is_ok()
}
