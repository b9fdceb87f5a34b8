//! Replaces logins on a running cluster, without a moment in which a service cannot log in.
//!
//! [`begin`] gives the idle login a new secret and lets it in; the old login goes on working. Once the generated files are written
//! with the new one, [`publish`] makes it the service's login. [`finish`] waits until nobody uses the old login and shuts it out.
//! Each part saves before it tells the server and can be run again after any interruption: the transitions themselves are
//! [`rotation`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pgisle_core::credential::{Credential, Credentials, Rotation, ServiceCredentials};
use pgisle_core::diagnostic::{Code, Diagnostic, any_error};
use pgisle_core::name::{RoleName, ServiceName};
use pgisle_core::plan::{Action, RoleChange, Step, Target};
use pgisle_core::spec::Service;
use pgisle_core::watch::PoolSample;

use crate::activity;
use crate::apply::{self, Applied, ApplyError, Intent, Request};
use crate::clock::now_rfc3339;
use crate::credential::{rotation, system_random};
use crate::event::Events;
use crate::fault;
use crate::pooler::PoolerConsole;
use crate::postgres::Session;
use crate::watch::pools::Pools;

/// How often the sessions of an old login are counted while waiting for them to end.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// One half of a rotation, done.
#[derive(Debug)]
pub struct Rotated {
    /// What was done on the server.
    pub applied: Applied,
    /// The logins as they are now, or after [`begin`] as they will be: what the generated files are to be written from.
    pub credentials: Credentials,
    /// The services that have come through.
    pub services: BTreeSet<ServiceName>,
}

/// Gives each service its other login. The files come next and then [`publish`], so that a run that is interrupted in between
/// is taken up by the same command.
///
/// # Errors
/// What stands in the way. Nothing is changed when a service cannot be rotated; when only the server's part failed, running it
/// again goes on from there.
pub async fn begin(
    request: &Request<'_>,
    services: &BTreeSet<ServiceName>,
    events: Events<'_>,
) -> Result<Rotated, Vec<Diagnostic>> {
    let now = now_rfc3339();
    let begun = transit(request, services, |service, logins| {
        rotation::begin(service, request.secrets, logins, &mut system_random, &now).map(|_begun| ())
    })?;
    let made = made(services, |name| begun.services.get(name)?.pending.clone());
    let applied = apply_to(request, services, events).await?;
    // A service whose new login the server does not know yet goes on with the old one.
    let failed = |name: &ServiceName| applied.failures.iter().any(|failure| concerns(&failure.address, name));
    let published: BTreeSet<ServiceName> = services.iter().filter(|name| !failed(name)).cloned().collect();
    fault::stage("rotate.applied");
    let credentials = transition(request, &published, &applied.credentials, publication(&made))?;
    Ok(Rotated { applied, credentials, services: published })
}

/// Makes the login that each service was given by [`begin`] its own. Where another run has done that meanwhile, it is done.
///
/// # Errors
/// The store cannot be used, or someone else has rotated a service meanwhile.
pub fn publish(request: &Request<'_>, begun: &Rotated) -> Result<(), Vec<Diagnostic>> {
    let made = made(&begun.services, |name| Some(begun.credentials.services.get(name)?.active.clone()));
    transit(request, &begun.services, publication(&made)).map(|_saved| ())
}

type Made = BTreeMap<ServiceName, Credential>;

/// The logins that a rotation has made.
fn made(services: &BTreeSet<ServiceName>, of: impl Fn(&ServiceName) -> Option<Credential>) -> Made {
    services.iter().filter_map(|name| Some((name.clone(), of(name)?))).collect()
}

fn publication(made: &Made) -> impl FnMut(&Service, &mut ServiceCredentials) -> Result<(), Diagnostic> {
    |service, logins| made.get(&service.name).map_or(Ok(()), |made| rotation::publish(service, logins, made))
}

/// Shuts the old login of each service out, once nobody uses it any more, waiting no longer than `wait`. Connections that these
/// PgBouncers keep for later, and no client of theirs uses, are nobody's.
///
/// # Errors
/// Who is still connected, or what else stands in the way.
pub async fn finish(
    request: &Request<'_>,
    services: &BTreeSet<ServiceName>,
    wait: Duration,
    poolers: &[PoolerConsole],
    events: Events<'_>,
) -> Result<Rotated, Vec<Diagnostic>> {
    let credentials = request.store.load().map_err(|error| vec![error.diagnostic()])?;
    let old: BTreeMap<&ServiceName, RoleName> =
        services.iter().filter_map(|name| Some((name, credentials.services.get(name)?.draining.as_ref()?.role.clone()))).collect();
    drain(request, old.values(), wait, poolers).await?;
    // An interrupted run may have forgotten the old login and not yet told the server.
    let is_settled = |logins: &ServiceCredentials| logins.rotation() == Rotation::Idle;
    let forget = |service: &Service, logins: &mut ServiceCredentials| {
        if is_settled(logins) { Ok(()) } else { rotation::finish(service, logins) }
    };
    transit(request, services, forget)?;
    let applied = apply_to(request, services, events).await?;
    let failed = |name: &ServiceName| applied.failures.iter().any(|failure| concerns(&failure.address, name));
    let was_shut_out = |name: &ServiceName| {
        let mut steps = applied.planned.plan.steps();
        old.contains_key(name) || steps.any(|step| is_shutting_out(step) && concerns(&step.address.to_string(), name))
    };
    let services = services.iter().filter(|name| was_shut_out(name) && !failed(name)).cloned().collect();
    Ok(Rotated { credentials: applied.credentials.clone(), applied, services })
}

/// The services of which only one login is to work, whether or not the other is shut out yet.
///
/// # Errors
/// The store cannot be used.
pub fn finishable(request: &Request<'_>) -> Result<BTreeSet<ServiceName>, Diagnostic> {
    let credentials = request.store.load().map_err(|error| error.diagnostic())?;
    let is_finishable =
        |name: &&ServiceName| credentials.services.get(*name).is_some_and(|logins| logins.rotation() != Rotation::Begun);
    Ok(request.spec.services.keys().filter(is_finishable).cloned().collect())
}

fn is_shutting_out(step: &Step) -> bool {
    matches!(&step.action, Action::AlterRole { changes, .. } if changes.contains(&RoleChange::NoLogin))
}

/// Takes the same step with every service, or with none.
fn transit(
    request: &Request<'_>,
    services: &BTreeSet<ServiceName>,
    step: impl FnMut(&Service, &mut ServiceCredentials) -> Result<(), Diagnostic>,
) -> Result<Credentials, Vec<Diagnostic>> {
    let change = |credentials: &mut Credentials| {
        *credentials = transition(request, services, credentials, step)?;
        Ok(credentials.clone())
    };
    request.store.update(change).map_err(|error| vec![error.diagnostic()])?
}

/// The same without saving it.
fn transition(
    request: &Request<'_>,
    services: &BTreeSet<ServiceName>,
    credentials: &Credentials,
    mut step: impl FnMut(&Service, &mut ServiceCredentials) -> Result<(), Diagnostic>,
) -> Result<Credentials, Vec<Diagnostic>> {
    let mut next = credentials.clone();
    let mut diagnostics = Vec::new();
    for service in request.spec.services.values().filter(|service| services.contains(&service.name)) {
        let outcome = match next.services.get_mut(&service.name) {
            Some(logins) => step(service, logins),
            None => Err(Diagnostic::error(Code::ROTATE_STATE, "there is no login to rotate yet")
                .about(format!("service \"{}\"", service.name))
                .hint("Apply makes it:")
                .command("pgisle apply")),
        };
        diagnostics.extend(outcome.err());
    }
    if diagnostics.is_empty() { Ok(next) } else { Err(diagnostics) }
}

async fn apply_to(request: &Request<'_>, services: &BTreeSet<ServiceName>, events: Events<'_>) -> Result<Applied, Vec<Diagnostic>> {
    let targets: Vec<Target> = services.iter().cloned().map(Target::Service).collect();
    let request = Request { intent: Intent::Apply, targets: &targets, expected: None, must_fit: false, ..*request };
    let applied = Box::pin(apply::run(&request, events)).await.map_err(|error: ApplyError| vec![error.diagnostic()])?;
    if any_error(&applied.planned.diagnostics) { Err(applied.planned.diagnostics) } else { Ok(applied) }
}

fn concerns(address: &str, service: &ServiceName) -> bool {
    address.split('/').next().and_then(|head| head.strip_prefix("service.")) == Some(service.as_str())
}

/// Waits until none of these logins has a session.
async fn drain<'l>(
    request: &Request<'_>,
    logins: impl Iterator<Item = &'l RoleName>,
    wait: Duration,
    poolers: &[PoolerConsole],
) -> Result<(), Vec<Diagnostic>> {
    let logins: Vec<&RoleName> = logins.collect();
    let mut pools = Pools::default();
    let started = Instant::now();
    let session = Session::connect(&request.connect.for_purpose("rotate")).await.map_err(|error| vec![error.diagnostic()])?;
    let outcome = loop {
        let activity = match activity::read(&session).await {
            Ok(activity) => activity,
            Err(diagnostic) => break Err(vec![diagnostic]),
        };
        // What cannot be seen may be in use.
        let kept = pools.look(poolers).await.unwrap_or_default();
        let used = |login: &RoleName| activity.of_role(login).saturating_sub(unused(&kept, login));
        let busy: Vec<(&RoleName, u64)> =
            logins.iter().map(|login| (*login, used(login))).filter(|(_, sessions)| *sessions > 0).collect();
        if busy.is_empty() {
            break Ok(());
        }
        if started.elapsed() >= wait {
            break Err(busy.into_iter().map(still_in_use).collect());
        }
        tokio::time::sleep(COUNT_EVERY).await;
    };
    session.close().await;
    outcome
}

/// How many of a login's connections PgBouncer keeps without a client that could use them: none, as long as there is one.
fn unused(pools: &[PoolSample], login: &RoleName) -> u64 {
    let own = || pools.iter().filter(|pool| pool.user == login.as_str());
    if own().any(|pool| pool.clients_active > 0 || pool.clients_waiting > 0) {
        return 0;
    }
    own().map(|pool| u64::from(pool.servers_active) + u64::from(pool.servers_idle)).sum()
}

fn still_in_use((login, sessions): (&RoleName, u64)) -> Diagnostic {
    Diagnostic::error(Code::ROTATE_STATE, format!("the old login \"{login}\" is still in use"))
        .detail(format!("Sessions of it: {sessions}. Nothing was changed, and both logins go on working."))
        .hint("Deploy the new files, and wait for the old sessions to end: -wait=10m does.")
}
