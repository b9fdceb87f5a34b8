//! Making a backup of the whole cluster: copied, written, read back, and only then said to be there.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgisle_core::backup::base::{self, Base};
use pgisle_core::backup::{self, BackupId, CLUSTER_FORMAT, ClusterManifest, Compression, DatabaseThere, StoredObject, checksum};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::inventory::{Inventory, Readable};
use pgisle_core::marker::Kind;
use pgisle_core::moment::Moment;
use pgisle_core::name::{DatabaseName, ServiceName};
use pgisle_core::spec::Spec;

use super::catalog::{self, ClusterBackup, ClusterListing, folder};
use super::preflight::{Facts, clock, keep_log, let_log_go};
use crate::backup::catalog::{MANIFEST, Proof};
use crate::backup::create::dump::{Leashes, SECOND_WAIT, flatten, random, recipients, sentence};
use crate::backup::create::pipeline::{Gauge, Pour, PourError, Poured, as_it_is, pack, pour};
use crate::backup::create::{Event, Events, SPACE_MARGIN_BYTES, Watch, tools_diagnostic};
use crate::backup::error::BackupError;
use crate::backup::store::{BackupStore, Key, Writer, chain};
use crate::backup::stream::DataReader;
use crate::backup::uploads;
use crate::clock;
use crate::credential::{IdentitySource, Recipients};
use crate::fault;
use crate::local::ClientPrograms;
use crate::postgres::lock::Scope;
use crate::postgres::{ConnectOptions, Holder, RunLock, inspect_shared};
use crate::process::{Invocation, is_program};

/// What `pg_dumpall` ends with.
const GLOBALS_END: &[u8] = b"-- PostgreSQL database cluster dump complete\n--\n";

/// What is asked for.
pub struct ClusterRequest<'a> {
    /// The file.
    pub spec: &'a Spec,
    /// How to reach the maintenance database.
    pub connect: &'a ConnectOptions,
    /// Where the backups go.
    pub store: &'a BackupStore,
    /// The private keys, to look inside what was encrypted.
    pub identities: &'a IdentitySource,
    /// Whether only what has changed since the last one is to be copied.
    pub is_incremental: bool,
    /// How long to wait for the backup lock.
    pub lock_timeout: Duration,
}

/// A backup of the cluster that was made.
#[derive(Debug)]
pub struct ClusterMade {
    /// It.
    pub backup: ClusterBackup,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What is to be said about it.
    pub warnings: Vec<Diagnostic>,
}

/// What a run works with.
struct Run<'a> {
    request: &'a ClusterRequest<'a>,
    lock: RunLock,
    inventory: Inventory,
    facts: Facts,
    programs: ClientPrograms,
    parent: Option<&'a ClusterBackup>,
    recipients: &'a [String],
    threads: u32,
}

/// The objects of a backup, written.
struct Written {
    id: BackupId,
    begun: Moment,
    stopped: Moment,
    base: Poured<Base>,
    backup_manifest: Poured<()>,
    globals: Poured<()>,
}

/// Makes a backup of the whole cluster. Services write on meanwhile.
///
/// # Errors
/// Nothing was begun because something is missing, which is all told at once; or it failed, and nothing of it is kept.
pub async fn create(request: &ClusterRequest<'_>, events: Events<'_>) -> Result<ClusterMade, Vec<Diagnostic>> {
    let started = Instant::now();
    // Before anything else: a key that is none must not be found out after an hour.
    recipients(&request.spec.settings.backup_recipients).map_err(|error| vec![error.diagnostic()])?;
    let waiting = |holder: &Holder| events(Event::WaitingForLock { holder: &holder.to_string() });
    let lock = RunLock::acquire_scope(Scope::Backup, request.connect, "backup", request.lock_timeout, &waiting);
    let lock = Box::pin(lock).await.map_err(|error| vec![error.diagnostic()])?;
    let cluster = uploads::cluster_of(lock.session()).await;
    let mut warnings = uploads::sweep(request.store, cluster.as_deref()).await;
    let backup = Box::pin(create_locked(request, lock, events)).await?;
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if !backup.manifest.has_settings {
        warnings.push(settings_outside());
    }
    Ok(ClusterMade { backup, duration_ms, warnings })
}

fn settings_outside() -> Diagnostic {
    Diagnostic::warning(Code::CLUSTER_OUTSIDE, "the server's settings are not in the backup")
        .about("cluster")
        .detail("postgresql.conf lies outside of the data directory, and only that is copied.")
        .hint("Back its folder up with the machine's other configuration. It is:")
        .command("SHOW config_file;")
}

async fn create_locked(request: &ClusterRequest<'_>, lock: RunLock, events: Events<'_>) -> Result<ClusterBackup, Vec<Diagnostic>> {
    let one = |diagnostic: Diagnostic| vec![diagnostic];
    let inventory = inspect_shared(lock.session()).await.map_err(|error| one(error.diagnostic()))?;
    let facts = Facts::read(lock.session()).await.map_err(one)?;
    let major = inventory.server.major();
    let mut obstacles = facts.obstacles();
    let listing = catalog::list(request.store).await.map_err(|error| one(error.diagnostic()))?;
    let mut parent = None;
    if request.is_incremental {
        match facts.parent(&listing, major) {
            Ok(found) => parent = Some(found),
            Err(diagnostic) => obstacles.push(diagnostic),
        }
    }
    let programs = match ClientPrograms::find(major).await {
        Ok(programs) => Some(programs),
        Err(found) => {
            obstacles.push(*tools_diagnostic(major, &found));
            None
        }
    };
    if let Some(missing) = programs.as_ref().and_then(missing_program) {
        obstacles.push(BackupError::Program { program: missing, major }.diagnostic());
    }
    let (Some(programs), true) = (programs, obstacles.is_empty()) else { return Err(obstacles) };
    let threads = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
    let recipients = request.spec.settings.backup_recipients.as_slice();
    let run = Run { request, lock, inventory, facts, programs, parent, recipients, threads };
    let expected = expect(&run, &listing).await.map_err(one)?;
    let watch = Watch::default();
    let gauge = watch.add(expected);
    let made = watch.watch(Box::pin(make(&run, &listing, &gauge)), events).await;
    run.lock.release().await;
    made.map_err(|diagnostic| one(if diagnostic.subject.is_some() { diagnostic } else { diagnostic.about("cluster") }))
}

fn missing_program(programs: &ClientPrograms) -> Option<&'static str> {
    ["pg_basebackup", "pg_dumpall"].into_iter().find(|name| !is_program(&programs.bin.join(name)))
}

/// Refuses what would fill the disk, and guesses how many bytes will flow.
async fn expect(run: &Run<'_>, listing: &ClusterListing) -> Result<u64, Diagnostic> {
    let activity = crate::activity::read(run.lock.session()).await?;
    let known = activity.bytes.values().filter_map(Readable::known);
    let cluster_bytes: u64 = known.sum();
    let is_alike = |backup: &&ClusterBackup| backup.manifest.parent.is_some() == run.parent.is_some();
    let last = listing.backups.iter().rev().find(is_alike).map(|backup| &backup.manifest.base);
    // A tenth more than last time; for the first, half of the cluster, which is more than has been seen. How much has changed
    // nobody knows before the first incremental one.
    let (raw, stored) = match (last, run.parent) {
        (Some(last), _) => (last.raw_bytes, last.bytes + last.bytes / 10),
        (None, None) => (cluster_bytes, cluster_bytes / 2),
        (None, Some(_)) => (cluster_bytes / 10, 0),
    };
    let store = run.request.store;
    let Some(free) = store.free_bytes().await.map_err(|error| error.diagnostic())? else { return Ok(raw) };
    let needed = stored + SPACE_MARGIN_BYTES;
    if needed <= free {
        return Ok(raw);
    }
    Err(Diagnostic::error(Code::BACKUP_SPACE, "there is not enough space for the backup")
        .about("cluster")
        .detail(format!(
            "The store \"{}\" has {free} bytes left, and about {needed} are needed. Nothing was written.",
            store.location()
        ))
        .hint("Make room, or remove what is due:")
        .command("pgisle backup prune"))
}

/// Writes all, and takes away again what was written when it comes to nothing.
async fn make(run: &Run<'_>, listing: &ClusterListing, gauge: &Arc<Gauge>) -> Result<ClusterBackup, Diagnostic> {
    // Names tell the order by the second, and what an incremental one stands on must be the older.
    let last = listing.last_begun();
    while last == Some(clock::now()) {
        tokio::time::sleep(SECOND_WAIT).await;
    }
    let begun = clock::now();
    if run.parent.is_some() && last.is_some_and(|last| last > begun) {
        return Err(Diagnostic::error(Code::CLUSTER_INCREMENTAL, "the last backup is of a later time than it is now")
            .detail("This machine's clock went back, so that an incremental backup would come before what it stands on.")
            .hint("Set the clock, or make a full one:")
            .command("pgisle backup create -cluster"));
    }
    let id = BackupId::new(begun, random("cluster")?);
    let result = match Box::pin(write(run, &id, begun, gauge)).await {
        Ok(written) => Box::pin(publish(run, written)).await,
        Err(diagnostic) => Err(*diagnostic),
    };
    let backup = match result {
        Ok(backup) => backup,
        Err(diagnostic) => {
            discard(run.request.store, &id).await;
            return Err(diagnostic);
        }
    };
    // From here on it is a backup, proved or not.
    fault::stage("cluster.manifest");
    let verified = catalog::record_proof(run.request.store, &backup, Proof::Stored).await.map_err(|error| error.diagnostic())?;
    fault::stage("cluster.verified");
    Ok(ClusterBackup { verified: Some(verified), ..backup })
}

/// Best effort: what stays has no manifest, and `prune` removes it.
async fn discard(store: &BackupStore, id: &BackupId) {
    for listed in store.list(&folder(id)).await.unwrap_or_default() {
        let _ = store.delete(&listed.key).await;
    }
}

async fn write(run: &Run<'_>, id: &BackupId, begun: Moment, gauge: &Arc<Gauge>) -> Result<Written, Box<Diagnostic>> {
    // First what takes no time, so that what would fail does so at once.
    let globals = write_globals(run, id).await?;
    fault::stage("cluster.globals");
    let keeper = keep_log(run.lock.session(), id).await;
    let base = write_base(run, id, gauge).await?;
    fault::stage("cluster.base");
    if let Some(name) = keeper {
        let_log_go(run.lock.session(), &name).await;
    }
    let stopped = Moment::from_unix_s(clock(run.lock.session()).await?);
    check_identity(run, &base.content)?;
    let writer = writer(run, id, BACKUP_MANIFEST, base.content.manifest.len() as u64).await?;
    let (bytes, recipients, threads) = (base.content.manifest.clone(), keys(run)?, run.threads);
    let packing = tokio::task::spawn_blocking(move || pack(bytes, writer, recipients, threads)).await;
    let backup_manifest = flatten(packing).map_err(|error| pour_diagnostic("pg_basebackup", &error))?;
    fault::stage("cluster.list");
    Ok(Written { id: id.clone(), begun, stopped, base, backup_manifest, globals })
}

const BASE: &str = "base.tar";
const BACKUP_MANIFEST: &str = "backup_manifest";
const GLOBALS: &str = "globals.sql";

fn object_name(run: &Run<'_>, stem: &str) -> String {
    format!("{stem}.zst{}", if run.recipients.is_empty() { "" } else { ".age" })
}

fn keys(run: &Run<'_>) -> Result<Option<Recipients>, Box<Diagnostic>> {
    recipients(run.recipients).map_err(|error| error.diagnostic().into())
}

async fn writer(run: &Run<'_>, id: &BackupId, stem: &str, expected: u64) -> Result<Writer, Box<Diagnostic>> {
    let key = catalog::key(id, &object_name(run, stem)).unwrap_or(Key::ROOT);
    run.request.store.writer(&key, expected, Some(&run.facts.system_identifier)).await.map_err(|error| error.diagnostic().into())
}

async fn write_globals(run: &Run<'_>, id: &BackupId) -> Result<Poured<()>, Box<Diagnostic>> {
    let writer = writer(run, id, GLOBALS, 0).await?;
    let mut program = run.programs.invocation("pg_dumpall").arguments(["--globals-only", "--no-password"]);
    if !run.facts.is_superuser {
        program = program.argument("--no-role-passwords");
    }
    stream(run, program, None, writer, &Arc::default(), whole_script).await
}

async fn write_base(run: &Run<'_>, id: &BackupId, gauge: &Arc<Gauge>) -> Result<Poured<Base>, Box<Diagnostic>> {
    let writer = writer(run, id, BASE, gauge.raw()).await?;
    let program = run.programs.invocation("pg_basebackup").arguments(["--format=tar", "--pgdata=-", "--wal-method=fetch"]);
    let program = program.arguments(["--manifest-checksums=SHA256", "--checkpoint=fast", "--no-password"]);
    let program = program.argument(format!("--label=pgisle {id}"));
    let Some(parent) = run.parent else { return stream(run, program, None, writer, gauge, |input| base::read(input)).await };
    // The list flows from the store into the program: no file of it is left anywhere.
    let reader = parent.object(&parent.manifest.backup_manifest).open(run.request.store, run.request.identities).await;
    let reader = reader.map_err(|error| error.diagnostic())?;
    let program = program.argument("--incremental=/dev/stdin");
    stream(run, program, Some(reader), writer, gauge, |input| base::read(input)).await
}

/// Runs a program into the store.
async fn stream<T: Send + 'static, E: std::error::Error + Send + Sync + 'static>(
    run: &Run<'_>,
    program: Invocation,
    input: Option<DataReader>,
    writer: Writer,
    gauge: &Arc<Gauge>,
    parse: fn(&mut dyn Read) -> Result<T, E>,
) -> Result<Poured<T>, Box<Diagnostic>> {
    let name = program.name();
    let failed = |error: PourError| Box::new(pour_diagnostic(&name, &error));
    let recipients = keys(run)?;
    let (reader, feeder) = match input {
        None => (None, None),
        Some(input) => {
            let (reader, feeder) = feed(input).map_err(|error| failed(PourError::Process(error)))?;
            (Some(reader), Some(feeder))
        }
    };
    let connect = run.request.connect.for_purpose("backup");
    let (dump, output) =
        connect.lend(program, run.programs.major).stream(reader).map_err(|error| failed(PourError::Program(error)))?;
    // Dropped with this future, so that an interrupted run leaves neither the program nor its output.
    let leash = Leashes(vec![dump.leash()]);
    fault::stage("cluster.copying");
    let gauge = Arc::clone(gauge);
    let job = Pour { dump, output, script: None, writer, compression: Compression::Zstd, recipients, threads: run.threads, gauge };
    let poured = flatten(tokio::task::spawn_blocking(move || pour(job, as_it_is(parse))).await);
    drop(leash);
    let fed = match feeder {
        // It has ended: the program that it feeds has.
        Some(feeder) => tokio::task::spawn_blocking(move || feeder.join()).await.ok().and_then(Result::ok).unwrap_or(Ok(())),
        None => Ok(()),
    };
    let poured = poured.map_err(failed)?;
    fed.map_err(|error| failed(PourError::Process(error)))?;
    Ok(poured)
}

type Feeder = std::thread::JoinHandle<io::Result<()>>;

/// Lets data flow into a pipe. That it is what was stored is known at its end.
fn feed(mut input: DataReader) -> io::Result<(io::PipeReader, Feeder)> {
    let (reader, mut writer) = io::pipe()?;
    let work = move || io::copy(&mut input, &mut writer).map(drop);
    let feeder = std::thread::Builder::new().name("backup-parent".into()).spawn(work)?;
    Ok((reader, feeder))
}

/// That a script of `pg_dumpall` is whole.
fn whole_script(input: &mut dyn Read) -> io::Result<()> {
    let mut tail = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                tail.extend_from_slice(&buffer[..count]);
                let surplus = tail.len().saturating_sub(1 << 10);
                tail.drain(..surplus);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let is_whole = tail.windows(GLOBALS_END.len()).any(|window| window == GLOBALS_END);
    if is_whole { Ok(()) } else { Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the script ends too early")) }
}

/// What came must be of this cluster, and stand on what was named.
fn check_identity(run: &Run<'_>, base: &Base) -> Result<(), Box<Diagnostic>> {
    let since = run.parent.map(|parent| parent.manifest.start_lsn);
    let is_ours = base.system_identifier.to_string() == run.facts.system_identifier;
    if is_ours && base.since == since {
        return Ok(());
    }
    let what = if is_ours { "it holds the changes since another backup" } else { "it is of another cluster" };
    Err(copy_failed(&format!("what pg_basebackup wrote is not what was asked for: {what}")).into())
}

fn manifest(run: &Run<'_>, written: Written) -> ClusterManifest {
    let Written { id, begun, stopped, base, backup_manifest, globals } = written;
    let settings = &run.request.spec.settings;
    let is_encrypted = !run.recipients.is_empty();
    let object = |stem: &str, poured: &dyn Fn(&str) -> StoredObject| poured(&object_name(run, stem));
    let server = &run.inventory.server;
    ClusterManifest {
        format: CLUSTER_FORMAT,
        id,
        project: settings.name_prefix.clone(),
        environment: settings.environment.to_string(),
        parent: run.parent.map(|parent| parent.id().clone()),
        begun,
        completed: clock::now(),
        stopped,
        pgisle_version: env!("CARGO_PKG_VERSION").to_owned(),
        server_version: server.version.clone(),
        server_major: server.major(),
        program_version: run.programs.version.clone(),
        system_identifier: run.facts.system_identifier.clone(),
        timeline: base.content.span.timeline,
        checkpoint_lsn: base.content.checkpoint,
        start_lsn: base.content.span.start,
        stop_lsn: base.content.span.stop,
        wal_segment_bytes: run.facts.wal_segment_bytes,
        has_page_checksums: run.facts.has_page_checksums,
        databases: databases(run),
        files: base.content.files,
        has_settings: base.content.has_settings,
        has_role_passwords: run.facts.is_superuser,
        base: object(BASE, &|name| base.object(name, Compression::Zstd, is_encrypted)),
        backup_manifest: object(BACKUP_MANIFEST, &|name| backup_manifest.object(name, Compression::Zstd, is_encrypted)),
        globals: object(GLOBALS, &|name| globals.object(name, Compression::Zstd, is_encrypted)),
    }
}

fn databases(run: &Run<'_>) -> Vec<DatabaseThere> {
    let service = |name: &DatabaseName| -> Option<ServiceName> {
        let settings = &run.request.spec.settings;
        let marker = run.inventory.databases.get(name)?.marker()?;
        let is_ours = marker.kind == Kind::Database && marker.same_owner(&settings.name_prefix, settings.environment.as_str());
        marker.service.filter(|_| is_ours)
    };
    let databases = run.facts.databases.iter();
    databases.map(|(name, oid)| DatabaseThere { name: name.clone(), oid: *oid, service: service(name) }).collect()
}

/// Reads the objects back, and writes the manifest.
async fn publish(run: &Run<'_>, written: Written) -> Result<ClusterBackup, Diagnostic> {
    let store = run.request.store;
    let manifest = manifest(run, written);
    let sealed = backup::seal(&manifest).into_bytes();
    let backup = ClusterBackup { manifest_sha256: checksum(&sealed), manifest, verified: None };
    for stored in backup.manifest.objects() {
        let proved = backup.object(stored).prove(store, run.request.identities, &|_| {}).await;
        proved.map_err(|error| error.diagnostic())?;
    }
    fault::stage("cluster.read_back");
    // Asked of the server: a connection that has just gone may not have been missed.
    if run.lock.confirm().await.is_err() {
        return Err(Diagnostic::error(Code::CONNECT_LOST, "the backup lock was lost")
            .detail("Another run may be at work, so this backup is not kept."));
    }
    let key = backup.key(MANIFEST).unwrap_or(Key::ROOT);
    store.put(&key, sealed).await.map_err(|error| error.diagnostic())?;
    Ok(backup)
}

fn copy_failed(detail: &str) -> Diagnostic {
    Diagnostic::error(Code::CLUSTER_COPY, "the cluster could not be copied")
        .detail(format!("{}.", sentence(detail)))
        .hint("Nothing of this attempt is kept, and earlier backups are untouched.")
}

fn pour_diagnostic(program: &str, error: &PourError) -> Diagnostic {
    match error {
        PourError::Store(error) => error.diagnostic(),
        PourError::Program(error) => program_diagnostic(&chain(error)),
        PourError::Content(error) => copy_failed(&format!("what {program} wrote is not whole: {}", chain(error.as_ref()))),
        PourError::Process(error) => copy_failed(&chain(error)),
    }
}

/// What the servers say most often, and what helps then.
fn program_diagnostic(said: &str) -> Diagnostic {
    let failed = copy_failed(said);
    if said.contains("pg_hba.conf") {
        return Diagnostic { code: Code::CLUSTER_SETTINGS, ..failed }
            .hint("pg_hba.conf must let the administrator log in to `replication`, which `all` does not mean; then reload it. Such a line is:")
            .command("host replication ADMINISTRATOR ADDRESS/32 scram-sha-256");
    }
    if said.contains("requested WAL segment")
        || said.contains("could not find any WAL file")
        || said.contains("could not find WAL file")
    {
        return failed
            .hint("The server had no replication slot to spare, and removed write-ahead log while it was being copied. Raise max_replication_slots, or have it keep more:")
            .command("ALTER SYSTEM SET wal_keep_size = '4GB'; SELECT pg_reload_conf();");
    }
    if said.contains("checksum") {
        return failed.hint(
            "A page of the data is damaged on the server's disk; the message and the server's log name the file. Earlier backups have it as it was.",
        );
    }
    if said.contains("summar") || said.contains("manifest") {
        return Diagnostic { code: Code::CLUSTER_INCREMENTAL, ..failed }
            .hint(
                "The server does not know all that was written since the last backup, or its history is another. Make a full one:",
            )
            .command("pgisle backup create -cluster");
    }
    failed
}
