//! What a restore replaced: putting it back, and dropping it in the end.

use std::time::Duration;

use pgisle_core::backup::restore::{Leftover, leftovers, replaced_of};
use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::marker::RestoreMark;
use pgisle_core::moment::{DAY_S, Moment};
use pgisle_core::name::DatabaseName;
use pgisle_core::spec::Service;

use super::error::RestoreError;
use super::swap::{self, Swap};
use super::{Site, apply_again, check_service, free_name, locks, stage};
use crate::apply::{self, Applied};
use crate::event::{Event, Events};
use crate::postgres::{RunLock, Session, inspect_shared};

/// A replaced database that is back.
#[derive(Debug)]
pub struct Undone {
    /// The service's database.
    pub database: DatabaseName,
    /// What it was called until now.
    pub was: DatabaseName,
    /// The one that it replaced in turn, kept closed.
    pub replaced: DatabaseName,
    /// How long nobody could connect.
    pub pause: Duration,
    /// What an apply of the service did behind it; none when it could not be run.
    pub applied: Option<Applied>,
    /// Findings.
    pub diagnostics: Vec<Diagnostic>,
}

/// What was dropped, and what was not.
#[derive(Debug, Default)]
pub struct Pruned {
    /// What was dropped.
    pub dropped: Vec<Leftover>,
    /// Replaced databases that are too young.
    pub kept: Vec<DatabaseName>,
}

/// Puts back what the last restore of a service replaced. What is live now is kept in its place.
///
/// # Errors
/// See [`RestoreError`].
pub async fn undo(request: &apply::Request<'_>, service: &Service, events: Events<'_>) -> Result<Undone, RestoreError> {
    let purpose = "restore";
    let own = locks::of_service(request, service, purpose, events).await?;
    let site = Site { request, service, own: &own, purpose };
    let run = locks::for_the_making(&site, events).await?;
    let outcome = Box::pin(undo_locked(&site, &run, events)).await;
    run.release().await;
    own.release().await;
    outcome
}

async fn undo_locked(site: &Site<'_>, run: &RunLock, events: Events<'_>) -> Result<Undone, RestoreError> {
    let mut session = Session::connect(site.connect()).await?;
    let inventory = inspect_shared(&session).await?;
    check_service(site, &inventory)?;
    stage::clean(site, &mut session, &inventory, None).await?;
    session.close().await;
    let live = &site.service.database;
    let left = leftovers(&inventory, site.project(), site.environment());
    let (was, _) = replaced_of(&left, &site.service.name)
        .into_iter()
        .next()
        .ok_or_else(|| RestoreError::NothingToUndo(site.service.name.clone()))?;
    let wanted = swap::wanted(site, &inventory, &was)?;
    let outgoing = free_name(&inventory, live);
    let mark = RestoreMark { source: was.as_str().to_owned(), at: crate::clock::now(), waiting: false, drill: false };
    events(Event::Restoring("putting the old database back"));
    let swap = Swap { incoming: &was, outgoing: &outgoing, mark, wanted: &wanted };
    let pause = swap::swap(site, &inventory, &swap).await?;
    let mut diagnostics = Vec::new();
    let applied = apply_again(site, run, events, &mut diagnostics).await;
    Ok(Undone { database: live.clone(), was, replaced: outgoing, pause, applied, diagnostics })
}

/// Drops what restores of a service have left: replaced databases that are older than some days, and everything of interrupted
/// restores.
///
/// # Errors
/// See [`RestoreError`].
pub async fn prune(
    request: &apply::Request<'_>,
    service: &Service,
    keep_days: u32,
    events: Events<'_>,
) -> Result<Pruned, RestoreError> {
    let purpose = "restore";
    let own = locks::of_service(request, service, purpose, events).await?;
    let site = Site { request, service, own: &own, purpose };
    let run = locks::for_the_making(&site, events).await?;
    let outcome = Box::pin(prune_locked(&site, keep_days)).await;
    run.release().await;
    own.release().await;
    outcome
}

async fn prune_locked(site: &Site<'_>, keep_days: u32) -> Result<Pruned, RestoreError> {
    let mut session = Session::connect(site.connect()).await?;
    let inventory = inspect_shared(&session).await?;
    let mut pruned = Pruned { dropped: stage::clean(site, &mut session, &inventory, None).await?, kept: Vec::new() };
    let now = crate::clock::now();
    for leftover in leftovers(&inventory, site.project(), site.environment()) {
        let Leftover::Replaced { database, service, since, .. } = &leftover else { continue };
        if *service != site.service.name {
            continue;
        }
        if is_old(*since, now, keep_days) {
            stage::drop_database(&mut session, &inventory, database).await?;
            pruned.dropped.push(leftover);
        } else {
            pruned.kept.push(database.clone());
        }
    }
    session.close().await;
    Ok(pruned)
}

/// What does not say when it was replaced is kept, unless everything goes.
fn is_old(since: Option<Moment>, now: Moment, keep_days: u32) -> bool {
    match since {
        Some(since) => since.unix_s() + u64::from(keep_days) * DAY_S <= now.unix_s(),
        None => keep_days == 0,
    }
}
