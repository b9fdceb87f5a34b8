//! One service's backup: dumped, written, read back, and only then said to be there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use pgisle_core::backup::archive::{self, Archive};
use pgisle_core::backup::{self, BackupId, Compression, DumpFormat, FORMAT, Manifest, SetThere, checksum};
use pgisle_core::diagnostic::{Code, Diagnostic};

use super::pipeline::{Gauge, Pour, PourError, Poured, Script, pour};
use super::snapshot::{Snapshot, difference};
use super::{Run, Subject};
use crate::backup::catalog::{self, Backup, MANIFEST, Proof};
use crate::backup::error::BackupError;
use crate::backup::store::{BackupStore, Key, chain};
use crate::clock;
use crate::credential::Recipients;
use crate::fault;
use crate::process::Leash;

/// Whoever holds a table exclusively for longer is asked about, rather than waited for all night.
const LOCK_WAIT: &str = "--lock-wait-timeout=60s";

/// Between two looks whether the second is over in which the last backup was begun.
pub(in crate::backup) const SECOND_WAIT: Duration = Duration::from_millis(50);

/// Makes the backup of a service whose moment is held.
pub(super) async fn make(
    run: &Run<'_>,
    subject: &Subject,
    snapshot: &Snapshot,
    set: Option<SetThere>,
    gauge: &Arc<Gauge>,
) -> Result<Backup, Diagnostic> {
    // Names tell the order by the second, and which is the newest must not be left to chance.
    while subject.last_begun == Some(clock::now()) {
        tokio::time::sleep(SECOND_WAIT).await;
    }
    let begun = clock::now();
    let id = BackupId::new(begun, random(&subject.about())?);
    let object = object_name(run.request.format, run.is_encrypted);
    let key = catalog::key(&subject.service, &id, object).unwrap_or(Key::ROOT);
    let result = write(run, subject, snapshot, &key, gauge).await;
    let (poured, counted) = match result {
        Ok(done) => done,
        Err(diagnostic) => return Err(*diagnostic),
    };
    fault::stage("backup.written");
    if let Some(differences) = difference(&counted, &poured.content.content) {
        discard(run.request.store, &key).await;
        return Err(Diagnostic::error(Code::BACKUP_DUMP, "the dump is not what the database holds")
            .about(subject.about())
            .detail(format!("{}.", sentence(&differences)))
            .hint("Nothing of it is kept. Should it happen again, look at the server's log and hardware."));
    }
    let manifest = manifest(run, subject, snapshot, set, poured, (id, begun, object));
    let sealed = backup::seal(&manifest).into_bytes();
    let backup = Backup { manifest_sha256: checksum(&sealed), manifest, verified: None };
    publish(run, subject, backup, sealed).await
}

/// Reads the object back, writes the manifest, and writes down that it was read back.
async fn publish(run: &Run<'_>, subject: &Subject, backup: Backup, sealed: Vec<u8>) -> Result<Backup, Diagnostic> {
    let store = run.request.store;
    let data = backup.key(&backup.manifest.data.name).unwrap_or(Key::ROOT);
    let about = |error: BackupError| error.diagnostic().about(subject.about());
    if let Err(error) = backup.data().prove(store, run.request.identities, &|_| {}).await {
        discard(store, &data).await;
        return Err(about(error));
    }
    fault::stage("backup.read_back");
    // Asked of the server: a connection that has just gone may not have been missed.
    if run.lock.confirm().await.is_err() {
        discard(store, &data).await;
        return Err(Diagnostic::error(Code::CONNECT_LOST, "the backup lock was lost")
            .about(subject.about())
            .detail("Another run may be at work, so this backup is not kept."));
    }
    let manifest = backup.key(MANIFEST).unwrap_or(Key::ROOT);
    if let Err(error) = store.put(&manifest, sealed).await {
        discard(store, &data).await;
        return Err(about(error.into()));
    }
    fault::stage("backup.manifest");
    let verified = catalog::record_proof(store, &backup, Proof::Stored).await.map_err(|error| about(error.into()))?;
    fault::stage("backup.verified");
    Ok(Backup { verified: Some(verified), ..backup })
}

/// Best effort: what stays has no manifest, and `prune` removes it.
pub(in crate::backup) async fn discard(store: &BackupStore, key: &Key) {
    let _ = store.delete(key).await;
}

type Written = (Poured<Archive>, Vec<super::snapshot::Counted>);

/// Runs `pg_dump` into the store while the server counts.
async fn write(
    run: &Run<'_>,
    subject: &Subject,
    snapshot: &Snapshot,
    key: &Key,
    gauge: &Arc<Gauge>,
) -> Result<Written, Box<Diagnostic>> {
    let about = |diagnostic: Diagnostic| Box::new(diagnostic.about(subject.about()));
    let store = run.request.store;
    let recipients = recipients(&run.request.spec.settings.backup_recipients).map_err(|error| about(error.diagnostic()))?;
    let writer =
        store.writer(key, snapshot.database_bytes, run.cluster.as_deref()).await.map_err(|error| about(error.diagnostic()))?;
    let (job, leash) = start(run, subject, snapshot, writer, recipients, gauge).map_err(|error| about(pour_diagnostic(&error)))?;
    fault::stage("backup.dumping");
    let pouring = tokio::task::spawn_blocking(move || pour(job, |input, output| archive::rewrite(input, output)));
    // Dropped with this future, so that an interrupted run leaves neither pg_dump nor its output.
    let mut leash = Some(leash);
    let counting = std::pin::pin!(snapshot.count());
    let (poured, counted) = match select(pouring, counting).await {
        Either::Left((poured, counting)) => {
            let poured = flatten(poured);
            // Whether pg_dump has failed is not up to the counting, which may wait for a lock.
            let counted = if poured.is_ok() { Some(counting.await) } else { None };
            (poured, counted)
        }
        Either::Right((counted, pouring)) => {
            if counted.is_err() {
                // The session that holds the moment has failed, so pg_dump will.
                leash = None;
            }
            (flatten(pouring.await), Some(counted))
        }
    };
    drop(leash);
    match (poured, counted) {
        (Ok(poured), Some(Ok(counted))) => Ok((poured, counted)),
        (_, Some(Err(diagnostic))) => {
            discard(store, key).await;
            Err(about(diagnostic))
        }
        (Err(error), _) => Err(about(pour_diagnostic(&error))),
        (Ok(_), None) => Err(about(pour_diagnostic(&PourError::Process(io::ErrorKind::Interrupted.into())))),
    }
}

pub(in crate::backup) fn flatten<T>(poured: Result<Result<T, PourError>, tokio::task::JoinError>) -> Result<T, PourError> {
    poured.unwrap_or_else(|error| Err(PourError::Process(io::Error::other(error))))
}

fn start(
    run: &Run<'_>,
    subject: &Subject,
    snapshot: &Snapshot,
    writer: crate::backup::store::Writer,
    recipients: Option<Recipients>,
    gauge: &Arc<Gauge>,
) -> Result<(Pour, Leashes), PourError> {
    let connect = run.request.connect.to_database(&subject.database).for_purpose("backup");
    let mut program = run.programs.invocation("pg_dump").arguments(["--format=custom", "--compress=0", "--no-password"]);
    // What a subscription connects with is a secret of another server.
    program = program.arguments([LOCK_WAIT, "--no-subscriptions"]).argument(format!("--snapshot={}", snapshot.name));
    if let Some(role) = &subject.role {
        program = program.argument(format!("--role={}", role.as_str()));
    }
    let (dump, output) = connect.lend(program, run.programs.major).stream(None)?;
    let mut leashes = Leashes(vec![dump.leash()]);
    let (compression, script) = match run.request.format {
        DumpFormat::Custom => (Compression::Zstd, None),
        DumpFormat::Plain => {
            let (reader, input) = io::pipe().map_err(PourError::Process)?;
            let program = run.programs.invocation("pg_restore").argument("--file=-");
            let (restore, output) = program.stream(Some(reader))?;
            leashes.0.push(restore.leash());
            (Compression::Gzip, Some(Script { restore, input, output }))
        }
    };
    let gauge = Arc::clone(gauge);
    Ok((Pour { dump, output, script, writer, compression, recipients, threads: run.threads, gauge }, leashes))
}

/// Kills what was started, when dropped.
pub(in crate::backup) struct Leashes(pub(in crate::backup) Vec<Leash>);

fn manifest(
    run: &Run<'_>,
    subject: &Subject,
    snapshot: &Snapshot,
    set: Option<SetThere>,
    poured: Poured<Archive>,
    (id, begun, object): (BackupId, pgisle_core::moment::Moment, &str),
) -> Manifest {
    let settings = &run.request.spec.settings;
    let compression = match run.request.format {
        DumpFormat::Custom => Compression::Zstd,
        DumpFormat::Plain => Compression::Gzip,
    };
    Manifest {
        format: FORMAT,
        id,
        project: settings.name_prefix.clone(),
        environment: settings.environment.to_string(),
        service: subject.service.clone(),
        database: subject.database.clone(),
        owner: subject.owner.clone(),
        begun,
        completed: clock::now(),
        pgisle_version: env!("CARGO_PKG_VERSION").to_owned(),
        server_version: snapshot.server_version.clone(),
        dump_version: poured.content.dump_version.clone(),
        encoding: snapshot.encoding.clone(),
        collation: snapshot.collation.clone(),
        snapshot: snapshot.there.clone(),
        set,
        extensions: snapshot.extensions.clone(),
        dump_format: run.request.format,
        data: poured.object(object, compression, run.is_encrypted),
        content: poured.content.content,
    }
}

fn object_name(format: DumpFormat, is_encrypted: bool) -> &'static str {
    match (format, is_encrypted) {
        (DumpFormat::Custom, false) => "data.pgdump.zst",
        (DumpFormat::Custom, true) => "data.pgdump.zst.age",
        (DumpFormat::Plain, false) => "data.sql.gz",
        (DumpFormat::Plain, true) => "data.sql.gz.age",
    }
}

/// The public keys; none when backups are not encrypted.
pub(in crate::backup) fn recipients(texts: &[String]) -> Result<Option<Recipients>, BackupError> {
    if texts.is_empty() {
        return Ok(None);
    }
    Recipients::parse(texts).map(Some).map_err(|error| match error {
        crate::credential::StoreError::Recipient { position } => BackupError::Recipient { position },
        error => BackupError::KeyUnusable(error),
    })
}

pub(in crate::backup) fn random(about: &str) -> Result<u32, Diagnostic> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| {
        Diagnostic::error(Code::IO, "no random number can be had").about(about).detail(format!("The system says: {error}."))
    })?;
    Ok(u32::from_ne_bytes(bytes))
}

fn pour_diagnostic(error: &PourError) -> Diagnostic {
    let dump = |detail: String| {
        Diagnostic::error(Code::BACKUP_DUMP, "the database could not be dumped")
            .detail(format!("{}.", sentence(&detail)))
            .hint("Nothing of this attempt is kept, and earlier backups are untouched.")
    };
    match error {
        PourError::Store(error) => error.diagnostic(),
        PourError::Program(error) => dump(chain(error)),
        PourError::Content(error) => dump(format!("what pg_dump wrote is not whole: {}", chain(error.as_ref()))),
        PourError::Process(error) => dump(chain(error)),
    }
}

pub(in crate::backup) fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), characters.as_str()))
}
