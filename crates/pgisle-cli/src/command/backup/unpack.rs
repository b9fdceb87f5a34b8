//! `pgisle backup unpack`.

use std::path::PathBuf;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_engine::backup::cluster;
use pgisle_engine::local::ClientPrograms;

use crate::progress::Progress;
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::{human, json};

/// Make a data directory of a backup of the whole cluster.
///
/// The newest one, or the one that is named, is unpacked into a new or empty folder, and put together with the full one below it when
/// it is incremental. Every file is compared with the list that the server made of it. A server of the same major version can be
/// started on the folder, and comes up with all that was committed when the backup was complete. Needs no server.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle backup unpack /var/lib/postgresql/17/rescued
  $ pgisle backup unpack rescued 20250119T020000Z-3f9a01c7")]
pub(super) struct Args {
    /// The folder, which is new or empty.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The backup's name, or the beginning of it.
    #[arg(value_name = "BACKUP")]
    backup: Option<String>,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let project = Project::load(session).await?;
    let store = project.backups()?;
    let backup = cluster::find(&store, args.backup.as_deref()).await.map_err(|error| vec![error.diagnostic()])?;
    let major = backup.manifest.server_major;
    let programs = ClientPrograms::find(major).await.map_err(|_| {
        let summary = format!("there are no programs of PostgreSQL {major}");
        let missing = Diagnostic::error(Code::CLUSTER_TOOLS, summary).about("cluster");
        vec![missing.hint("Install PostgreSQL of the version that the backup is of, or name its folder in PGISLE_PG_BIN.")]
    })?;
    let progress = Progress::new(&session.console, "unpacking");
    let seen = |done, total| progress.flow(done, total, "");
    let identities = Project::identities();
    let work = cluster::unpack(&store, &backup, &identities, &programs, &args.folder, &seen);
    progress.watch(Box::pin(work)).await.map_err(|error| vec![error.diagnostic()])?;
    Ok(Report::new()
        .human(human::cluster::unpacked(&backup, &args.folder))
        .member("cluster", json::cluster_backup(&backup))
        .member("folder", &args.folder)
        .diagnostics(project.warnings))
}
