//! `pgisle split finalize`.

use std::time::Duration;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::event::Event;
use pgisle_engine::split::{self, Finalizing, Request};

use super::front::{Front, FrontArgs};
use crate::command::change::{self, Approval, Change, Site};
use crate::progress::Progress;
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
    session.console.show(&human::split::final_intent(&service));
    let approval = if args.auto_approve { Approval::Given } else { Approval::Yes };
    if let Err(refusal) = change::ask(&session.console, &approval) {
        return Ok(Report::failure(refusal));
    }
    let change = Change::default();
    let apply = site.request(&change);
    let front = Front::open(session, &site, &FrontArgs::default()).await?;
    let publish = || front.publish(&site);
    let request =
        Request { apply: &apply, service: &service, poolers: &[], pauses: false, publish: &publish, pause_max: Duration::ZERO };
    let finalizing = Finalizing { keep_days: args.keep_days, drop: args.drop, force: args.force };
    let finalized = {
        let progress = Progress::new(&session.console, "finalizing");
        let events = |event: Event<'_>| progress.event(&event);
        let work = split::finalize(&request, finalizing, &events);
        progress.watch(Box::pin(work)).await.map_err(|error| vec![error.diagnostic()])?
    };
    let members = serde_json::json!({
        "service": service.name, "state": finalized.job.state, "result": finalized.outcome, "aside": finalized.aside,
    });
    Ok(Report::new()
        .human(human::split::finalized(&service, &finalized))
        .member("split", members)
        .diagnostics(finalized.diagnostics)
        .diagnostics(site.project.warnings.iter().cloned()))
}
