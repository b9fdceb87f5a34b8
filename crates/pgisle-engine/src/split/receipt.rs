//! The receipt: what both sides held in the pause, table by table, read while the service writes again.

use std::collections::{BTreeMap, BTreeSet};

use pgisle_core::backup::Content;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::split::{Job, Lsn};
use pgisle_core::sql::split::EXPORT_SNAPSHOT;
use serde::{Deserialize, Serialize};

use super::follow::log_end;
use super::run::Ground;
use super::{Request, SplitError};
use crate::backup::content::{Columns, Reading, content};
use crate::postgres::Session;

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
        let (before, after) = both_sides(request, job, ground, Some(self.snapshot.as_str())).await?;
        self.session.close().await;
        Ok(receipt(job, self.lsn, &before, &after))
    }
}

/// Reads the old tables and the new ones, at once: as a rule, one table is most of it on either side.
pub(super) async fn both_sides(
    request: &Request<'_>,
    job: &Job,
    ground: &Ground,
    snapshot: Option<&str>,
) -> Result<(Content, Content), SplitError> {
    let parallelism = request.apply.parallelism.div_ceil(2).max(1);
    let columns = Columns::new();
    let (old, new) = (request.connect_to(request.shared()), request.connect_to(&job.database));
    let only: BTreeSet<_> = job.tables.iter().chain(&job.sequences).cloned().collect();
    let portable = ground.moved.tables.iter().filter(|table| table.is_portable);
    let binary: BTreeSet<_> = portable.map(|table| (table.schema.clone(), table.name.clone())).collect();
    let owner = request.service.owner();
    let new_owner = Some(&owner).filter(|_| !ground.is_superuser);
    let old_owner = ground.moved.tables.first().map(|table| &table.owner).filter(|_| !ground.is_superuser);
    let reading = |connect, act_as, snapshot| Reading {
        connect,
        act_as,
        snapshot,
        columns: &columns,
        parallelism,
        only: Some(&only),
        binary: Some(&binary),
    };
    let (before, after) = (reading(&old, old_owner, None), reading(&new, new_owner, snapshot));
    Ok(futures_util::try_join!(content(&before, &|_| {}), content(&after, &|_| {}))?)
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
    Receipt { lsn, pause_ms: job.pause_ms.unwrap_or_default(), is_equal, tables: tables.collect(), sequences, differences }
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
    pub fn diagnostic(&self, job: &Job) -> Option<Diagnostic> {
        (!self.is_equal).then(|| {
            Diagnostic::error(Code::SPLIT_DIFFERS, format!("the two sides of the split of service \"{}\" differ", job.service))
                .detail(format!("{}.", self.differences.join("; ")))
                .hint("The old tables are as they were in the pause. Compare those that are named before anything is dropped.")
        })
    }
}
