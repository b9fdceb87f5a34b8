//! `pgisle backup`.

mod archive_wal;
mod cluster;
mod create;
mod drill;
mod fetch_wal;
mod list;
mod prune;
mod unpack;
mod verify;
mod verify_cluster;
mod wal_setup;

use std::path::{Path, PathBuf};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;
use pgisle_core::spec::Settings;
use pgisle_engine::backup::report::{self, Status};
use pgisle_engine::backup::{BackupStore, catalog};

use crate::report::Report;
use crate::session::Session;

/// Make backups, list them, prove them and prune them.
///
/// A backup is one service's database at one moment, with a manifest that says what is in it to the last row. It is read back as
/// soon as it is written, and only what was found whole is listed. backup_storage_path says where backups are kept: a folder, or a
/// bucket of a service that speaks S3.
///
/// A backup of the whole cluster (-cluster) is its data directory: every service, every role. It comes back with `unpack`, all of it
/// at once.
///
/// A backup that was never restored is a hope: drill restores the newest one of each service beside the live database, compares
/// every row with what was backed up, and drops it again.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle backup create
  $ pgisle backup list
  $ pgisle backup verify -all
  $ pgisle backup drill
  $ pgisle backup create -cluster
  $ pgisle backup prune -n")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    Create(create::Args),
    List(list::Args),
    Verify(verify::Args),
    Drill(drill::Args),
    Prune(prune::Args),
    Unpack(unpack::Args),
    WalSetup(wal_setup::Args),
    ArchiveWal(archive_wal::Args),
    FetchWal(fetch_wal::Args),
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    match &args.action {
        Action::Create(args) => create::run(session, args).await,
        Action::List(args) => list::run(session, args).await,
        Action::Verify(args) => verify::run(session, args).await,
        Action::Drill(args) => drill::run(session, args).await,
        Action::Prune(args) => prune::run(session, args).await,
        Action::Unpack(args) => unpack::run(session, args).await,
        Action::WalSetup(args) => wal_setup::run(session, args).await,
        Action::ArchiveWal(args) => archive_wal::run(session, args).await,
        Action::FetchWal(args) => fetch_wal::run(session, args).await,
    }
}

/// Reads what `-service` was given.
fn services(words: &[String]) -> Result<Vec<ServiceName>, Vec<Diagnostic>> {
    let parsed: Vec<_> = words.iter().map(|word| (word, ServiceName::parse(word))).collect();
    let wrong = parsed.iter().filter_map(|(word, result)| Some((word, result.as_ref().err()?)));
    let wrong: Vec<Diagnostic> = wrong
        .map(|(word, error)| {
            Diagnostic::error(Code::USAGE, format!("-service cannot be \"{}\"", word.escape_debug())).detail(format!("{error}."))
        })
        .collect();
    if wrong.is_empty() { Ok(parsed.into_iter().filter_map(|(_, result)| result.ok()).collect()) } else { Err(wrong) }
}

/// Writes down what a run came to, for those who were not there.
async fn publish(store: &BackupStore, settings: &Settings, status: &Status, metrics: Option<&PathBuf>) -> Vec<Diagnostic> {
    let mut warnings = report::publish(store, settings, status).await;
    if let Some(path) = metrics {
        warnings.extend(write_metrics(store, settings, status, path).await.err());
    }
    warnings
}

async fn write_metrics(store: &BackupStore, settings: &Settings, status: &Status, path: &Path) -> Result<(), Diagnostic> {
    let listing = catalog::list(store, None).await.map_err(|error| error.diagnostic())?;
    let cluster = pgisle_engine::backup::cluster::list(store).await.map_err(|error| error.diagnostic())?;
    let recovered = pgisle_engine::backup::recover::proofs(store).await.map_err(|error| error.diagnostic())?;
    report::write_metrics(path, &report::metrics(settings, &listing, &cluster, &recovered, Some(status)))
}
