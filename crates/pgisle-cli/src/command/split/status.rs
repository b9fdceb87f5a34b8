//! `pgisle split status`.

use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::split;

use crate::command::change::{self, Site};
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Show where splits are, and who still writes to old tables.
///
/// Reads the journal in the shared database: each service's state, its home, how much write-ahead log the server keeps for it, the
/// pause, whether both sides held the same, and how many attempts to write to the old tables were turned away. Whoever made one and
/// is still connected is named, with role, application and address.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle split status
  $ pgisle split status users -json")]
pub(super) struct Args {
    /// Only these services.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let site = Site::open(session).await?;
    let wanted = change::services(&site.project, &args.services)?;
    let statuses = split::status(&site.connect, &site.project.spec).await.map_err(|error| vec![error.diagnostic()])?;
    let statuses: Vec<_> = statuses.into_iter().filter(|one| wanted.is_empty() || wanted.contains(&one.service)).collect();
    let findings: Vec<Diagnostic> = statuses.iter().flat_map(split::SplitStatus::diagnostics).collect();
    Ok(Report::new()
        .human(human::split::statuses(&statuses))
        .member("splits", &statuses)
        .diagnostics(findings)
        .diagnostics(site.project.warnings))
}
