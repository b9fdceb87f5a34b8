//! Seeing that services can be brought back to a time: all of a recovery but its last step, and what it proved written down.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgisle_core::backup::seal;
use pgisle_core::backup::wal::{PointInTime, RECOVERY_FORMAT, RecoveryProof};
use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::name::ServiceName;

use super::error::RecoverError;
use super::{Past, Reached, Request};
use crate::backup::catalog::{Backup, Proof};
use crate::backup::cluster;
use crate::backup::store::{BackupStore, Key, StoreError};
use crate::event::Events;
use crate::postgres::{ConnectOptions, Session};
use crate::{clock, fault};

/// The folder of what was proved, an object for each service.
const RECOVERED: &str = "recovered";

/// A recovery that was tried.
#[derive(Debug)]
pub struct Drilled {
    /// How the time was reached.
    pub reached: Reached,
    /// What came of each service.
    pub services: Vec<(ServiceName, Result<RecoveryProof, RecoverError>)>,
    /// How long it took.
    pub took: Duration,
    /// Which backups of the cluster were found to be damaged.
    pub warnings: Vec<Diagnostic>,
    /// Why something of it is left on this machine, if something is.
    pub left: Option<RecoverError>,
}

/// Brings services back to a time on a private server, dumps and counts each, removes all of it, and writes down what was proved. A
/// service that had no database then does not stop the others.
///
/// # Errors
/// See [`RecoverError`]. Nothing is then left on this machine, and nothing was written down.
pub async fn drill(request: &Request<'_>, events: Events<'_>) -> Result<Drilled, RecoverError> {
    let started = Instant::now();
    let Past { reached, base, dumps, place, warnings, store: _ } = Box::pin(super::past(request, events)).await?;
    let took = started.elapsed();
    let mut services = Vec::new();
    for (service, outcome) in dumps {
        let outcome = match outcome {
            Ok(dump) => record(request.store, proof(&service, &reached, &dump, took)).await,
            Err(error) => Err(error),
        };
        services.push((service, outcome));
    }
    if services.iter().any(|(_, outcome)| outcome.is_ok()) {
        cluster::record_proof(request.store, &base, Proof::Recovered).await?;
    }
    fault::stage("recover.recorded");
    let left = place.remove().err();
    Ok(Drilled { reached, services, took, warnings, left })
}

fn proof(service: &ServiceName, reached: &Reached, dump: &Backup, took: Duration) -> RecoveryProof {
    let Reached { at, base, timeline, last_transaction, wal_files } = reached.clone();
    let content = &dump.manifest.content;
    RecoveryProof {
        format: RECOVERY_FORMAT,
        service: service.clone(),
        proved: clock::now(),
        at,
        base,
        timeline,
        last_transaction,
        wal_files,
        tables: content.tables.len() as u64,
        rows: content.rows(),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

async fn record(store: &BackupStore, proof: RecoveryProof) -> Result<RecoveryProof, RecoverError> {
    let key = Key::of(&[RECOVERED, &format!("{}.json", proof.service)]).unwrap_or(Key::ROOT);
    store.put(&key, seal(&proof).into_bytes()).await?;
    Ok(proof)
}

/// What was proved last of each service. What is damaged proves nothing.
///
/// # Errors
/// The store cannot be read.
pub async fn proofs(store: &BackupStore) -> Result<BTreeMap<ServiceName, RecoveryProof>, StoreError> {
    let mut proofs = BTreeMap::new();
    for listed in store.list(&Key::of(&[RECOVERED]).unwrap_or(Key::ROOT)).await? {
        let name = listed.key.parts().last().and_then(|name| name.strip_suffix(".json"));
        let Some(service) = name.and_then(|name| ServiceName::parse(name).ok()) else { continue };
        let bytes = store.read(&listed.key).await?;
        let proof = bytes.and_then(|bytes| RecoveryProof::open(&bytes, &service).ok());
        proofs.extend(proof.map(|proof| (service, proof)));
    }
    Ok(proofs)
}

/// The end of a backup is written down in whole seconds, rounded up: for so long after it, no time is known to be behind it.
const END_ROUNDED_BY: Duration = Duration::from_secs(1);

/// The last time that can be asked for: now, by the clock of the cluster or by ours, whichever is behind. The cluster's log is made to
/// reach beyond it when it is recovered. It takes a second, so that whatever backup ended before this was called is a backup from before.
///
/// # Errors
/// The cluster does not answer.
pub async fn latest(connect: &ConnectOptions) -> Result<PointInTime, RecoverError> {
    const NOW: &str =
        "SELECT pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    tokio::time::sleep(END_ROUNDED_BY).await;
    let session = Box::pin(Session::connect(connect)).await.map_err(|error| RecoverError::Live(Box::new(error.diagnostic())))?;
    let failed =
        |error| RecoverError::Live(Box::new(crate::postgres::connect::query_diagnostic("the cluster cannot be asked", &error)));
    let rows = session.query(NOW, &[]).await.map_err(failed)?;
    session.close().await;
    let text = rows.first().map_or_else(|| Ok(String::new()), |row| row.try_get::<_, String>(0)).map_err(failed)?;
    let ours = PointInTime::from(clock::now());
    Ok(PointInTime::parse(&text).filter(|theirs| theirs.moment() <= ours.moment()).unwrap_or(ours))
}
