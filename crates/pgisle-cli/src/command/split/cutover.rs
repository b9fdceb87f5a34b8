//! `pgisle split cutover`.

use std::time::Duration;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::spec::Service;
use pgisle_engine::split;

use super::front::{Front, FrontArgs};
use crate::command::change::Site;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Move a service's home into its own database.
///
/// Holds off those who write to the tables that move, applies the last changes, sets the sequences, and moves the home in one
/// commit. From then on the old tables take no writes, and whoever tries gets an error that says where they are. While the service
/// writes again, the whole content of both sides is compared, as it was in the pause: the receipt.
///
/// With the strategy `clone`, everyone is asked to leave the shared database, whatever service they are of, and waits for as long as
/// its files are copied; a rehearsal does that, too.
///
/// With -rehearse all of it is done but the switch, and the pause is measured. Killed at any point, the same command goes
/// on, or `pgisle split rollback` goes back.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle split cutover users -rehearse
  $ pgisle split cutover users -pause=500ms")]
pub(super) struct Args {
    /// The service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Do everything but the switch, and measure the pause.
    #[arg(long)]
    rehearse: bool,
    /// How long writers may be held off before the attempt is given up.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = pgisle_core::duration::parse)]
    pause: Duration,
    #[command(flatten)]
    front: FrontArgs,
    /// Do not ask.
    #[arg(long)]
    auto_approve: bool,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let site = Site::open(session).await?;
    let service = super::service(&site, &args.service)?;
    if args.rehearse {
        return rehearse(&site, &service, args).await;
    }
    let shared = &site.project.spec.settings.postgres_database;
    let job = super::job(&site, &service).await?;
    session.console.show(&human::split::intent(&service, shared, &job));
    if let Err(refusal) = super::agree(&site, args.auto_approve) {
        return Ok(refusal);
    }
    let front = Front::open(&site, &args.front).await?;
    let cut = front.work(&site, &service, args.pause, "cutting over", split::cutover).await?;
    let members = serde_json::json!({
        "service": service.name, "database": service.database, "strategy": cut.job.strategy, "state": cut.job.state,
        "pause_ms": cut.pause.map(human::restore::milliseconds),
    });
    Ok(Report::new()
        .human(human::split::cut(&service, &cut))
        .member("split", members)
        .member("receipt", &cut.receipt)
        .diagnostics(cut.diagnostics)
        .diagnostics(front.without_pause(&site))
        .diagnostics(site.project.warnings))
}

async fn rehearse(site: &Site<'_>, service: &Service, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let front = Front::open(site, &args.front).await?;
    let rehearsed = front.work(site, service, args.pause, "rehearsing", split::rehearse).await?;
    let pause_ms = human::restore::milliseconds(rehearsed.pause);
    let members = serde_json::json!({ "service": service.name, "strategy": rehearsed.job.strategy, "pause_ms": pause_ms });
    Ok(Report::new()
        .human(human::split::rehearsed(service, &rehearsed))
        .member("rehearsed", members)
        .diagnostics(site.project.warnings.iter().cloned()))
}
