//! Rows from one database into another: each table by two COPY commands and nothing in between, several tables at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use futures_util::{SinkExt as _, TryStreamExt as _};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::split::MovedTable;
use pgisle_core::sql::Statement;
use pgisle_core::sql::content::set_snapshot;
use pgisle_core::sql::split::{copy_new_rows_in, copy_rows_in, copy_rows_out, empty_new_table};

use super::{SplitError, act_as};
use crate::postgres::{ConnectOptions, Session};

/// The server sends a message a row; so small a piece is not worth a system call.
const PIECE_BYTES: usize = 1 << 16;

/// The text of a value must mean the same on both sides, whatever the roles and databases have set.
pub(super) const PLAIN_TEXT: &str = "SET intervalstyle = postgres; SET extra_float_digits = 3; SET bytea_output = hex; \
    SET lc_monetary = 'C'; SET synchronize_seqscans = off; SET row_security = off";

/// Where rows come from and go to.
pub(super) struct Route<'a> {
    /// The shared database, as the administrator.
    pub(super) source: &'a ConnectOptions,
    /// Whether the administrator reads without being the tables' owner.
    pub(super) is_superuser: bool,
    /// What all read: a snapshot that another session holds open.
    pub(super) snapshot: &'a str,
    /// The new database, as its login.
    pub(super) target: &'a ConnectOptions,
    /// How many tables at once.
    pub(super) parallelism: usize,
}

/// Copies the rows of tables. `progress` hears of the bytes so far.
pub(super) async fn copy_tables(
    route: &Route<'_>,
    tables: &[&MovedTable],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64, SplitError> {
    let queue = Mutex::new(tables.iter().copied().collect::<VecDeque<_>>());
    let bytes = AtomicU64::new(0);
    let workers = route.parallelism.clamp(1, tables.len().max(1));
    try_join_all((0..workers).map(async |_| {
        let (mut source, mut target) = open(route).await?;
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(table) = next else { break };
            let came = |count: u64| progress(bytes.fetch_add(count, Ordering::Relaxed) + count);
            copy(route, &mut source, &mut target, table, &came).await?;
        }
        source.close().await;
        target.close().await;
        Ok::<(), SplitError>(())
    }))
    .await?;
    Ok(bytes.into_inner())
}

async fn open(route: &Route<'_>) -> Result<(Session, Session), SplitError> {
    let mut source = Session::connect(route.source).await?;
    let target = Session::connect(route.target).await?;
    let failed = || SplitError::query("prepare to copy rows");
    source.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed())?;
    source.run(set_snapshot(route.snapshot).expose()).await.map_err(failed())?;
    source.batch(PLAIN_TEXT).await.map_err(failed())?;
    target.batch(PLAIN_TEXT).await.map_err(failed())?;
    // Nobody reads it before the home moves, and that commit waits for the disk.
    target.batch("SET synchronous_commit = off").await.map_err(failed())?;
    Ok((source, target))
}

async fn copy(
    route: &Route<'_>,
    source: &mut Session,
    target: &mut Session,
    table: &MovedTable,
    came: &(dyn Fn(u64) + Sync),
) -> Result<(), SplitError> {
    let writing = || SplitError::query(format!("fill table \"{}\".\"{}\"", table.schema, table.name));
    act_as(source, &table.owner, route.is_superuser).await?;
    // All or nothing: a stream that is cut off must not leave the part that came.
    target.batch("BEGIN").await.map_err(writing())?;
    let MovedTable { schema, name, columns, is_portable, .. } = table;
    target.run(empty_new_table(schema, name).expose()).await.map_err(writing())?;
    transfer_by(source, target, table, &copy_new_rows_in(schema, name, columns, *is_portable), came).await?;
    target.batch("COMMIT").await.map_err(writing())
}

/// Sends a table's rows from one session to another, within what transaction the target has.
pub(super) async fn transfer(
    source: &Session,
    target: &Session,
    table: &MovedTable,
    came: &(dyn Fn(u64) + Sync),
) -> Result<(), SplitError> {
    let MovedTable { schema, name, columns, is_portable, .. } = table;
    transfer_by(source, target, table, &copy_rows_in(schema, name, columns, *is_portable), came).await
}

async fn transfer_by(
    source: &Session,
    target: &Session,
    table: &MovedTable,
    into: &Statement,
    came: &(dyn Fn(u64) + Sync),
) -> Result<(), SplitError> {
    let MovedTable { schema, name, columns, is_portable, .. } = table;
    let reading = || SplitError::query(format!("read table \"{schema}\".\"{name}\""));
    let writing = || SplitError::query(format!("fill table \"{schema}\".\"{name}\""));
    let out = copy_rows_out(schema, name, columns, *is_portable);
    let mut rows = std::pin::pin!(source.copy_out(&out).await.map_err(reading())?);
    let mut sink = std::pin::pin!(target.copy_in(into).await.map_err(writing())?);
    let mut piece = BytesMut::with_capacity(2 * PIECE_BYTES);
    let mut messages = 0_u64;
    // A message is a row, for each of which no text is made in vain.
    while let Some(row) = rows.try_next().await.map_err(|error| reading()(error))? {
        messages += 1;
        piece.extend_from_slice(&row);
        if piece.len() >= PIECE_BYTES {
            came(piece.len() as u64);
            sink.feed(take(&mut piece)).await.map_err(|error| writing()(error))?;
        }
    }
    came(piece.len() as u64);
    sink.feed(take(&mut piece)).await.map_err(writing())?;
    let taken = sink.finish().await.map_err(writing())?;
    // The end of the data came from the source, or the loop would have ended by an error. That as many rows arrived is looked at
    // all the same: a server sends a message for each row, and one more for the end of the binary form.
    let sent = messages - u64::from(*is_portable).min(messages);
    if sent != taken {
        return Err(Diagnostic::error(Code::SPLIT_FAILED, format!("table \"{schema}\".\"{name}\" was not copied whole"))
            .detail(format!("{sent} rows were sent, and {taken} arrived. Nothing was kept."))
            .into());
    }
    Ok(())
}

fn take(piece: &mut BytesMut) -> Bytes {
    piece.split().freeze()
}
