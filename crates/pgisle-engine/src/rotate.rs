//! Replaces logins on a running cluster, without a moment in which a service cannot log in.
//!
//! [`begin`] gives the idle login a new secret, lets it in and makes it the published one; the old login goes on working.
//! [`finish`] waits until nobody uses the old login and shuts it out. Each half saves before it tells the server and can be
//! run again after any interruption: the transitions themselves are [`rotation`]'s.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pgisle_core::credential::{Credentials, Rotation, ServiceCredentials};
use pgisle_core::diagnostic::{Code, Diagnostic, any_error};
use pgisle_core::name::{RoleName, ServiceName};
use pgisle_core::plan::Target;
use pgisle_core::spec::Service;

use crate::activity;
use crate::apply::{self, Applied, ApplyError, Intent, Request};
use crate::clock::now_rfc3339;
use crate::credential::{rotation, system_random};
use crate::event::Events;
use crate::postgres::Session;

/// How often the sessions of an old login are counted while waiting for them to end.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// One half of a rotation, done.
#[derive(Debug)]
pub struct Rotated {
    /// What was done on the server.
    pub applied: Applied,
    /// The logins as they are now: what the generated files are to be written from.
    pub credentials: Credentials,
    /// The services that have come through.
    pub services: BTreeSet<ServiceName>,
}

/// Gives each service its other login, and publishes it.
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
    transit(request, services, |service, logins| {
        rotation::begin(service, request.secrets, logins, &mut system_random, &now).map(|_begun| ())
    })?;
    let applied = apply_to(request, services, events).await?;
    // A service whose new login the server does not know yet goes on with the old one.
    let failed = |name: &ServiceName| applied.failures.iter().any(|failure| concerns(&failure.address, name));
    let published: BTreeSet<ServiceName> = services.iter().filter(|name| !failed(name)).cloned().collect();
    let credentials = transit(request, &published, rotation::publish)?;
    Ok(Rotated { applied, credentials, services: published })
}

/// Shuts the old login of each service out, once nobody uses it any more, waiting no longer than `wait`.
///
/// # Errors
/// Who is still connected, or what else stands in the way.
pub async fn finish(
    request: &Request<'_>,
    services: &BTreeSet<ServiceName>,
    wait: Duration,
    events: Events<'_>,
) -> Result<Rotated, Vec<Diagnostic>> {
    let credentials = request.store.load().map_err(|error| vec![error.diagnostic()])?;
    let old: Vec<RoleName> = services
        .iter()
        .filter_map(|name| credentials.services.get(name)?.draining.as_ref())
        .map(|credential| credential.role.clone())
        .collect();
    drain(request, &old, wait).await?;
    transit(request, services, rotation::finish)?;
    let applied = apply_to(request, services, events).await?;
    let failed = |name: &ServiceName| applied.failures.iter().any(|failure| concerns(&failure.address, name));
    let services = services.iter().filter(|name| !failed(name)).cloned().collect();
    Ok(Rotated { credentials: applied.credentials.clone(), applied, services })
}

/// The services whose old login still works.
///
/// # Errors
/// The store cannot be used.
pub fn unfinished(request: &Request<'_>) -> Result<BTreeSet<ServiceName>, Diagnostic> {
    let credentials = request.store.load().map_err(|error| error.diagnostic())?;
    let is_unfinished = |logins: &ServiceCredentials| logins.rotation() == Rotation::Published;
    Ok(credentials.services.iter().filter(|(_, logins)| is_unfinished(logins)).map(|(name, _)| name.clone()).collect())
}

/// Takes the same step with every service, or with none.
fn transit(
    request: &Request<'_>,
    services: &BTreeSet<ServiceName>,
    mut step: impl FnMut(&Service, &mut ServiceCredentials) -> Result<(), Diagnostic>,
) -> Result<Credentials, Vec<Diagnostic>> {
    let change = |credentials: &mut Credentials| {
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
        if diagnostics.is_empty() {
            *credentials = next;
            Ok(credentials.clone())
        } else {
            Err(diagnostics)
        }
    };
    request.store.update(change).map_err(|error| vec![error.diagnostic()])?
}

async fn apply_to(request: &Request<'_>, services: &BTreeSet<ServiceName>, events: Events<'_>) -> Result<Applied, Vec<Diagnostic>> {
    let targets: Vec<Target> = services.iter().cloned().map(Target::Service).collect();
    let request = Request { intent: Intent::Apply, targets: &targets, expected: None, ..*request };
    let applied = Box::pin(apply::run(&request, events)).await.map_err(|error: ApplyError| vec![error.diagnostic()])?;
    if any_error(&applied.planned.diagnostics) { Err(applied.planned.diagnostics) } else { Ok(applied) }
}

fn concerns(address: &str, service: &ServiceName) -> bool {
    address.split('/').next().and_then(|head| head.strip_prefix("service.")) == Some(service.as_str())
}

/// Waits until none of these logins has a session.
async fn drain(request: &Request<'_>, logins: &[RoleName], wait: Duration) -> Result<(), Vec<Diagnostic>> {
    let started = Instant::now();
    let session = Session::connect(&request.connect.for_purpose("rotate")).await.map_err(|error| vec![error.diagnostic()])?;
    let outcome = loop {
        let activity = match activity::read(&session).await {
            Ok(activity) => activity,
            Err(diagnostic) => break Err(vec![diagnostic]),
        };
        let busy: Vec<(&RoleName, u64)> =
            logins.iter().map(|login| (login, activity.of_role(login))).filter(|(_, sessions)| *sessions > 0).collect();
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

fn still_in_use((login, sessions): (&RoleName, u64)) -> Diagnostic {
    Diagnostic::error(Code::ROTATE_STATE, format!("the old login \"{login}\" is still in use"))
        .detail(format!("Sessions of it: {sessions}. Nothing was changed, and both logins go on working."))
        .hint("Deploy the new files, and wait for the old sessions to end: -wait=10m does.")
}
