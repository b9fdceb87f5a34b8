//! Bringing rows home that were written elsewhere: by the changes that a slot has kept, or by copying, all within the transaction that
//! decides.

use std::collections::{BTreeMap, BTreeSet};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::split::observed::Oid;
use pgisle_core::split::{Job, MovedTable, duration};
use pgisle_core::sql::homecoming::{LIKE_A_REPLICA, empty_tables};
use pgisle_core::sql::split::SLOT;

use super::follow::{Follower, Keeper, Return, log_end};
use super::guard::Arms;
use super::receipt::{both_sides, table_differences};
use super::relay::{PLAIN_TEXT, transfer};
use super::run::Ground;
use super::{Request, SplitError, act_as};
use crate::event::{Event, Events};
use crate::postgres::Session;

/// Rows that are emptied, sent and indexed again, a second: what `pgisle split plan` reckons with.
const COPY_BYTES_PER_S: u64 = 50 << 20;

/// How the rows came home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Brought {
    /// They were never away.
    NeverLeft,
    /// What was written to the new home was followed.
    Changes {
        /// How many rows were made, changed or deleted.
        changes: u64,
    },
    /// Nothing was written to the new home: the old tables hold what it holds.
    Unchanged,
    /// All rows were copied back.
    Copied {
        /// Bytes that were sent.
        bytes: u64,
    },
}

/// By what they come.
pub(super) enum Way {
    Changes(Box<Follower>),
    Rows(Box<Sides>),
}

/// A session in the new home, and the one whose transaction decides.
pub(super) struct Sides {
    source: Session,
    decider: Session,
}

impl Way {
    /// Chooses by whether the slot is there.
    pub(super) async fn open(request: &Request<'_>, job: &Job, home: &Session, arms: &Arms) -> Result<Self, SplitError> {
        let (source, decider) = (request.session(&job.database).await?, request.session(request.shared()).await?);
        if !has_slot(job, home).await? {
            return Ok(Self::Rows(Box::new(Sides { source, decider })));
        }
        let back = Return {
            service: job.service.clone(),
            disarm: arms.disarm(),
            rearm: arms.rearm(true),
            opened: job.opened.unwrap_or_default(),
        };
        let follower = Follower::open(source, decider, job.slot_back(), None, Keeper::Journal(back)).await?;
        Ok(Self::Changes(Box::new(follower)))
    }

    /// Does what can be done while the service writes, and begins the transaction that decides.
    pub(super) async fn prepare(&mut self, ground: &Ground, arms: &Arms, events: Events<'_>) -> Result<(), SplitError> {
        let failed = || SplitError::query("begin to bring rows home");
        match self {
            Self::Changes(follower) => {
                events(Event::Restoring("following changes back"));
                follower.catch_up(&|_| {}).await?;
                follower.tighten().await?;
                follower.hold_open().await
            }
            Self::Rows(sides) => {
                let decider = &mut sides.decider;
                decider.batch(PLAIN_TEXT).await.map_err(failed())?;
                decider.batch("BEGIN").await.map_err(failed())?;
                if ground.is_superuser {
                    decider.batch(LIKE_A_REPLICA).await.map_err(failed())?;
                }
                for statement in arms.disarm() {
                    decider.run(statement.expose()).await.map_err(failed())?;
                }
                Ok(())
            }
        }
    }

    /// The session whose transaction decides.
    pub(super) fn decider(&self) -> &Session {
        match self {
            Self::Changes(follower) => follower.target(),
            Self::Rows(sides) => &sides.decider,
        }
    }

    /// Brings what is not home yet, now that nobody writes.
    pub(super) async fn bring(
        &mut self,
        request: &Request<'_>,
        ground: &Ground,
        job: &Job,
        home: &Session,
        events: Events<'_>,
    ) -> Result<Brought, SplitError> {
        match self {
            Self::Changes(follower) => {
                let end = log_end(home).await?;
                follower.pass(end).await?;
                Ok(Brought::Changes { changes: follower.applied() })
            }
            Self::Rows(sides) => {
                events(Event::Restoring("comparing both sides, while writers wait"));
                if is_unchanged(request, ground, job).await? {
                    return Ok(Brought::Unchanged);
                }
                copy_back(request, ground, sides, events).await
            }
        }
    }

    /// Gives back both sessions, the new home's first.
    pub(super) fn part(self) -> (Session, Session) {
        match self {
            Self::Changes(follower) => follower.part(),
            Self::Rows(sides) => (sides.source, sides.decider),
        }
    }
}

/// Whether everything that was written to the new home can be followed.
async fn has_slot(job: &Job, home: &Session) -> Result<bool, SplitError> {
    let failed = || SplitError::query("look at the replication slot");
    if !job.can_follow_back || job.opened.is_none() {
        return Ok(false);
    }
    let rows = home.query(SLOT, &[&job.slot_back()]).await.map_err(failed())?;
    match rows.first() {
        Some(row) => row.try_get::<_, bool>(0).map(|is_lost| !is_lost).map_err(failed()),
        None => Ok(false),
    }
}

async fn is_unchanged(request: &Request<'_>, ground: &Ground, job: &Job) -> Result<bool, SplitError> {
    let (before, after) = both_sides(request, job, ground).await?;
    Ok(table_differences(&before, &after).is_empty())
}

async fn copy_back(
    request: &Request<'_>,
    ground: &Ground,
    Sides { source, decider }: &mut Sides,
    events: Events<'_>,
) -> Result<Brought, SplitError> {
    let failed = || SplitError::query("read the new home");
    let total: u64 = ground.moved.tables.iter().map(|table| table.bytes).sum();
    let all = ground.tables();
    decider.run(empty_tables(all).expose()).await.map_err(SplitError::query("empty the old tables"))?;
    source.batch(PLAIN_TEXT).await.map_err(failed())?;
    source.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed())?;
    act_as(source, &request.service.owner(), ground.is_superuser).await?;
    let bytes = std::sync::atomic::AtomicU64::new(0);
    let came = |count: u64| {
        let done = bytes.fetch_add(count, std::sync::atomic::Ordering::Relaxed) + count;
        events(Event::Loading { done, total });
    };
    for table in parents_first(ground) {
        transfer(source, decider, table, &came).await?;
    }
    source.batch("COMMIT").await.map_err(failed())?;
    Ok(Brought::Copied { bytes: bytes.into_inner() })
}

/// The tables that hold rows, those first that others refer to: not every administrator may have foreign keys looked at later.
fn parents_first(ground: &Ground) -> Vec<&MovedTable> {
    let objects = &ground.shared.objects;
    let numbers: BTreeMap<(&str, &str), Oid> =
        objects.relations.iter().map(|one| ((one.schema.as_str(), one.name.as_str()), one.oid)).collect();
    let number = |table: &MovedTable| numbers.get(&(table.schema.as_str(), table.name.as_str())).copied().unwrap_or_default();
    // A partition's keys are its parent's.
    let root = |mut oid: Oid| {
        while let Some(parent) = objects.relations.iter().find(|one| one.oid == oid).and_then(|one| one.parent) {
            oid = parent;
        }
        oid
    };
    let mut waiting = ground.moved.with_rows();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let left: BTreeSet<Oid> = waiting.iter().map(|table| root(number(table))).collect();
        let waits = |table: &&MovedTable| {
            let own = root(number(table));
            let keys = objects.foreign_keys.iter().filter(|key| root(key.source) == own);
            keys.map(|key| root(key.target)).any(|target| target != own && left.contains(&target))
        };
        let (later, now): (Vec<_>, Vec<_>) = waiting.into_iter().partition(waits);
        // Tables that refer to each other in a circle come as they are.
        let is_circle = now.is_empty();
        ordered.extend(if is_circle { later.clone() } else { now });
        waiting = if is_circle { Vec::new() } else { later };
    }
    ordered
}

/// Copying all rows back takes from the old tables what the receipt missed in the new home. Asks before anybody is held off.
pub(super) fn check(job: &Job, way: &Way, force: bool) -> Result<(), SplitError> {
    if force || job.is_equal() != Some(false) || matches!(way, Way::Changes(_)) {
        return Ok(());
    }
    Err(Diagnostic::error(
        Code::SPLIT_DIFFERS,
        format!("rolling back service \"{}\" would overwrite rows that differ", job.service),
    )
    .detail(
        "Both sides were found to differ, and no replication slot has kept what was written since: all rows would be copied from \
             the new home over the old tables, which are as they were in the pause.",
    )
    .hint("`pgisle split status` names the rows. Put them right in the new home; then -force copies all of it back.")
    .into())
}

/// What it costs that no slot has kept the changes, before anybody waits for it.
pub(super) fn warning(job: &Job, ground: &Ground, way: &Way) -> Option<Diagnostic> {
    let Way::Rows(_) = way else { return None };
    let bytes: u64 = ground.moved.tables.iter().map(|table| table.bytes).sum();
    let why = if job.can_follow_back { "The replication slot of the way back is lost." } else { "No replication slot kept them." };
    Some(
        Diagnostic::warning(Code::SPLIT_SLOT, format!("what service \"{}\" has written cannot be followed back", job.service))
            .detail(format!(
                "{why} Both sides are compared while writers wait, and where they differ all rows are copied back: about {} for {} MB.",
                duration(1_000 + bytes.saturating_mul(1_000) / COPY_BYTES_PER_S),
                bytes >> 20
            ))
            .hint("With wal_level = logical, and without a limit by max_slot_wal_keep_size, changes are followed and the pause is short."),
    )
}
