//! What one service tries: its own database first, then those of the others. One connection at a time.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use pgisle_core::credential::{ServiceCredentials, Slot};
use pgisle_core::name::{DatabaseName, ServiceName};
use pgisle_core::secret::Secret;
use pgisle_core::spec::Service;
use pgisle_core::verify::{
    Attempt, Entry, LoginKind, Observed, Unproved, attacks, home_trials, intruder_trials, terminate, victims,
};

use super::Run;
use super::login::{self, Login};
use super::rehearsal;
use crate::postgres::Session;

/// No password that pgisle makes is this one, and a user who gives it has asked for it.
const WRONG_PASSWORD: &str = "pgisle verify: this is not the password";

/// The logins of a service whose passwords are known.
fn logins<'a>(name: &'a ServiceName, credentials: &'a ServiceCredentials) -> Vec<Login<'a>> {
    let kind_of = |slot| match slot {
        Slot::A => LoginKind::A,
        Slot::B => LoginKind::B,
    };
    let active = Some((&credentials.active, kind_of(credentials.active_slot)));
    let draining = credentials.draining.as_ref().map(|credential| (credential, kind_of(credentials.active_slot.other())));
    let migrator = credentials.migrator.as_ref().map(|credential| (credential, LoginKind::Migrator));
    let known = [active, draining, migrator].into_iter().flatten();
    known.map(|(credential, kind)| Login { service: Some(name), credential, kind }).collect()
}

/// Tries everything that a service's logins could do.
pub(super) async fn observe(
    run: &Run<'_>,
    service: &Service,
    foreign: &[DatabaseName],
    canaries: &BTreeSet<DatabaseName>,
) -> Observed {
    let mut observed = Observed::default();
    let Some(credentials) = run.request.credentials.services.get(&service.name) else {
        observed.unproved.push(Unproved {
            what: format!("service \"{}\"", service.name),
            because: "Its password is not in the credential store, so it could not log in.".to_owned(),
        });
        return observed;
    };
    let mut enters = false;
    for login in logins(&service.name, credentials) {
        let reachable = home(run, service, &login, foreign, &mut observed).await;
        enters |= reachable;
        if reachable {
            abroad(run, &login, foreign, canaries, &mut observed).await;
        } else {
            observed.unproved.push(Unproved {
                what: format!("logins of \"{}\" to the others' databases", login.role()),
                because: "It could not log in to its own database, so a refusal elsewhere would show nothing.".to_owned(),
            });
        }
    }
    // A server that does not let the right password in says nothing by refusing a wrong one, and may take long to say it.
    if let Some(login) = logins(&service.name, credentials).first().filter(|_| enters) {
        wrong_password(run, service, login, &mut observed).await;
    }
    observed
}

/// The service's own database: what must work, and what it must not be able to break out with.
async fn home(run: &Run<'_>, service: &Service, login: &Login<'_>, foreign: &[DatabaseName], observed: &mut Observed) -> bool {
    let (attempt, session) = login.enter(run.request.services, &service.database, true).await;
    observed.attempts.push(attempt);
    let Some(session) = session else { return false };
    let spec = run.request.spec;
    let mut trials = home_trials(spec, run.inventory, service, login.kind);
    let victims = victims(spec, run.inventory, Some(service), foreign);
    trials.extend(attacks(spec, service, login.role(), &victims));
    observed.probes.extend(rehearsal::run(&session, &login.who(), &service.database, &trials).await);
    session.close().await;
    true
}

/// The others' databases. Where it gets in, it looks how far.
async fn abroad(
    run: &Run<'_>,
    login: &Login<'_>,
    foreign: &[DatabaseName],
    canaries: &BTreeSet<DatabaseName>,
    observed: &mut Observed,
) {
    for database in foreign {
        let (attempt, session) = login.enter(run.request.services, database, false).await;
        observed.attempts.push(attempt);
        let Some(session) = session else { continue };
        let is_island = run.request.spec.services.values().any(|service| service.database == *database);
        if is_island {
            let trials = intruder_trials(canaries.contains(database));
            observed.probes.extend(rehearsal::run(&session, &login.who(), database, &trials).await);
        }
        session.close().await;
    }
}

/// A server that lets in whoever gives a name (`trust` in pg_hba.conf) proves nothing by letting a password in.
async fn wrong_password(run: &Run<'_>, service: &Service, login: &Login<'_>, observed: &mut Observed) {
    let secret = Secret::new(WRONG_PASSWORD);
    if let Ok(session) = login::connect(run.request.services, login.role(), secret, &service.database).await {
        session.close().await;
        observed.open_logins.push(login.role().clone());
    }
}

/// Each service tries to end a session of the next one. Both sessions are the proof's own. Who could not log in before is not
/// waited for again.
pub(super) async fn terminate_each_other(run: &Run<'_>, attempts: &[Attempt]) -> Observed {
    let spec = run.request.spec;
    let credentials = &run.request.credentials.services;
    let known: Vec<(&Service, Login<'_>)> = spec
        .services
        .values()
        .filter_map(|service| Some((service, logins(&service.name, credentials.get(&service.name)?).into_iter().next()?)))
        .filter(|(service, login)| {
            let entered = |attempt: &Attempt| attempt.database == service.database && attempt.entry == Entry::Entered;
            attempts.iter().any(|attempt| attempt.login == *login.role() && entered(attempt))
        })
        .collect();
    let mut all = Observed::default();
    if known.len() < 2 {
        return all;
    }
    // Two neighbours of the ring never work at the same time, so no service holds two connections: first every other pair,
    // then those in between, and the pair that closes an odd ring by itself.
    let even = |place: &usize| place.is_multiple_of(2) && place + 1 < known.len();
    let odd = |place: &usize| !place.is_multiple_of(2);
    let rounds: [Vec<usize>; 3] = [
        (0..known.len()).filter(even).collect(),
        (0..known.len()).filter(odd).collect(),
        (0..known.len()).filter(|place| !even(place) && !odd(place)).collect(),
    ];
    for round in rounds {
        let pairs = futures_util::stream::iter(round)
            .map(async |place| {
                let (attacker, victim) = (&known[place], &known[(place + 1) % known.len()]);
                Box::pin(terminate_one(run, attacker, victim)).await
            })
            .buffered(run.parallelism().div_ceil(2));
        let mut pairs = std::pin::pin!(pairs);
        while let Some(observed) = pairs.next().await {
            super::absorb(&mut all, observed);
        }
    }
    all
}

async fn terminate_one(run: &Run<'_>, attacker: &(&Service, Login<'_>), victim: &(&Service, Login<'_>)) -> Observed {
    let mut observed = Observed::default();
    let services = run.request.services;
    let open = async |(service, login): &(&Service, Login<'_>)| -> Option<Session> {
        let (attempt, session) = login.enter(services, &service.database, true).await;
        let Attempt { entry: Entry::Entered, .. } = attempt else { return None };
        session
    };
    let (Some(mine), Some(theirs)) = (open(attacker).await, open(victim).await) else {
        // That one of them cannot log in has been reported already.
        return observed;
    };
    let trial = terminate(victim.1.role(), theirs.backend_pid());
    observed.probes = rehearsal::run(&mine, &attacker.1.who(), &attacker.0.database, &[trial]).await;
    mine.close().await;
    theirs.close().await;
    observed
}
