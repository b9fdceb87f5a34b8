//! The receipt: what both sides held in the pause, table by table, read while the service writes again.

use std::collections::{BTreeMap, BTreeSet};

use pgisle_core::backup::Content;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::{RoleName, ServiceName};
use pgisle_core::split::{Job, KeyRange, Lsn, MovedTable};
use pgisle_core::sql::split::EXPORT_SNAPSHOT;
use serde::{Deserialize, Serialize};

use super::differing::key_ranges;
use super::follow::log_end;
use super::run::Ground;
use super::{Request, SplitError};
use crate::backup::content::{Columns, Reading, content};
use crate::postgres::{ConnectOptions, Session};

/// What both sides held in the pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Where the log stood when the home moved.
    pub lsn: Lsn,
    /// How long the service could not write, milliseconds.
    pub pause_ms: u64,
    /// Whether both sides held the same.
    pub is_equal: bool,
    /// The tables, by name.
    pub tables: Vec<TableReceipt>,
    /// Where the sequences stood, and stand: `name`, then both sides where they differ.
    pub sequences: Vec<String>,
    /// What differs, a line each.
    pub differences: Vec<String>,
    /// In which rows.
    #[serde(default)]
    pub ranges: Vec<KeyRange>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReceipt {
    /// `schema.name`.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// The digest of its content, independent of the rows' order; of their binary form, where that means the same on both sides.
    pub digest: String,
}

/// The new side, as it was before anybody could write to it.
pub(super) struct Held {
    session: Session,
    snapshot: String,
    lsn: Lsn,
}

impl Held {
    /// Takes a snapshot of the new home.
    pub(super) async fn open(request: &Request<'_>, job: &Job) -> Result<Self, SplitError> {
        let failed = || SplitError::query("take a snapshot of the new home");
        let session = request.session(&job.database).await?;
        let lsn = log_end(&session).await?;
        session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed())?;
        let rows = session.query(EXPORT_SNAPSHOT, &[]).await.map_err(failed())?;
        let snapshot = rows.first().map_or(Ok(String::new()), |row| row.try_get(1)).map_err(failed())?;
        Ok(Self { session, snapshot, lsn })
    }

    /// Reads both sides. The old one needs no snapshot: nobody writes there any more.
    pub(super) async fn compare(self, request: &Request<'_>, job: &Job, ground: &Ground) -> Result<Receipt, SplitError> {
        let sides = Sides::new(request, job, ground);
        let (before, after) = sides.read(Some(&self.snapshot)).await?;
        let mut receipt = receipt(job, self.lsn, &before, &after);
        if !receipt.is_equal {
            sides.ranges(ground, &before, &after, &self.snapshot, &mut receipt).await;
        }
        self.session.close().await;
        Ok(receipt)
    }
}

/// The old tables and the new ones, as they are read.
struct Sides<'a> {
    old: ConnectOptions,
    new: ConnectOptions,
    old_owner: Option<&'a RoleName>,
    new_owner: Option<RoleName>,
    columns: Columns,
    only: BTreeSet<(String, String)>,
    binary: BTreeSet<(String, String)>,
    parallelism: usize,
}

impl<'a> Sides<'a> {
    fn new(request: &Request<'_>, job: &Job, ground: &'a Ground) -> Self {
        let portable = ground.moved.tables.iter().filter(|table| table.is_portable);
        Self {
            old: request.connect_to(request.shared()),
            new: request.connect_to(&job.database),
            old_owner: ground.moved.tables.first().map(|table| &table.owner).filter(|_| !ground.is_superuser),
            new_owner: (!ground.is_superuser).then(|| request.service.owner()),
            columns: Columns::new(),
            only: job.tables.iter().chain(&job.sequences).cloned().collect(),
            binary: portable.map(|table| (table.schema.clone(), table.name.clone())).collect(),
            // Both at once: as a rule, one table is most of it on either side.
            parallelism: request.apply.parallelism.div_ceil(2).max(1),
        }
    }

    fn reading<'s>(&'s self, connect: &'s ConnectOptions, act_as: Option<&'s RoleName>, snapshot: Option<&'s str>) -> Reading<'s> {
        let Self { columns, only, binary, parallelism, .. } = self;
        Reading { connect, act_as, snapshot, columns, parallelism: *parallelism, only: Some(only), binary: Some(binary) }
    }

    fn old(&self) -> Reading<'_> {
        self.reading(&self.old, self.old_owner, None)
    }

    fn new_at<'s>(&'s self, snapshot: Option<&'s str>) -> Reading<'s> {
        self.reading(&self.new, self.new_owner.as_ref(), snapshot)
    }

    async fn read(&self, snapshot: Option<&str>) -> Result<(Content, Content), SplitError> {
        let (before, after) = (self.old(), self.new_at(snapshot));
        Ok(futures_util::try_join!(content(&before, &|_| {}), content(&after, &|_| {}))?)
    }

    /// In which rows the tables differ that do. What cannot be read is told as a difference: the receipt is not lost over it.
    async fn ranges(&self, ground: &Ground, before: &Content, after: &Content, snapshot: &str, receipt: &mut Receipt) {
        let read = |content: &Content, table: &MovedTable| {
            content
                .tables
                .iter()
                .find(|one| (&one.schema, &one.name) == (&table.schema, &table.name))
                .map(|one| (one.rows, one.digest))
        };
        for table in ground.moved.with_rows() {
            let (old, new) = (read(before, table), read(after, table));
            if old == new || new.is_none() {
                continue;
            }
            match key_ranges(&self.old(), &self.new_at(Some(snapshot)), table).await {
                Ok(Some(ranges)) => receipt.ranges.extend(ranges),
                Ok(None) => {
                    receipt.differences.push(format!("table {}.{} has no key to tell its rows apart by", table.schema, table.name))
                }
                Err(error) => receipt.differences.push(error.diagnostic().summary),
            }
        }
    }
}

/// Reads the old tables and the new ones.
pub(super) async fn both_sides(request: &Request<'_>, job: &Job, ground: &Ground) -> Result<(Content, Content), SplitError> {
    Sides::new(request, job, ground).read(None).await
}

fn receipt(job: &Job, lsn: Lsn, before: &Content, after: &Content) -> Receipt {
    let mut differences = table_differences(before, after);
    let stands: BTreeMap<_, _> =
        after.sequences.iter().map(|one| ((&one.schema, &one.name), (one.last_value, one.is_called))).collect();
    let mut sequences = Vec::new();
    for one in &before.sequences {
        let name = format!("{}.{}", one.schema, one.name);
        match stands.get(&(&one.schema, &one.name)) {
            // The service may have taken numbers since: a sequence is outside of snapshots.
            Some((last_value, _)) if *last_value >= one.last_value => sequences.push(format!("{name}: {}", one.last_value)),
            Some((last_value, _)) => {
                differences.push(format!("sequence {name} stood at {} and stands at {last_value}", one.last_value))
            }
            None => differences.push(format!("sequence {name} is missing")),
        }
    }
    let tables = before.tables.iter().map(|table| TableReceipt {
        table: format!("{}.{}", table.schema, table.name),
        rows: table.rows,
        digest: table.digest.to_string(),
    });
    let is_equal = differences.is_empty();
    Receipt {
        lsn,
        pause_ms: job.pause_ms.unwrap_or_default(),
        is_equal,
        tables: tables.collect(),
        sequences,
        differences,
        ranges: Vec::new(),
    }
}

/// What differs between the tables of both, a line each.
pub(super) fn table_differences(before: &Content, after: &Content) -> Vec<String> {
    let strip = |content: &Content| Content {
        sequences: Vec::new(),
        large_objects: after.large_objects.clone(),
        tables: content.tables.clone(),
    };
    strip(before).differences(&strip(after))
}

impl Receipt {
    /// The finding, where there is a difference.
    #[must_use]
    pub fn diagnostic(&self, service: &ServiceName) -> Option<Diagnostic> {
        (!self.is_equal).then(|| {
            let lines = self.differences.iter().cloned().chain(self.ranges.iter().map(ToString::to_string));
            Diagnostic::error(Code::SPLIT_DIFFERS, format!("the two sides of the split of service \"{service}\" differ"))
                .detail(format!("{}.", lines.collect::<Vec<_>>().join("; ")))
                .hint(
                    "Nothing is lost: the old tables are as they were in the pause. Put right in the new home what is named, or go back \
                     with what was written since:",
                )
                .command(format!("pgisle split rollback {service}"))
        })
    }
}
