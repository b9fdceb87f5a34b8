//! Changes, from a slot in one database into the tables of another, each exactly once: they are applied in transactions that also
//! write down how far they have come, and only then taken from the slot.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;
use pgisle_core::split::change::{self, Change, Table};
use pgisle_core::split::observed::Oid;
use pgisle_core::split::{Lsn, Visible};
use pgisle_core::sql::split::{
    ADVANCE_SLOT, LOG_END, PEEK_SLOT, READ_PROGRESS, SLOT, delete_row, insert_row, place_back, truncate_tables, update_row,
    write_place_back, write_progress,
};
use pgisle_core::sql::{Statement, together};

use super::SplitError;
use super::relay::PLAIN_TEXT;
use crate::fault;
use crate::postgres::Session;

/// Statements that are sent as one message.
const BATCH: usize = 200;

/// Changes that are applied in one transaction, at least, where there are so many.
const CHANGES_PER_TRANSACTION: u64 = 5_000;

/// A pass over so little log is as short as it gets.
const NEAR_BYTES: u64 = 256 << 10;

/// When changes come faster than they can be applied, this is where it is given up.
const PASSES_MAX: u32 = 200;

/// Where it is kept how far applying has come, and what surrounds the changes of a transaction.
pub(super) enum Keeper {
    /// Beside the tables, in a table of its own.
    Beside,
    /// In the journal: the changes go into the shared database.
    Journal(Return),
}

/// How changes come back into tables that have fences and triggers.
pub(super) struct Return {
    pub(super) service: ServiceName,
    /// Opens the tables to this transaction.
    pub(super) disarm: Vec<Statement>,
    /// Closes them again.
    pub(super) rearm: Vec<Statement>,
    /// Where the slot's first change is that is news.
    pub(super) opened: Lsn,
}

impl Keeper {
    fn begin(&self) -> Statement {
        // A foreign key that the source looked at when it committed is looked at then here, too.
        let begin = Statement::new("BEGIN; SET CONSTRAINTS ALL DEFERRED");
        match self {
            Self::Beside => begin,
            Self::Journal(Return { disarm, .. }) => together(&[&[begin], disarm.as_slice()].concat()),
        }
    }

    fn end(&self, place: Lsn) -> Statement {
        match self {
            Self::Beside => write_progress(place),
            Self::Journal(Return { service, rearm, .. }) => {
                together(&[rearm.as_slice(), &[write_place_back(service, place)]].concat())
            }
        }
    }

    async fn place(&self, target: &Session) -> Result<Lsn, SplitError> {
        let failed = || SplitError::query("prepare to follow changes");
        let kept: Option<String> = match self {
            Self::Beside => {
                let rows = target.query(READ_PROGRESS, &[]).await.map_err(failed())?;
                rows.first().map(|row| row.try_get(0)).transpose().map_err(failed())?
            }
            Self::Journal(Return { service, .. }) => target.answer(&place_back(service)).await.map_err(failed())?,
        };
        let kept = kept.and_then(|place| Lsn::parse(&place)).unwrap_or_default();
        Ok(match self {
            Self::Beside => kept,
            Self::Journal(Return { opened, .. }) => kept.max(*opened),
        })
    }
}

/// One direction that changes take.
pub(super) struct Follower {
    /// Where the slot is, as the administrator.
    source: Session,
    /// Where the changes go.
    target: Session,
    slot: String,
    /// What the copy saw already.
    copied: Option<Visible>,
    /// Everything that was committed before is applied.
    place: Lsn,
    tables: BTreeMap<Oid, Table>,
    /// How many changes were applied.
    applied: u64,
    keeper: Keeper,
    /// Whether the target's transaction is begun and ended by someone else.
    is_held: bool,
}

impl Follower {
    /// Begins where the last one ended.
    pub(super) async fn open(
        source: Session,
        target: Session,
        slot: String,
        copied: Option<Visible>,
        keeper: Keeper,
    ) -> Result<Self, SplitError> {
        let failed = || SplitError::query("prepare to follow changes");
        source.batch(PLAIN_TEXT).await.map_err(failed())?;
        target.batch(PLAIN_TEXT).await.map_err(failed())?;
        let place = keeper.place(&target).await?;
        Ok(Self { source, target, slot, copied, place, tables: BTreeMap::new(), applied: 0, keeper, is_held: false })
    }

    /// Begins the transaction that all that is yet to come goes into, and that someone else ends.
    pub(super) async fn hold_open(&mut self) -> Result<(), SplitError> {
        self.target.run(self.keeper.begin().expose()).await.map_err(SplitError::query("begin to apply changes"))?;
        self.is_held = true;
        Ok(())
    }

    /// Where the changes go.
    pub(super) fn target(&self) -> &Session {
        &self.target
    }

    /// Gives back both sessions, the source's first.
    pub(super) fn part(self) -> (Session, Session) {
        (self.source, self.target)
    }

    /// How many changes were applied.
    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// Applies everything that was committed, again and again, until what is left is next to nothing.
    pub(super) async fn catch_up(&mut self, progress: &(dyn Fn(u64) + Sync)) -> Result<(), SplitError> {
        for _ in 0..PASSES_MAX {
            let end = log_end(&self.source).await?;
            self.pass(end).await?;
            progress(self.applied);
            let left = log_end(&self.source).await?.0.saturating_sub(end.0);
            if left < NEAR_BYTES {
                return Ok(());
            }
        }
        Err(Diagnostic::error(Code::SPLIT_SLOT, "changes come faster than they can be applied")
            .detail(format!("After {PASSES_MAX} passes there was still more than {} kB of log to read.", NEAR_BYTES >> 10))
            .hint("Try again when less is written.")
            .into())
    }

    /// Has the next pass begin near the end of the log: decoding begins where all transactions of some moment have ended, and the
    /// server writes such a moment down only now and then. Where it may not be asked to, the pass takes a little longer.
    pub(super) async fn tighten(&mut self) -> Result<(), SplitError> {
        if !self.write_moment().await {
            drop(self.source.batch("CHECKPOINT").await);
        }
        let end = log_end(&self.source).await?;
        self.pass(end).await
    }

    /// Asks for such a moment where that is cheap, and says whether it was.
    pub(super) async fn write_moment(&self) -> bool {
        const WRITE: &str = "SELECT pg_catalog.pg_log_standby_snapshot()";
        self.source.server_version_num() >= 160_000 && self.source.batch(WRITE).await.is_ok()
    }

    /// Applies what was committed up to a place in the log.
    pub(super) async fn pass(&mut self, end: Lsn) -> Result<(), SplitError> {
        self.check_slot().await?;
        let reading = || SplitError::query("read the replication slot");
        let (place, limit, upto) = (self.place, None::<i32>, end.to_string());
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&self.slot, &upto, &limit, &self.slot];
        let mut messages = std::pin::pin!(self.source.query_stream(PEEK_SLOT, &parameters).await.map_err(reading())?);
        let (target, tables, keeper) = (&mut self.target, &mut self.tables, &self.keeper);
        let mut applier = Applier { is_open: self.is_held, ..Applier::new(target, tables, self.copied.as_ref(), place, keeper) };
        applier.is_held = self.is_held;
        while let Some(row) = messages.try_next().await.map_err(|error| reading()(error))? {
            let message: &[u8] = row.try_get(0).map_err(reading())?;
            let change = change::read(message).map_err(|error| {
                Diagnostic::error(Code::SPLIT_SLOT, "the replication slot cannot be understood").detail(format!("{error}."))
            })?;
            applier.take(change).await?;
        }
        self.applied += applier.finish(end).await?;
        self.place = end.max(place);
        if self.is_held {
            // Not taken from the slot before it is committed.
            return Ok(());
        }
        self.source.query(ADVANCE_SLOT, &[&self.slot, &upto]).await.map_err(SplitError::query("move the replication slot on"))?;
        fault::after(fault::Moment::Statement);
        Ok(())
    }

    async fn check_slot(&self) -> Result<(), SplitError> {
        let failed = || SplitError::query("look at the replication slot");
        let rows = self.source.query(SLOT, &[&self.slot]).await.map_err(failed())?;
        let why = match rows.first() {
            None => "It is gone.",
            Some(row) if row.try_get(0).map_err(failed())? => {
                "The server has taken away the log that it needs (max_slot_wal_keep_size)."
            }
            Some(_) => return Ok(()),
        };
        Err(Diagnostic::error(Code::SPLIT_SLOT, format!("replication slot \"{}\" cannot be followed", self.slot))
            .detail(format!("{why} Where the service is at home now, it stays."))
            .hint("`pgisle split rollback` takes the copy away; then run the split again.")
            .into())
    }

    /// Says goodbye, and gives back the session on the source.
    pub(super) async fn close(self) -> Session {
        self.target.close().await;
        self.source
    }
}

/// Where the log ends.
pub(super) async fn log_end(session: &Session) -> Result<Lsn, SplitError> {
    let failed = || SplitError::query("look where the log ends");
    let rows = session.query(LOG_END, &[]).await.map_err(failed())?;
    let text: String = rows.first().map_or(Ok(String::new()), |row| row.try_get(0)).map_err(failed())?;
    Ok(Lsn::parse(&text).unwrap_or_default())
}

/// Applies a stream of changes.
struct Applier<'a> {
    target: &'a mut Session,
    tables: &'a mut BTreeMap<Oid, Table>,
    copied: Option<&'a Visible>,
    place: Lsn,
    keeper: &'a Keeper,
    /// Whether the source's transaction at hand is applied already.
    is_known: bool,
    is_open: bool,
    is_held: bool,
    waiting: Vec<Statement>,
    in_transaction: u64,
    applied: u64,
}

impl<'a> Applier<'a> {
    fn new(
        target: &'a mut Session,
        tables: &'a mut BTreeMap<Oid, Table>,
        copied: Option<&'a Visible>,
        place: Lsn,
        keeper: &'a Keeper,
    ) -> Self {
        let (waiting, is_known, is_open, is_held) = (Vec::new(), false, false, false);
        Self { target, tables, copied, place, keeper, is_known, is_open, is_held, waiting, in_transaction: 0, applied: 0 }
    }

    async fn take(&mut self, change: Change) -> Result<(), SplitError> {
        match change {
            Change::Begin { xid, commit } => {
                self.is_known = commit < self.place || self.copied.is_some_and(|copied| copied.sees(xid));
            }
            Change::Commit { end } => {
                if self.in_transaction >= CHANGES_PER_TRANSACTION {
                    self.commit(end).await?;
                }
            }
            Change::Table(table) => {
                self.tables.insert(table.oid, table);
            }
            Change::Other => {}
            _ if self.is_known => {}
            change => {
                self.waiting.extend(self.statement(&change)?);
                if self.waiting.len() >= BATCH {
                    self.send().await?;
                }
            }
        }
        Ok(())
    }

    fn statement(&self, change: &Change) -> Result<Option<Statement>, SplitError> {
        Ok(match change {
            Change::Insert { table, row } => Some(insert_row(self.table(*table)?, row)),
            Change::Update { table, old, row } => update_row(self.table(*table)?, old.as_ref(), row),
            Change::Delete { table, old } => Some(delete_row(self.table(*table)?, old)),
            Change::Truncate { tables, restart } => {
                let tables = tables.iter().map(|table| self.table(*table)).collect::<Result<Vec<_>, _>>()?;
                Some(truncate_tables(tables, *restart))
            }
            Change::Begin { .. } | Change::Commit { .. } | Change::Table(_) | Change::Other => None,
        })
    }

    fn table(&self, oid: Oid) -> Result<&Table, SplitError> {
        self.tables.get(&oid).ok_or_else(|| {
            Diagnostic::error(Code::SPLIT_SLOT, "the replication slot cannot be understood")
                .detail(format!("It has a row of table {oid}, which it has not described."))
                .into()
        })
    }

    async fn send(&mut self) -> Result<(), SplitError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        if !self.is_open {
            self.target.run(self.keeper.begin().expose()).await.map_err(SplitError::query("begin to apply changes"))?;
            self.is_open = true;
        }
        let statements = std::mem::take(&mut self.waiting);
        self.in_transaction += statements.len() as u64;
        self.target.run(together(&statements).expose()).await.map_err(SplitError::query("apply changes"))?;
        Ok(())
    }

    async fn commit(&mut self, end: Lsn) -> Result<(), SplitError> {
        self.send().await?;
        if !self.is_open {
            return Ok(());
        }
        if self.is_held {
            self.applied += std::mem::take(&mut self.in_transaction);
            return Ok(());
        }
        let failed = || SplitError::query("commit changes");
        self.target.run(self.keeper.end(end).expose()).await.map_err(failed())?;
        self.target.batch("COMMIT").await.map_err(failed())?;
        fault::after(fault::Moment::Statement);
        (self.is_open, self.place) = (false, end);
        self.applied += std::mem::take(&mut self.in_transaction);
        Ok(())
    }

    async fn finish(mut self, end: Lsn) -> Result<u64, SplitError> {
        self.commit(end).await?;
        Ok(self.applied)
    }
}
