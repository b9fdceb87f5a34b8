//! Making backups: each service from one moment of its database, several at a time, each whole or not there.

pub(super) mod dump;
mod gzip;
mod moment;
pub(super) mod pipeline;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use pgisle_core::backup::{BackupId, DumpFormat, SetThere};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::inventory::Inventory;
use pgisle_core::marker::Kind;
use pgisle_core::moment::Moment;
use pgisle_core::name::{DatabaseName, RoleName, ServiceName};
use pgisle_core::spec::Spec;

use super::catalog::{self, Backup, Listing};
use super::store::BackupStore;
use super::uploads;
use crate::credential::IdentitySource;
use crate::local::ClientPrograms;
use crate::pooler::PoolerConsole;
use crate::postgres::lock::Scope;
use crate::postgres::{ConnectOptions, RunLock, inspect_shared};

use pipeline::Gauge;
use snapshot::{Opening, Snapshot};

/// How often whoever watches is told how far it is.
const TICK: Duration = Duration::from_millis(200);

/// Manifests, logs and the odd growth, beside what the data is expected to take.
pub(super) const SPACE_MARGIN_BYTES: u64 = 16 << 20;

/// What is asked for.
pub struct Request<'a> {
    /// The file.
    pub spec: &'a Spec,
    /// How to reach the maintenance database.
    pub connect: &'a ConnectOptions,
    /// Where the backups go.
    pub store: &'a BackupStore,
    /// The private keys, to look inside what was encrypted.
    pub identities: &'a IdentitySource,
    /// Only these; all of the file, when there are none. One that has left the file may be named.
    pub services: &'a [ServiceName],
    /// How the data is laid out.
    pub format: DumpFormat,
    /// Whether all services are to stand at one moment.
    pub consistent: bool,
    /// Every PgBouncer that services come through, when they can be told to pause.
    pub poolers: &'a [PoolerConsole],
    /// How many services are dumped at once.
    pub parallelism: usize,
    /// How long to wait for the backup lock.
    pub lock_timeout: Duration,
}

/// Something that happened, as it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// Another run holds the lock, and this one waits for it.
    WaitingForLock {
        /// Who holds it.
        holder: &'a str,
    },
    /// How far the dumps are.
    Flow(Flow),
    /// A service is done.
    Done(&'a Backup),
    /// A service has failed.
    Failed(&'a ServiceName),
}

/// How far the dumps are, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Bytes that `pg_dump` has written.
    pub done: u64,
    /// How many they will be, as far as can be guessed.
    pub total: u64,
    /// Bytes that went to the store.
    pub stored: u64,
}

/// Where events go.
pub type Events<'a> = &'a (dyn Fn(Event<'_>) + Sync);

/// What came of a run.
#[derive(Debug)]
pub struct Made {
    /// Each service, in the order of their names.
    pub services: Vec<ServiceMade>,
    /// What the services of a set have in common.
    pub set: Option<SetThere>,
    /// How long writers were held back, in milliseconds; none when they were not.
    pub pause_ms: Option<u64>,
    /// What is to be said about the run itself.
    pub warnings: Vec<Diagnostic>,
}

/// What came of one service.
#[derive(Debug)]
pub struct ServiceMade {
    /// The service.
    pub service: ServiceName,
    /// Its backup, or why there is none.
    pub outcome: Result<Backup, Diagnostic>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// What all services of a run have in common.
struct Run<'a> {
    request: &'a Request<'a>,
    programs: ClientPrograms,
    lock: RunLock,
    /// The cluster that the lock is of, where it tells.
    cluster: Option<String>,
    /// Threads of each compression.
    threads: u32,
    is_encrypted: bool,
}

/// A service whose database is to be dumped.
struct Subject {
    service: ServiceName,
    database: DatabaseName,
    owner: RoleName,
    /// Whom to act as, where the administrator may not read everything by itself.
    role: Option<RoleName>,
    /// The sizes of the last backup: raw, and in the store.
    last: Option<(u64, u64)>,
    /// When the last one was begun, whole or damaged.
    last_begun: Option<Moment>,
}

impl Subject {
    fn about(&self) -> String {
        format!("service \"{}\"", self.service)
    }
}

/// Makes the backups. A service that fails does not stop the others.
///
/// # Errors
/// Nothing was begun: no session, no lock, no programs, no store, no space, or no common moment.
pub async fn create(request: &Request<'_>, events: Events<'_>) -> Result<Made, Diagnostic> {
    // Before anything else: a key that is none must not be found out after an hour.
    dump::recipients(&request.spec.settings.backup_recipients).map_err(|error| error.diagnostic())?;
    let waiting = |holder: &crate::postgres::Holder| events(Event::WaitingForLock { holder: &holder.to_string() });
    let lock = RunLock::acquire_scope(Scope::Backup, request.connect, "backup", request.lock_timeout, &waiting);
    let lock = Box::pin(lock).await.map_err(|error| error.diagnostic())?;
    let result = Box::pin(create_locked(request, lock, events)).await;
    result.map_err(|diagnostic| *diagnostic)
}

async fn create_locked(request: &Request<'_>, lock: RunLock, events: Events<'_>) -> Result<Made, Box<Diagnostic>> {
    let inventory = inspect_shared(lock.session()).await.map_err(|error| error.diagnostic())?;
    let major = inventory.server.major();
    let programs = ClientPrograms::find(major).await.map_err(|found| tools_diagnostic(major, &found))?;
    let listing = catalog::list(request.store, None).await.map_err(|error| error.diagnostic())?;
    let (subjects, mut services) = subjects(request, &inventory, &listing);
    let threads = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
    let is_encrypted = !request.spec.settings.backup_recipients.is_empty();
    let cluster = uploads::cluster_of(lock.session()).await;
    let run = Run { request, programs, lock, cluster, threads, is_encrypted };
    let mut made = Made { services: Vec::new(), set: None, pause_ms: None, warnings: Vec::new() };
    made.warnings.extend(uploads::sweep(request.store, run.cluster.as_deref()).await);
    let mut openings = Vec::new();
    if request.consistent {
        openings = moment::open(request.connect, &subjects).await?;
    }
    check_space(&run, &subjects, &inventory).await?;
    let mut snapshots: BTreeMap<ServiceName, Snapshot> = BTreeMap::new();
    if request.consistent {
        let random = BackupId::new(crate::clock::now(), std::process::id());
        let taken = moment::take(openings, request.poolers, &random).await?;
        (made.set, made.pause_ms) = (Some(taken.set), taken.pause_ms);
        made.warnings.extend(taken.warning);
        snapshots = taken.snapshots;
    }
    let progress = Watch::default();
    let set = made.set.clone();
    let work = stream::iter(subjects.iter().map(|subject| (subject, snapshots.remove(&subject.service))))
        .map(|(subject, snapshot)| one(&run, subject, snapshot, set.clone(), &progress, events))
        .buffer_unordered(request.parallelism.max(1))
        .collect::<Vec<_>>();
    services.extend(progress.watch(work, events).await);
    services.sort_by(|one, other| one.service.cmp(&other.service));
    made.services = services;
    run.lock.release().await;
    Ok(made)
}

/// Makes one service's backup, and tells.
async fn one(
    run: &Run<'_>,
    subject: &Subject,
    snapshot: Option<Snapshot>,
    set: Option<SetThere>,
    progress: &Watch,
    events: Events<'_>,
) -> ServiceMade {
    let started = Instant::now();
    let outcome = async {
        let snapshot = match snapshot {
            Some(snapshot) => snapshot,
            None => {
                let mut opening = Opening::connect(&connect_to(run.request.connect, subject), subject.role.as_ref()).await?;
                let transactions = opening.take().await?;
                opening.keep(transactions).await?
            }
        };
        let gauge = progress.add(subject.last.map_or(snapshot.database_bytes, |(raw, _)| raw));
        let outcome = dump::make(run, subject, &snapshot, set, &gauge).await;
        snapshot.close().await;
        outcome
    };
    let outcome: Result<Backup, Diagnostic> = Box::pin(outcome).await;
    match &outcome {
        Ok(backup) => events(Event::Done(backup)),
        Err(_) => events(Event::Failed(&subject.service)),
    }
    let outcome = outcome.map_err(|diagnostic| match diagnostic.subject {
        Some(_) => diagnostic,
        None => diagnostic.about(subject.about()),
    });
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    ServiceMade { service: subject.service.clone(), outcome, duration_ms }
}

fn connect_to(connect: &ConnectOptions, subject: &Subject) -> ConnectOptions {
    connect.to_database(&subject.database).for_purpose("backup")
}

/// Finds each service's database. Those that have none fail at once.
fn subjects(request: &Request<'_>, inventory: &Inventory, listing: &Listing) -> (Vec<Subject>, Vec<ServiceMade>) {
    let settings = &request.spec.settings;
    let wanted: Vec<ServiceName> = match request.services {
        [] => request.spec.services.keys().cloned().collect(),
        services => services.iter().cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect(),
    };
    let is_ours = |marker: &pgisle_core::marker::Marker, service: &ServiceName, kind: Kind| {
        marker.kind == kind
            && marker.service.as_ref() == Some(service)
            && marker.same_owner(&settings.name_prefix, settings.environment.as_str())
    };
    let (mut subjects, mut absent) = (Vec::new(), Vec::new());
    for service in wanted {
        let mut databases = inventory.databases.iter();
        let database = databases.find(|(_, one)| one.marker().is_some_and(|marker| is_ours(&marker, &service, Kind::Database)));
        let mut roles = inventory.roles.iter();
        let owner = roles.find(|(_, role)| role.marker().is_some_and(|marker| is_ours(&marker, &service, Kind::Owner)));
        let (Some((database, _)), Some((owner, _))) = (database, owner) else {
            let outcome = Err(absent_diagnostic(&service));
            absent.push(ServiceMade { service, outcome, duration_ms: 0 });
            continue;
        };
        let role = (!inventory.admin.superuser).then(|| owner.clone());
        let last = listing.backups.iter().rev().find(|backup| *backup.service() == service);
        let last = last.map(|backup| (backup.manifest.data.raw_bytes, backup.manifest.data.bytes));
        let there = listing.backups.iter().map(|one| (one.service(), one.id()));
        let there = there.chain(listing.damaged.iter().map(|one| (&one.service, &one.id)));
        let last_begun = there.filter(|(one, _)| **one == service).map(|(_, id)| id.begun()).max();
        subjects.push(Subject { service, database: database.clone(), owner: owner.clone(), role, last, last_begun });
    }
    (subjects, absent)
}

fn absent_diagnostic(service: &ServiceName) -> Diagnostic {
    Diagnostic::error(Code::BACKUP_ABSENT, format!("service \"{service}\" has no database to back up"))
        .about(format!("service \"{service}\""))
        .detail("No database on the server carries pgisle's mark for it, or its owner role is missing.")
        .hint("Make it:")
        .command(format!("pgisle apply -target=service.{service}"))
}

pub(super) fn tools_diagnostic(major: u32, found: &[u32]) -> Box<Diagnostic> {
    let majors: Vec<String> = found.iter().map(u32::to_string).collect();
    let detail =
        if majors.is_empty() { "None was found.".to_owned() } else { format!("Found are those of {}.", majors.join(", ")) };
    Diagnostic::error(Code::BACKUP_TOOLS, format!("there is no pg_dump for a server of PostgreSQL {major}"))
        .detail(detail)
        .hint(format!("Install PostgreSQL's client programs, version {major} or later, or name their folder in PGISLE_PG_BIN."))
        .into()
}

/// Refuses what would fill the disk.
async fn check_space(run: &Run<'_>, subjects: &[Subject], inventory: &Inventory) -> Result<(), Box<Diagnostic>> {
    let Some(free) = run.request.store.free_bytes().await.map_err(|error| error.diagnostic())? else { return Ok(()) };
    let unknown: Vec<&DatabaseName> =
        subjects.iter().filter(|subject| subject.last.is_none()).map(|subject| &subject.database).collect();
    let mut needed = SPACE_MARGIN_BYTES;
    for subject in subjects {
        // A tenth more than last time.
        needed += subject.last.map_or(0, |(_, stored)| stored + stored / 10);
    }
    if !unknown.is_empty() {
        let activity = crate::activity::read(run.lock.session()).await?;
        let sizes = unknown.iter().filter_map(|name| activity.bytes.get(*name).and_then(|bytes| bytes.known()));
        // Indexes are not dumped and rows compress: half of the database is more than any has taken.
        needed += sizes.map(|bytes| bytes / 2).sum::<u64>();
    }
    debug_assert!(!inventory.databases.is_empty(), "a server has databases");
    if needed <= free {
        return Ok(());
    }
    Err(Diagnostic::error(Code::BACKUP_SPACE, "there is not enough space for the backup")
        .detail(format!(
            "The store \"{}\" has {free} bytes left, and about {needed} are needed. Nothing was written.",
            run.request.store.location()
        ))
        .hint("Make room, or remove what is due:")
        .command("pgisle backup prune")
        .into())
}

/// The dumps that are under way.
#[derive(Default)]
pub(super) struct Watch(Mutex<Vec<(Arc<Gauge>, u64)>>);

impl Watch {
    pub(super) fn add(&self, expected: u64) -> Arc<Gauge> {
        let gauge = Arc::<Gauge>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((Arc::clone(&gauge), expected));
        gauge
    }

    fn flow(&self) -> Flow {
        let gauges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut flow = Flow { done: 0, total: 0, stored: 0 };
        for (gauge, expected) in gauges.iter() {
            flow.done += gauge.raw();
            flow.total += (*expected).max(gauge.raw());
            flow.stored += gauge.stored();
        }
        flow
    }

    /// Does the work, and tells again and again how far it is.
    pub(super) async fn watch<T>(&self, work: impl Future<Output = T>, events: Events<'_>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(TICK, &mut work).await {
                Ok(done) => return done,
                Err(_) => events(Event::Flow(self.flow())),
            }
        }
    }
}
