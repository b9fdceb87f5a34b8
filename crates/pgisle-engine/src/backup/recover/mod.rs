//! Recovering one service as it was at a time: a private server is made of a backup of the cluster, replays the archived log up to
//! that time, and the service's database is dumped from it. What is dumped is then restored like any other backup.
//!
//! The cluster itself is only read: it is asked to archive what it has written. The private server listens on a socket in a private
//! folder, sends nothing anywhere, archives nothing, and ends when we do. It asks for files of the log through its folder and is
//! served by this process, so it needs neither the project's files nor a key.

mod base;
mod choose;
mod drill;
mod error;
mod feed;
mod place;
mod scratch;

use std::path::{Path, PathBuf};

use pgisle_core::backup::wal::PointInTime;
use pgisle_core::backup::{BackupId, DumpFormat};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::{RoleName, ServiceName};
use pgisle_core::spec::Spec;
use serde::Serialize;

use super::catalog::Backup;
use super::cluster::ClusterBackup;
use super::create::{self, Made};
use super::store::{BackupStore, S3Environment};
use super::wal;
use crate::credential::IdentitySource;
use crate::event::{Event, Events};
use crate::fault;
use crate::local::{Installation, LocalError};
use crate::postgres::{ConnectOptions, Session};

pub use drill::{Drilled, drill, latest, proofs};
pub use error::RecoverError;
pub use place::sweep;

use base::Base;
use choose::Chosen;
use place::Place;
use scratch::Scratch;

/// What is to be recovered.
pub struct Request<'a> {
    /// The file.
    pub spec: &'a Spec,
    /// How to reach the cluster: what it has written is archived first, and its superuser's name is asked for.
    pub connect: &'a ConnectOptions,
    /// Where the backups and the archived log are.
    pub store: &'a BackupStore,
    /// The private keys.
    pub identities: &'a IdentitySource,
    /// The services. To be restored it is one.
    pub services: &'a [ServiceName],
    /// The time.
    pub at: PointInTime,
    /// The project's folder, under whose `.pgisle` the private server lives.
    pub project: &'a Path,
}

/// A service's database as it was at a time, dumped.
#[derive(Debug)]
pub struct Recovered {
    /// How it came to be.
    pub reached: Reached,
    /// The dump.
    pub backup: Backup,
    /// Where the dump is.
    pub store: BackupStore,
    /// Which backups of the cluster were found to be damaged.
    pub warnings: Vec<Diagnostic>,
    place: Place,
}

/// How a private server was brought to a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// The time that was asked for.
    pub at: PointInTime,
    /// The backup that it began with.
    pub base: BackupId,
    /// The timeline that it followed.
    pub timeline: u32,
    /// When the last transaction before the time was committed, in the whole cluster; none when the log has none since the backup.
    pub last_transaction: Option<String>,
    /// Files of the log that were read.
    pub wal_files: u64,
}

impl Recovered {
    /// Removes the dump and the folder it was made in.
    ///
    /// # Errors
    /// Something cannot be removed; the next recovery tries again.
    pub fn remove(self) -> Result<(), RecoverError> {
        self.place.remove()
    }
}

/// Recovers a service's database as it was at a time, and dumps it. Nothing on the cluster is changed.
///
/// # Errors
/// See [`RecoverError`]. Nothing is then left on this machine.
pub async fn recover(request: &Request<'_>, events: Events<'_>) -> Result<Recovered, RecoverError> {
    let Past { reached, dumps, store, place, warnings, base: _ } = Box::pin(past(request, events)).await?;
    let (_, dump) = dumps.into_iter().next().ok_or(RecoverError::NotThere)?;
    Ok(Recovered { reached, backup: dump?, store, warnings, place })
}

/// Services' databases as they were at a time, dumped.
struct Past {
    reached: Reached,
    base: ClusterBackup,
    dumps: Dumps,
    store: BackupStore,
    place: Place,
    warnings: Vec<Diagnostic>,
}

/// What came of each service.
type Dumps = Vec<(ServiceName, Result<Backup, RecoverError>)>;

async fn past(request: &Request<'_>, events: Events<'_>) -> Result<Past, RecoverError> {
    let place = Place::take(request.project, request.spec.settings.environment).await?;
    let live = Live::ask(request.connect).await?;
    let Base { chosen, installation, warnings } = Box::pin(base::lay(request, &place, events)).await?;
    fault::stage("recover.unpacked");
    let (reached, dumps, store) = Box::pin(run(request, &place, &installation, &chosen, &live, events)).await?;
    Ok(Past { reached, base: chosen.backup, dumps, store, place, warnings })
}

/// What the cluster itself must be asked.
struct Live {
    superuser: RoleName,
    max_prepared_transactions: u32,
}

impl Live {
    async fn ask(connect: &ConnectOptions) -> Result<Self, RecoverError> {
        // The role that initdb made can be renamed and not removed.
        const LIVE: &str = "SELECT r.rolname::pg_catalog.text, pg_catalog.current_setting('max_prepared_transactions') \
            FROM pg_catalog.pg_roles AS r WHERE r.oid = 10";
        let session =
            Box::pin(Session::connect(connect)).await.map_err(|error| RecoverError::Live(Box::new(error.diagnostic())))?;
        let failed =
            |error| RecoverError::Live(Box::new(crate::postgres::connect::query_diagnostic("the cluster cannot be asked", &error)));
        let rows = session.query(LIVE, &[]).await.map_err(failed)?;
        session.close().await;
        let row = rows.first();
        let text = |index| row.map_or_else(|| Ok(String::new()), |row| row.try_get::<_, String>(index)).map_err(failed);
        let superuser = RoleName::observed(text(0)?);
        Ok(Self { superuser, max_prepared_transactions: text(1)?.parse().unwrap_or_default() })
    }
}

async fn run(
    request: &Request<'_>,
    place: &Place,
    installation: &Installation,
    chosen: &Chosen,
    live: &Live,
    events: Events<'_>,
) -> Result<(Reached, Dumps, BackupStore), RecoverError> {
    let scratch = Scratch { request, place, installation, chosen, live, events };
    let running = match scratch.reach().await {
        // What was written last may not be archived yet.
        Err(RecoverError::Ends { .. }) if !chosen.is_flushed && flush(request).await? => scratch.reach().await?,
        result => result?,
    };
    fault::stage("recover.reached");
    let (last_transaction, wal_files) = (running.last_transaction().await?, running.files);
    events(Event::Restoring("dumping the database as it was"));
    let (dumps, store) = dump(request, place, &running.connect).await?;
    fault::stage("recover.dumped");
    running.stop().await.map_err(RecoverError::Server)?;
    place.remove_data()?;
    let base = chosen.backup.id().clone();
    Ok((Reached { at: request.at, base, timeline: chosen.history.timeline, last_transaction, wal_files }, dumps, store))
}

async fn flush(request: &Request<'_>) -> Result<bool, RecoverError> {
    Ok(wal::setup::flush(request.connect, request.store).await?.is_some())
}

/// Dumps the services' databases from the private server, into a store beside it.
async fn dump(request: &Request<'_>, place: &Place, connect: &ConnectOptions) -> Result<(Dumps, BackupStore), RecoverError> {
    let mut spec = request.spec.clone();
    // It stays on this machine, beside the data that it is of, and goes with it.
    spec.settings.backup_recipients.clear();
    let (settings, location) = (&spec.settings, place.dump());
    let location: &str = location.to_str().ok_or_else(|| RecoverError::Path(PathBuf::from(&location)))?;
    let store = BackupStore::open(location, &settings.name_prefix, settings.environment, &S3Environment::default())?;
    let request = create::Request {
        spec: &spec,
        connect,
        store: &store,
        identities: request.identities,
        services: request.services,
        format: DumpFormat::Custom,
        consistent: false,
        poolers: &[],
        parallelism: 1,
        lock_timeout: std::time::Duration::ZERO,
    };
    let made = Box::pin(create::create(&request, &|_| {})).await;
    let Made { services: made, .. } = made.map_err(|error| RecoverError::Dump(Box::new(error)))?;
    let outcome = |outcome: Result<Backup, Diagnostic>| {
        outcome.map_err(|error| match error.code {
            Code::BACKUP_ABSENT => RecoverError::NotThere,
            _ => RecoverError::Dump(Box::new(error)),
        })
    };
    let dumps = made.into_iter().map(|one| (one.service, outcome(one.outcome))).collect();
    Ok((dumps, store.clone()))
}

impl From<LocalError> for RecoverError {
    fn from(error: LocalError) -> Self {
        Self::Server(error)
    }
}
