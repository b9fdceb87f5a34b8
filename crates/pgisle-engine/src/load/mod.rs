//! Puts the connections of the services under a load that is bounded, and measures what clients met: every client with a connection
//! of its own, the same clients through the pools, and a service beside a noisy one.
//!
//! Nothing is made on the server and nothing is written there: the clients compute a sum, and the noisy ones sleep. So a load that
//! is killed leaves nothing, and a real service is disturbed by what the load takes of the processor, and of the connections, of
//! which a tenth is left to others at any time. It takes no lock either: an apply, a rotation and a RELOAD go on beside it, which
//! is how to see that no client of theirs fails.

mod bulkhead;
pub(crate) mod client;
mod crew;
mod front;
mod place;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pgisle_core::artifact::Endpoint;
use pgisle_core::credential::{Credential, Credentials};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::load::{Bounds, LeftOut, Leg, Report, ServiceFigures, Share, Tally, Way, shares};
use pgisle_core::name::RoleName;
use pgisle_core::spec::{Service, Spec};
use pgisle_core::sql::load::work;

use crate::postgres::{ConnectError, ConnectOptions, InspectError, Session, inspect_shared};
use crew::Group;
use front::Front;
use watch::Watch;

/// What is asked for, and how to get there.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The project's folder.
    pub project: &'a Path,
    /// What is wanted.
    pub spec: &'a Spec,
    /// The logins' passwords.
    pub credentials: &'a Credentials,
    /// How the administrator reaches the maintenance database.
    pub connect: &'a ConnectOptions,
    /// How services reach the server; login and database are filled in.
    pub services: &'a ConnectOptions,
    /// Where the services find PgBouncer.
    pub endpoint: &'a Endpoint,
    /// How much of it.
    pub options: Options,
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How long each part runs.
    pub duration: Duration,
    /// How many clients each service has; as many as its instances' pools hold, when not given.
    pub clients: Option<u32>,
    /// How long each of them waits between two transactions.
    pub pause: Duration,
    /// How many clients the noisy neighbour has; without any, that part is not run.
    pub noisy: u32,
}

/// Why there is no report. What only keeps a part from being run is in the report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The administrator cannot get in.
    #[error("cannot connect as the administrator")]
    Connect(#[from] ConnectError),
    /// The administrator cannot read the server's limits.
    #[error("cannot read the server's limits")]
    Inspect(#[from] InspectError),
    /// It was lost sight of what the load does to the server.
    #[error("{}", .0.summary)]
    Watch(Diagnostic),
    /// It does not fit.
    #[error("{}", .0.summary)]
    Refused(Diagnostic),
}

impl LoadError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Connect(error) => error.diagnostic(),
            Self::Inspect(error) => error.diagnostic(),
            Self::Watch(diagnostic) | Self::Refused(diagnostic) => diagnostic.clone(),
        }
    }
}

/// Runs it.
///
/// # Errors
/// The administrator cannot get in, or what is asked for does not fit.
pub async fn run(request: &Request<'_>, progress: &(dyn Fn(&'static str) + Sync)) -> Result<Report, LoadError> {
    let session = Session::connect(&request.connect.for_purpose("load")).await?;
    let outcome = Box::pin(run_beside(request, &session, progress)).await;
    session.close().await;
    outcome
}

async fn run_beside(
    request: &Request<'_>,
    session: &Session,
    progress: &(dyn Fn(&'static str) + Sync),
) -> Result<Report, LoadError> {
    let Request { spec, options, .. } = *request;
    let usable = inspect_shared(session).await?.server.usable_connections();
    let services = spec.services.values();
    let logins = services.filter_map(|service| Some(logins(request, service)?.role.clone())).collect();
    let watch = Watch::new(session, logins, usable);
    progress("looking for PgBouncer");
    let held_at_first = watch.held(&watch.sessions().await.map_err(LoadError::Watch)?);
    let front = front::find(request).await;
    let sessions = watch.sessions().await.map_err(LoadError::Watch)?;
    let room = watch.room(&sessions);
    let held = |service: &Service| {
        let of_login = |role: &RoleName| sessions.iter().filter(|one| one.role == *role).map(|one| one.count).sum::<u64>();
        u32::try_from(self::logins(request, service).map_or(0, |login| of_login(&login.role))).unwrap_or(u32::MAX)
    };
    let bounds = Bounds {
        room,
        sessions: &held,
        pooler_clients: front.as_ref().ok().and_then(|front| front.clients_max(spec)),
        is_pooled: front.is_ok(),
    };
    let shares = shares(spec, options.clients, &bounds).map_err(LoadError::Refused)?;
    progress("every client with a connection of its own");
    let before = direct(request, &shares, &watch).await?;
    let mut left_out = Vec::new();
    let after = match &front {
        Ok(front) => {
            progress("the same clients through PgBouncer");
            Some(pooled(request, &shares, front, &watch, held_at_first).await?)
        }
        Err(because) => {
            left_out.push(LeftOut { what: "the load through PgBouncer", because: because.clone() });
            None
        }
    };
    // Ours goes before the next of ours comes.
    let has_front = front.is_ok();
    drop(front);
    let mut bulkhead = None;
    if options.noisy > 0 && has_front {
        match Box::pin(bulkhead::run(request, &shares, &watch, progress)).await? {
            Ok(met) => bulkhead = Some(met),
            Err(because) => left_out.push(LeftOut { what: "the noisy neighbour", because }),
        }
    }
    Ok(Report {
        duration_ms: milliseconds(options.duration),
        pause_ms: milliseconds(options.pause),
        room,
        before,
        after,
        bulkhead,
        left_out,
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The service's login that is in use.
fn logins<'a>(request: &Request<'a>, service: &Service) -> Option<&'a Credential> {
    request.credentials.services.get(&service.name).map(|logins| &logins.active)
}

/// Without PgBouncer: into the shared database where it lets all services in, as it was before they were split, else into their own.
async fn direct(request: &Request<'_>, shares: &[Share], watch: &Watch<'_>) -> Result<Leg, LoadError> {
    let shared = &request.spec.settings.postgres_database;
    let held_before = watch.held(&watch.sessions().await.map_err(LoadError::Watch)?);
    let mut because = None;
    for service in request.spec.services.values() {
        let entrance = enter(request, service)?.to_database(shared);
        match client::connect(&entrance).await {
            Ok(welcome) => welcome.close().await,
            Err(reason) => {
                because = Some(format!("\"{shared}\" did not let \"{}\" in: {reason}", entrance.user));
                break;
            }
        }
    }
    let way = match because {
        None => Way::Shared { database: shared.clone() },
        Some(because) => Way::Own { because },
    };
    let is_shared = matches!(way, Way::Shared { .. });
    let entrance = |service: &Service| {
        let options = enter(request, service)?;
        Ok(options.to_database(if is_shared { shared } else { &service.database }))
    };
    // Those that have knocked are gone before anything is counted.
    watch.settle(held_before).await.map_err(LoadError::Watch)?;
    let leg = leg(request, shares, way, entrance, watch, held_before).await?;
    watch.settle(held_before).await.map_err(LoadError::Watch)?;
    Ok(leg)
}

async fn pooled(
    request: &Request<'_>,
    shares: &[Share],
    front: &Front,
    watch: &Watch<'_>,
    held_at_first: u32,
) -> Result<Leg, LoadError> {
    let entrance = |service: &Service| front.entrance(request, service).ok_or_else(|| no_password(service));
    leg(request, shares, front.way(request.spec), entrance, watch, held_at_first).await
}

fn enter(request: &Request<'_>, service: &Service) -> Result<ConnectOptions, LoadError> {
    let login = logins(request, service).ok_or_else(|| no_password(service))?;
    Ok(request.services.as_login(&login.role, login.secret.clone()))
}

fn no_password(service: &Service) -> LoadError {
    LoadError::Refused(
        Diagnostic::error(Code::CREDENTIAL_MISSING, front::no_password(service))
            .about(format!("service \"{}\"", service.name))
            .hint("Apply makes its login:")
            .command("pgisle apply"),
    )
}

/// All services' clients at once, one way.
async fn leg(
    request: &Request<'_>,
    shares: &[Share],
    way: Way,
    entrance: impl Fn(&Service) -> Result<ConnectOptions, LoadError>,
    watch: &Watch<'_>,
    connections_before: u32,
) -> Result<Leg, LoadError> {
    let mut groups = Vec::new();
    for share in shares {
        let Some(service) = request.spec.services.get(&share.service) else { continue };
        groups.push(Group {
            clients: share.clients,
            options: entrance(service)?,
            statement: work(),
            pause: request.options.pause,
            delay: Duration::ZERO,
        });
    }
    let stop = Arc::new(AtomicBool::new(false));
    let work = crew::work(groups, request.options.duration, &stop);
    let (met, seen) = watch.during(&stop, Box::pin(work)).await.map_err(LoadError::Watch)?;
    let mut all = Tally::default();
    met.groups.iter().for_each(|tally| all.absorb(tally));
    let of_service = |(share, tally): (&Share, &Tally)| ServiceFigures {
        service: share.service.clone(),
        clients: share.clients,
        figures: tally.figures(met.took_ms),
    };
    let others = if matches!(way, Way::Pooled { .. }) { 0 } else { connections_before };
    Ok(Leg {
        way,
        clients: shares.iter().map(|share| share.clients).sum(),
        connections: seen.connections.saturating_sub(others),
        connections_before,
        all: all.figures(met.took_ms),
        services: shares.iter().zip(&met.groups).map(of_service).collect(),
        broken_off: seen.broken_off,
    })
}
