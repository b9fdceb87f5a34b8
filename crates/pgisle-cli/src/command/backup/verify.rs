//! `pgisle backup verify`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pgisle_core::backup::BackupId;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;
use pgisle_engine::backup::catalog::{self, Backup, Listing};
use pgisle_engine::backup::report::Status;
use pgisle_engine::backup::verify::{self, Depth};
use pgisle_engine::backup::{BackupError, BackupStore};
use pgisle_engine::clock;
use serde_json::json;

use super::verify_cluster;
use crate::progress::Progress;
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Prove backups by reading them back.
///
/// Reads every byte of the newest backup of each service, or of the one that is named, or of all, decrypts and decompresses it, and
/// compares it with its manifest. A changed byte, an object that is missing or cut, and a manifest that belongs elsewhere are
/// told. Only backups that were proved count for retention. Needs no server. Exits with 1 when a backup is damaged.
///
/// An encrypted backup is decrypted when the private key is at hand; without it, it is what was written, to the last byte, and more
/// cannot be said.
///
/// The newest backup of the whole cluster, with those that it stands on, is read back with them, or alone with -cluster. With -deep it is unpacked into a temporary
/// folder, too, with all that it stands on, and pg_verifybackup goes through every file and the write-ahead log.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle backup verify
  $ pgisle backup verify -all
  $ pgisle backup verify 20250119T020000Z-3f9a01c7
  $ pgisle backup verify -service=users -all -json
  $ pgisle backup verify -cluster -deep")]
pub(super) struct Args {
    /// The backup's name, or the beginning of it.
    #[arg(value_name = "BACKUP", conflicts_with = "all")]
    pub(super) backup: Option<String>,
    /// Read all of them.
    #[arg(long)]
    pub(super) all: bool,
    /// Read this service's only (can be repeated).
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Read the whole cluster's only.
    #[arg(long, conflicts_with = "service")]
    cluster: bool,
    /// Unpack the whole cluster's, and check what comes out.
    #[arg(long, conflicts_with = "service")]
    deep: bool,
    /// Write metrics for node_exporter's textfile collector.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let project = Project::load(session).await?;
    let services = super::services(&args.service)?;
    let store = project.backups()?;
    let begun = clock::now();
    let (chosen, damaged) = choose(&store, &services, args).await?;
    let cluster = verify_cluster::choose(&store, services.is_empty(), args).await?;
    if chosen.is_empty() && damaged.is_empty() && cluster.is_none() {
        return Err(vec![nothing(args)]);
    }
    let mut failures: Vec<(ServiceName, Diagnostic)> = damaged;
    let progress = Progress::new(&session.console, "reading back");
    let proved = progress.watch(Box::pin(read_all(&store, &chosen, &progress, &mut failures))).await;
    let cluster = progress.watch(Box::pin(verify_cluster::read(&store, cluster, args.deep, &progress))).await;
    let mut status = Status::of_failures("verify", begun, &failures);
    if !cluster.failures.is_empty() {
        status.fail_cluster(&cluster.failures);
    }
    let warnings = super::publish(&store, &project.spec.settings, &status, args.metrics.as_ref()).await;
    let depths = proved.iter().map(|(backup, depth)| {
        json!({ "service": backup.service(), "id": backup.id(), "bytes": backup.manifest.data.bytes, "read": word(*depth) })
    });
    let (of_services, of_cluster) = (human::backup::proved(&proved), human::cluster::proved(&cluster.proved));
    let gap = if of_services.is_empty() || of_cluster.is_empty() { "" } else { "\n" };
    Ok(Report::new()
        .human(of_services)
        .human(gap)
        .human(of_cluster)
        .member("proved", depths.collect::<Vec<_>>())
        .member("cluster", cluster.json())
        .diagnostics(failures.into_iter().map(|(_, diagnostic)| diagnostic))
        .diagnostics(cluster.failures)
        .diagnostics(cluster.warnings)
        .diagnostics(warnings)
        .diagnostics(project.warnings))
}

/// How deep it was, for machines.
pub(super) fn word(depth: Depth) -> &'static str {
    match depth {
        Depth::Decoded => "decoded",
        Depth::Stored => "stored",
    }
}

impl Args {
    /// Whether the backup of this name is meant.
    pub(super) fn fits(&self, id: &BackupId) -> bool {
        self.backup.as_ref().is_none_or(|wanted| !wanted.is_empty() && id.as_str().starts_with(wanted.as_str()))
    }
}

type Chosen = (Vec<Backup>, Vec<(ServiceName, Diagnostic)>);

async fn choose(store: &BackupStore, services: &[ServiceName], args: &Args) -> Result<Chosen, Vec<Diagnostic>> {
    if args.cluster {
        return Ok((Vec::new(), Vec::new()));
    }
    let listing = catalog::list(store, None).await.map_err(|error| vec![error.diagnostic()])?;
    let Listing { backups, damaged, leftovers: _ } = super::list::only(listing, services);
    let damaged: Vec<_> = damaged
        .into_iter()
        .filter(|damage| args.fits(&damage.id))
        .map(|damage| (damage.service.clone(), BackupError::from(damage).diagnostic()))
        .collect();
    let mut chosen: Vec<Backup> = backups.into_iter().filter(|backup| args.fits(backup.id())).collect();
    if args.backup.is_none() && !args.all {
        // They come oldest first.
        let newest: BTreeMap<ServiceName, Backup> = chosen.into_iter().map(|backup| (backup.service().clone(), backup)).collect();
        chosen = newest.into_values().collect();
    }
    Ok((chosen, damaged))
}

fn nothing(args: &Args) -> Diagnostic {
    let summary = match &args.backup {
        Some(wanted) => format!("there is no backup \"{}\"", wanted.escape_debug()),
        None => "there is no backup to read back".to_owned(),
    };
    Diagnostic::error(Code::BACKUP_NONE, summary).hint("See what is there:").command("pgisle backup list")
}

/// Reads one after the other: two at once would only make a disk seek.
async fn read_all(
    store: &BackupStore,
    chosen: &[Backup],
    progress: &Progress<'_>,
    failures: &mut Vec<(ServiceName, Diagnostic)>,
) -> Vec<(Backup, Depth)> {
    let total = chosen.iter().map(|backup| backup.manifest.data.bytes).sum();
    let (mut proved, mut before) = (Vec::new(), 0);
    for backup in chosen {
        let seen = |bytes| progress.flow(before + bytes, total, &format!("service {}", backup.service()));
        match verify::verify(store, backup, &Project::identities(), &seen).await {
            Ok(depth) => proved.push((backup.clone(), depth)),
            Err(error) => failures.push((backup.service().clone(), error.diagnostic())),
        }
        before += backup.manifest.data.bytes;
    }
    proved
}
