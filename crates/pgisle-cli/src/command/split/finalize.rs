//! `pgisle split finalize`.

use std::time::Duration;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::split::{self, Finalizing};

use super::front::{Front, FrontArgs};
use crate::args::address::{self, Address};
use crate::command::change::Site;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// End a split: put the old tables aside, and drop them days later.
///
/// The way back is gone from here on: its slot is dropped, and what the service left in the shared database gets other names and no
/// privileges. Called again after -keep-days, it drops that, unless someone has tried to write to it since or something else depends
/// on it. A split that was rolled back is forgotten: the service's own login and PgBouncer's alias lead to its own database again, so
/// nobody may be in the shared one by them.
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
    /// Have this PgBouncer read its files instead of the one at pgbouncer_host and pgbouncer_port, when a split is forgotten (can be
    /// repeated).
    #[arg(long, value_name = "HOST:PORT", value_parser = address::parse)]
    pooler: Vec<Address>,
    /// Go on although both sides were not found to hold the same, someone still writes to the old tables, or the service is still in the
    /// shared database by its own login.
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
    session.console.show(&human::split::final_intent(&service, shared, &super::job(&site, &service).await?));
    if let Err(refusal) = super::agree(&site, args.auto_approve) {
        return Ok(refusal);
    }
    // Nobody is held off. Only a split that is forgotten changes where the alias leads.
    let front = Front::open(&site, &FrontArgs { pooler: args.pooler.clone(), no_pause: true }).await?;
    let finalizing = Finalizing { keep_days: args.keep_days, drop: args.drop, force: args.force };
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
