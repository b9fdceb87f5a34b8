//! One moment for all services: every snapshot between the same two commits.
//!
//! Whether that came true is not hoped but read: `pg_current_snapshot` names the transactions of the whole cluster that a session
//! sees, so equal texts from two databases mean that nothing was committed between them. PgBouncer's PAUSE makes it certain, and
//! does more: it waits until every service is between two of its own transactions, so that what a service writes into several
//! databases one after the other is there in all of them or in none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use pgisle_core::backup::{BackupId, SetThere};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;

use super::snapshot::{Opening, Snapshot};
use super::{Subject, connect_to};
use crate::pooler::{Occasion, Pause, PoolerConsole};
use crate::postgres::ConnectOptions;

/// How long snapshots are taken again while others write past PgBouncer, or where there is none.
const AGREE_TIMEOUT: Duration = Duration::from_secs(1);

/// The moments of all services.
pub(super) struct Taken {
    pub(super) snapshots: BTreeMap<ServiceName, Snapshot>,
    pub(super) set: SetThere,
    pub(super) pause_ms: Option<u64>,
    pub(super) warning: Option<Diagnostic>,
}

/// Opens a session for each service, before anybody is held up.
pub(super) async fn open(connect: &ConnectOptions, subjects: &[Subject]) -> Result<Vec<(ServiceName, Opening)>, Diagnostic> {
    try_join_all(subjects.iter().map(async |subject| {
        let opening = Opening::connect(&connect_to(connect, subject), subject.role.as_ref()).await;
        let opening = opening.map_err(|diagnostic| diagnostic.about(subject.about()))?;
        Ok((subject.service.clone(), opening))
    }))
    .await
}

/// Takes all snapshots.
pub(super) async fn take(
    mut openings: Vec<(ServiceName, Opening)>,
    poolers: &[PoolerConsole],
    id: &BackupId,
) -> Result<Taken, Diagnostic> {
    let pause = if poolers.is_empty() { None } else { Some(Pause::begin(poolers, occasion()).await?) };
    let agreed = agree(&mut openings).await;
    // A snapshot that was taken keeps: from here on everyone may write.
    let pause_ms = match pause {
        Some(pause) => Some(pause.end().await?),
        None => None,
    };
    let Agreed { transactions, spread_ms, is_one } = agreed?;
    let services: Vec<ServiceName> = openings.iter().map(|(service, _)| service.clone()).collect();
    let snapshots = openings
        .into_iter()
        .zip(transactions)
        .map(async |((service, opening), transactions)| Ok::<_, Diagnostic>((service, opening.keep(transactions).await?)));
    let snapshots = try_join_all(snapshots).await?.into_iter().collect();
    let set = SetThere { id: id.clone(), is_consistent: is_one, spread_ms, services };
    let warning = (!is_one).then(|| disagreement(spread_ms, pause_ms.is_some()));
    Ok(Taken { snapshots, set, pause_ms, warning })
}

struct Agreed {
    /// Of each opening, in their order.
    transactions: Vec<String>,
    spread_ms: u64,
    is_one: bool,
}

/// Takes snapshots of all databases at once, again and again, until they are of one moment or the patience ends.
async fn agree(openings: &mut [(ServiceName, Opening)]) -> Result<Agreed, Diagnostic> {
    let started = Instant::now();
    loop {
        let before = Instant::now();
        let transactions = try_join_all(openings.iter_mut().map(|(_, opening)| opening.take())).await?;
        let spread_ms = u64::try_from(before.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_one = transactions.windows(2).all(|pair| pair[0] == pair[1]);
        if is_one || started.elapsed() > AGREE_TIMEOUT {
            return Ok(Agreed { transactions, spread_ms, is_one });
        }
    }
}

fn disagreement(spread_ms: u64, was_paused: bool) -> Diagnostic {
    let cause = if was_paused {
        "PgBouncer was paused, and someone who does not come through it wrote all the time."
    } else {
        "There is no PgBouncer that could hold the writers back, and somebody wrote all the time."
    };
    Diagnostic::warning(Code::BACKUP_MOMENT, "the services were not caught at one moment")
        .detail(format!(
            "{cause} Each backup is consistent in itself; between them lie at most {spread_ms} ms, in which a change may be in one \
             and not in the other."
        ))
        .hint("Make the set when less is written, or have every writer come through PgBouncer.")
}

fn occasion() -> Occasion {
    let otherwise = "Try again when no long transaction runs, or do without -consistent.";
    Occasion { code: Code::BACKUP_MOMENT, alias: None, otherwise, without: "do without -consistent" }
}
