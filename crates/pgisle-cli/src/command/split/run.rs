//! `pgisle split run`.

use std::time::Duration;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::split::Strategy;
use pgisle_engine::split;

use super::front::{Front, FrontArgs};
use crate::command::change::Site;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Prepare a service's own database while the service goes on.
///
/// Writes the split down in the shared database and puts a fence on each table that moves. The fence stands open: nobody notices
/// it but as a look at a sequence for each statement that writes. With the strategy `stream` it also makes the new database beside
/// the service's own, copies the rows, and has the changes follow by a replication slot; a call behind that lets them catch up
/// again. With `copy` the rows are copied in the cutover, and with `clone` the files of the whole shared database.
///
/// Killed at any point, the same command goes on. As long as nobody cuts over, nothing has moved.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle split run users
  $ pgisle split run users -strategy=stream")]
pub(super) struct Args {
    /// The service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Take this strategy: clone, stream or copy. Without it, the one that `split plan` shows.
    #[arg(long, value_name = "STRATEGY", value_parser = clap::builder::PossibleValuesParser::new(Strategy::WORDS))]
    strategy: Option<String>,
    /// The longest pause in writing that is fine: what the strategy is chosen by.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = pgisle_core::duration::parse)]
    pause: Duration,
    #[command(flatten)]
    front: FrontArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let site = Site::open(session).await?;
    let service = super::service(&site, &args.service)?;
    let front = Front::open(&site, &args.front).await?;
    let strategy = args.strategy.as_deref().and_then(Strategy::from_word);
    let work =
        front.work(&site, &service, args.pause, "splitting", async |request, events| split::run(request, strategy, events).await);
    let ran = work.await?;
    let members = serde_json::json!({
        "service": service.name, "strategy": ran.job.strategy, "state": ran.job.state, "database": ran.job.database,
        "copied_bytes": ran.copied_bytes, "changes": ran.changes,
    });
    Ok(Report::new()
        .human(human::split::ran(&ran))
        .member("split", members)
        .diagnostics(ran.diagnostics)
        .diagnostics(site.project.warnings))
}
