//! What one service feels of another: in a pool that both share, as it was when all came with one login into one database, and in
//! pools of their own. Always through a PgBouncer of ours: nobody's real pool is filled for a test.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pgisle_core::budget;
use pgisle_core::load::{Bulkhead, Figures, Share};
use pgisle_core::spec::{PoolMode, Service, Settings, Spec};
use pgisle_core::sql::load::{hold, work};

use super::crew::{self, Group};
use super::front::{Front, no_password, private};
use super::place::Place;
use super::watch::Watch;
use super::{LoadError, Request};

/// For how long a noisy client's transaction stays open.
const HOLD_MS: u32 = 100;

/// The victim's clients: enough to see the waiting of each, few enough to be no load themselves.
const VICTIM_CLIENTS: u32 = 8;

/// Between two transactions of a victim's client.
const VICTIM_PAUSE: Duration = Duration::from_millis(20);

/// How much later the victim begins: the neighbour is noisy by then.
const VICTIM_DELAY: Duration = Duration::from_millis(500);

/// The two services.
struct Pair<'a> {
    noisy: &'a Service,
    victim: &'a Service,
}

/// Runs it. The reason, as a clause, when it cannot be run.
pub(super) async fn run(
    request: &Request<'_>,
    shares: &[Share],
    watch: &Watch<'_>,
    progress: &dyn Fn(&'static str),
) -> Result<Result<Bulkhead, String>, LoadError> {
    let Some(pair) = pair(request.spec, shares) else { return Ok(Err("it takes two services".to_owned())) };
    let own = alone(request.spec, 0);
    let size = |spec: &Spec, service: &Service| budget::pool(&spec.settings, service).size;
    let together = alone(request.spec, size(&own, pair.noisy) + size(&own, pair.victim));
    let (shared_size, own_size) = (size(&together, pair.noisy), size(&own, pair.victim));
    let demand = shared_size.max(size(&own, pair.noisy) + own_size);
    let sessions = watch.sessions().await.map_err(LoadError::Watch)?;
    let room = watch.room(&sessions);
    if demand > room.left() {
        return Ok(Err(format!("its pools hold {demand} connections, and {} may be taken on this server", room.left())));
    }
    progress("a noisy neighbour, one pool");
    // As one login in one alias: that is what makes it one pool.
    let shared = match meet(request, &together, &pair, pair.noisy, watch).await? {
        Ok(met) => met,
        Err(reason) => return Ok(Err(reason)),
    };
    progress("a noisy neighbour, own pools");
    let apart = match meet(request, &own, &pair, pair.victim, watch).await? {
        Ok(met) => met,
        Err(reason) => return Ok(Err(reason)),
    };
    Ok(Ok(Bulkhead {
        noisy: pair.noisy.name.clone(),
        noisy_clients: request.options.noisy,
        hold_ms: HOLD_MS,
        victim: pair.victim.name.clone(),
        victim_clients: VICTIM_CLIENTS,
        shared_size,
        own_size,
        shared: shared.victim,
        own: apart.victim,
        noisy_shared: shared.noisy,
        noisy_own: apart.noisy,
    }))
}

/// The largest service is noisy, the smallest has to bear it.
fn pair<'a>(spec: &'a Spec, shares: &[Share]) -> Option<Pair<'a>> {
    let noisy = shares.iter().max_by_key(|share| share.clients)?;
    let victim = shares.iter().filter(|share| share.service != noisy.service).min_by_key(|share| share.clients)?;
    Some(Pair { noisy: spec.services.get(&noisy.service)?, victim: spec.services.get(&victim.service)? })
}

/// The spec with pools that are shared by transaction, in one process, with nothing in reserve; of another size than its own when one
/// is given. In pool mode session nobody would get in beside the first.
fn alone(spec: &Spec, size: u32) -> Spec {
    let settings = &spec.settings;
    let settings = Settings {
        pgbouncer_pool_mode: PoolMode::Transaction,
        pgbouncer_instances: 1,
        pgbouncer_reserve_pool_size: 0,
        pgbouncer_default_pool_size: if size == 0 { settings.pgbouncer_default_pool_size } else { size },
        ..settings.clone()
    };
    Spec { settings, ..spec.clone() }
}

/// What each met.
struct Met {
    victim: Figures,
    noisy: Figures,
}

/// Both at once; the victim comes as `entrance`.
async fn meet(
    request: &Request<'_>,
    spec: &Spec,
    pair: &Pair<'_>,
    entrance: &Service,
    watch: &Watch<'_>,
) -> Result<Result<Met, String>, LoadError> {
    let place = match Place::take(request.project, spec.settings.environment).await {
        Ok(place) => place,
        Err(reason) => return Ok(Err(reason)),
    };
    let front = match private(request, spec, place, "the neighbour is ours").await {
        Ok(front) => front,
        Err(reason) => return Ok(Err(reason)),
    };
    let enter = |front: &Front, service: &Service| front.entrance(request, service).ok_or_else(|| no_password(service));
    let (noisy, victim) = match (enter(&front, pair.noisy), enter(&front, entrance)) {
        (Ok(noisy), Ok(victim)) => (noisy, victim),
        (Err(reason), _) | (_, Err(reason)) => return Ok(Err(reason)),
    };
    let noisy = Group {
        clients: request.options.noisy,
        options: noisy,
        statement: hold(HOLD_MS),
        pause: Duration::ZERO,
        delay: Duration::ZERO,
    };
    let victim = Group { clients: VICTIM_CLIENTS, options: victim, statement: work(), pause: VICTIM_PAUSE, delay: VICTIM_DELAY };
    let stop = Arc::new(AtomicBool::new(false));
    let (met, seen) =
        watch.during(&stop, crew::work(vec![noisy, victim], request.options.duration, &stop)).await.map_err(LoadError::Watch)?;
    if let Some(reason) = seen.broken_off {
        return Ok(Err(reason));
    }
    let figures = |place: usize| met.groups.get(place).cloned().unwrap_or_default().figures(met.took_ms);
    Ok(Ok(Met { noisy: figures(0), victim: figures(1) }))
}
