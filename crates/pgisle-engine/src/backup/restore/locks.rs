//! The locks of a restore and of a split: the service's own for all of it, and the run lock for as long as it changes what others may change, too.

use std::time::Duration;

use pgisle_core::backup::restore::{Purpose, loader_name, lock_key};
use pgisle_core::spec::Service;

use super::Site;
use super::error::RestoreError;
use crate::apply;
use crate::event::{Event, Events};
use crate::postgres::lock::Scope;
use crate::postgres::{Holder, LockError, RunLock};

/// How long a restore that is loaded waits at least until another run is done: an hour's work is not thrown away for a minute's.
const SWAP_PATIENCE: Duration = Duration::from_secs(600);

/// Takes the lock on a service's restores and splits. Whoever else restores the service, drills it, splits it, or prunes what
/// restores left, waits or is told who holds it.
pub(crate) async fn of_service(
    request: &apply::Request<'_>,
    service: &Service,
    purpose: &str,
    events: Events<'_>,
) -> Result<RunLock, RestoreError> {
    // By the login that fills the database, which is what two restores could not share: cut, the names of two services may be one.
    let scope = Scope::Restore(lock_key(&loader_name(&service.owner(), Purpose::Restore)));
    let purpose = format!("{purpose} {}", service.name);
    let waiting = |holder: &Holder| events(Event::WaitingForLock { holder: &holder.to_string() });
    let acquiring = RunLock::acquire_scope(scope, request.connect, &purpose, request.lock_timeout, &waiting);
    Ok(Box::pin(acquiring).await?)
}

/// Takes the run lock before anything has been made: with as much patience as was asked for.
pub(crate) async fn for_the_making(site: &Site<'_>, events: Events<'_>) -> Result<RunLock, RestoreError> {
    Ok(take(site, site.request.lock_timeout, events).await?)
}

/// Takes the run lock once much has been done.
pub(crate) async fn for_a_swap(site: &Site<'_>, events: Events<'_>) -> Result<RunLock, RestoreError> {
    Ok(take(site, site.request.lock_timeout.max(SWAP_PATIENCE), events).await?)
}

async fn take(site: &Site<'_>, timeout: Duration, events: Events<'_>) -> Result<RunLock, LockError> {
    let waiting = |holder: &Holder| events(Event::WaitingForLock { holder: &holder.to_string() });
    Box::pin(RunLock::acquire(site.connect(), site.purpose, timeout, &waiting)).await
}
