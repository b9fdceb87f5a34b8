//! Writers are held off: by a lock on the tables that lets those finish who write and has all others wait.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::{RoleName, ServiceName};
use pgisle_core::sql::split::{Gate, lock_tables, set_local_lock_timeout};

use super::{SplitError, act_as, journal};
use crate::postgres::Session;

/// For so long it is tried to find a moment in which nobody writes, which costs nobody anything.
const LUCK: Duration = Duration::from_millis(1_000);

/// So long, at most, do writers wait behind an attempt. Writers that take tables in another order would wait for each other for
/// ever; the server looks for that after a second (`deadlock_timeout`), and would then have one of theirs fail.
const PATIENCE: Duration = Duration::from_millis(400);

/// Between two attempts writers go on.
const LOCK_GAP: Duration = Duration::from_millis(100);

/// Tables by their owner, `(schema, name)`.
pub(super) type Tables<'a> = BTreeMap<&'a RoleName, Vec<(&'a str, &'a str)>>;

/// Sorts tables by their owner: whoever is no superuser acts as each in turn.
pub(super) fn by_owner<'a>(tables: impl IntoIterator<Item = (&'a RoleName, &'a str, &'a str)>) -> Tables<'a> {
    let mut sorted = Tables::new();
    for (owner, schema, name) in tables {
        sorted.entry(owner).or_default().push((schema, name));
    }
    sorted
}

/// Who holds which tables.
pub(super) struct Barrier<'a> {
    /// The session whose transaction takes the lock.
    pub(super) holder: &'a mut Session,
    pub(super) tables: &'a Tables<'a>,
    pub(super) is_superuser: bool,
    /// Another session in the same database.
    pub(super) control: &'a mut Session,
    pub(super) service: &'a ServiceName,
}

/// Waits for those who write, and has all others wait: first for a moment in which nobody writes, then by waiting, and in the end,
/// when writers keep taking their tables in another order, by moving the gate: those who come then get an error, which is told.
pub(super) async fn hold(
    barrier: &mut Barrier<'_>,
    pause_max: Duration,
    turn_away: Option<Gate>,
) -> Result<Option<Diagnostic>, SplitError> {
    let (started, patience) = (Instant::now(), PATIENCE.min(pause_max));
    while started.elapsed() < LUCK {
        if lock_all(barrier, None).await? {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while started.elapsed() < LUCK + pause_max {
        if lock_all(barrier, Some(patience)).await? {
            return Ok(None);
        }
        tokio::time::sleep(LOCK_GAP).await;
    }
    if let Some(gate) = turn_away {
        journal::set(barrier.control, barrier.service, gate).await?;
        if lock_all(barrier, Some(pause_max)).await? {
            return Ok(Some(
                Diagnostic::warning(Code::SPLIT_PAUSE, "writers were turned away")
                    .detail("They kept taking the tables in turns, so those that came during the pause got an error.")
                    .hint("Have the service come through PgBouncer, which holds its transactions back instead."),
            ));
        }
    }
    Err(held_up(barrier, pause_max).await)
}

/// Takes all tables, at once or waiting for a while; false when someone is in the way.
async fn lock_all(barrier: &mut Barrier<'_>, patience: Option<Duration>) -> Result<bool, SplitError> {
    match try_lock(barrier, patience).await {
        Ok(()) => Ok(true),
        Err(SplitError::Query { source, .. }) if journal::is_lock_timeout(&source) || is_deadlock(&source) => {
            barrier.holder.batch("ROLLBACK").await.map_err(SplitError::query("let writers go on"))?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn is_deadlock(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code() == "40P01")
}

async fn try_lock(barrier: &mut Barrier<'_>, patience: Option<Duration>) -> Result<(), SplitError> {
    let failed = || SplitError::query("hold writers off");
    let Barrier { holder, tables, is_superuser, .. } = barrier;
    holder.batch("BEGIN").await.map_err(failed())?;
    if let Some(patience) = patience {
        let timeout_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).max(1);
        holder.run(set_local_lock_timeout(timeout_ms).expose()).await.map_err(failed())?;
    }
    for (owner, tables) in *tables {
        act_as(holder, owner, *is_superuser).await?;
        holder.run(lock_tables(tables.iter().copied(), patience.is_some()).expose()).await.map_err(failed())?;
    }
    holder.batch("RESET ROLE").await.map_err(failed())
}

/// Who is in the way.
async fn held_up(barrier: &Barrier<'_>, waited: Duration) -> SplitError {
    const WHO: &str = "SELECT DISTINCT a.pid, a.usename::pg_catalog.text, a.application_name, \
        EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.int8 \
        FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid \
        JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = l.relation AND t.tgname = 'pgisle_split_fence' \
        WHERE l.granted AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') \
        AND l.pid <> pg_catalog.pg_backend_pid() ORDER BY 4 DESC";
    let words = barrier.control.query(WHO, &[]).await.map_or_else(|_| Vec::new(), |rows| who(&rows));
    let who = if words.is_empty() { "They came and went.".to_owned() } else { format!("Writing: {}.", words.join("; ")) };
    Diagnostic::error(Code::SPLIT_PAUSE, format!("writers could not be held off within {} ms", waited.as_millis()))
        .detail(format!("{who} Everyone goes on as before."))
        .hint("Wait for long transactions to end, or allow a longer pause with -pause.")
        .into()
}

/// Sessions for people, from rows of process, login, application and age in seconds.
pub(super) fn who(rows: &[tokio_postgres::Row]) -> Vec<String> {
    let words = |row: &tokio_postgres::Row| {
        let (pid, role, name): (i32, String, String) =
            (row.try_get(0).unwrap_or_default(), row.try_get(1).unwrap_or_default(), row.try_get(2).unwrap_or_default());
        let age: i64 = row.try_get(3).unwrap_or_default();
        format!("server process {pid} of \"{role}\" (\"{}\"), for {age} s", name.escape_debug())
    };
    rows.iter().take(5).map(words).collect()
}
