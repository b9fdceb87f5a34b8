//! `pgisle backup prune`.

use std::path::PathBuf;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::backup::create::Event;
use pgisle_engine::backup::prune;
use pgisle_engine::backup::report::Status;
use pgisle_engine::clock;

use crate::progress::Progress;
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Take away backups that are no longer to be kept.
///
/// Backups older than backup_retention_days go, but of each service the newest backup_minimum_count that were proved always stay,
/// however old they are and whatever the clock says. What an interrupted run left goes when it is a day old, and the parts of
/// its uploads to S3 at once. Damaged backups stay, for someone to look at. The same holds for the whole cluster's backups; a full one stays as long as an incremental one that is
/// kept stands on it.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle backup prune -n      # only looks; needs no server
  $ pgisle backup prune
  $ pgisle backup create && pgisle backup prune")]
pub(super) struct Args {
    /// Only say what would go.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Of this service only (can be repeated).
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Write metrics for node_exporter's textfile collector.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let mut project = Project::load(session).await?;
    let services = super::services(&args.service)?;
    let store = project.backups()?;
    if args.dry_run {
        let retention = prune::retention(&project.spec.settings);
        let due = prune::due(&store, retention, &services, clock::now()).await.map_err(|error| vec![error.diagnostic()])?;
        return Ok(Report::new()
            .human(human::backup::due(&due, true))
            .member("dry_run", true)
            .member("due", &due)
            .diagnostics(project.warnings));
    }
    let connect = project.connect_options()?;
    let progress = Progress::new(&session.console, "pruning");
    let events = |event: Event<'_>| progress.backup(&event);
    let settings = &project.spec.settings;
    let begun = clock::now();
    let work = prune::prune(&store, &connect, settings, &services, session.global.lock_timeout, &events);
    let pruned = progress.watch(Box::pin(work)).await;
    let mut status = Status::of_failures("prune", begun, &[]);
    if let Err(diagnostic) = &pruned {
        status.fail(diagnostic);
    }
    let warnings = super::publish(&store, settings, &status, args.metrics.as_ref()).await;
    let due = pruned.map_err(|diagnostic| [vec![diagnostic], warnings.clone()].concat())?;
    Ok(Report::new()
        .human(human::backup::due(&due, false))
        .member("dry_run", false)
        .member("due", &due)
        .diagnostics(due.warnings)
        .diagnostics(warnings)
        .diagnostics(project.warnings))
}
