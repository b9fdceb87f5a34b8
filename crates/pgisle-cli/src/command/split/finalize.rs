//! `pgisle split finalize`.

use std::time::Duration;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::split::{self, Finalizing};

use super::front::Front;
use crate::command::change::Site;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// End a split: put the old tables aside, and drop them days later.
///
/// The way back is gone from here on: its slot is dropped, and what the service left in the shared database gets other names and no
/// privileges. Called again after -keep-days, it drops that, unless someone has tried to write to it since or something else depends
/// on it. A split that was rolled back is forgotten.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle split finalize users
  $ pgisle split finalize users -drop       # at once, without waiting")]
pub(super) struct Args {
    /// The service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// For how many days what was put aside is kept.
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    keep_days: u32,
    /// Drop what was put aside now.
    #[arg(long)]
    drop: bool,
    /// Go on although both sides were not found to hold the same, or someone still writes to the old tables.
    #[arg(long)]
    force: bool,
    /// Do not ask.
    #[arg(long)]
    auto_approve: bool,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let site = Site::open(session).await?;
    let service = super::service(&site, &args.service)?;
    session.console.show(&human::split::final_intent(&service, &super::job(&site, &service).await?));
    if let Err(refusal) = super::agree(&site, args.auto_approve) {
        return Ok(refusal);
    }
    let front = Front::files(&site).await?;
    let finalizing = Finalizing { keep_days: args.keep_days, drop: args.drop, force: args.force };
    // Nobody is held off.
    let work = front.work(&site, &service, Duration::ZERO, "finalizing", async |request, events| {
        split::finalize(request, finalizing, events).await
    });
    let finalized = work.await?;
    let members = serde_json::json!({
        "service": service.name, "state": finalized.job.state, "result": finalized.outcome, "aside": finalized.aside,
    });
    Ok(Report::new()
        .human(human::split::finalized(&service, &finalized))
        .member("split", members)
        .diagnostics(finalized.diagnostics)
        .diagnostics(site.project.warnings.iter().cloned()))
}
