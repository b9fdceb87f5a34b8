//! `pgisle split rollback`.

use std::time::Duration;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::split;

use super::front::{Front, FrontArgs};
use crate::command::change::Site;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Go back to the shared database.
///
/// Before the cutover it takes away what was made for the split. Behind it, until `finalize`, it brings what the service has written
/// to its new home back into the old tables, and moves the home back in one commit: by the slot that kept it, or, where
/// there is none, by copying all rows back when anything has changed. Foreign keys that the cutover dropped are made again.
///
/// Killed at any point, the same command goes on.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle split rollback users")]
pub(super) struct Args {
    /// The service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// How long writers may be held off before the attempt is given up.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = pgisle_core::duration::parse)]
    pause: Duration,
    #[command(flatten)]
    front: FrontArgs,
    /// Copy all rows back although both sides were found to differ and no replication slot has kept the changes.
    #[arg(long)]
    force: bool,
    /// Do not ask.
    #[arg(long)]
    auto_approve: bool,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let site = Site::open(session).await?;
    let service = super::service(&site, &args.service)?;
    let shared = &site.project.spec.settings.postgres_database;
    session.console.show(&human::split::return_intent(&service, shared, &super::job(&site, &service).await?));
    if let Err(refusal) = super::agree(&site, args.auto_approve) {
        return Ok(refusal);
    }
    let front = Front::open(&site, &args.front).await?;
    let work = front.work(&site, &service, args.pause, "rolling back", async |request, events| {
        split::rollback(request, args.force, events).await
    });
    let back = work.await?;
    let members = serde_json::json!({
        "service": service.name, "home": shared, "state": back.job.state, "brought": back.brought,
        "pause_ms": back.pause.map(human::restore::milliseconds), "left": back.left,
    });
    Ok(Report::new()
        .human(human::split::rolled_back(&service, shared, &back))
        .member("split", members)
        .diagnostics(back.diagnostics)
        .diagnostics(front.without_pause(&site).filter(|_| back.pause.is_some()))
        .diagnostics(site.project.warnings.iter().cloned()))
}
