//! `pgisle budget`.

use pgisle_core::budget;
use pgisle_core::diagnostic::{Diagnostic, Severity};
use pgisle_engine::postgres::inspect::inspect_shared;

use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Add up the connections that all pools may open.
///
/// Compares what the services' pools, PgBouncer and the monitoring login may hold at most with what the server has, and says
/// what one more instance of each service costs. Exits with 1 when it does not fit: use it as a check in a pipeline.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle budget
    service  instances  pool  at most  login's limit  database's limit
    billing          1    10       10             50               100
    orders           2    10       20             50               100

  Before: up to 200 connections, with nothing but the databases' limits between the services.
  After:  30 at most, when the pools of all 3 instances are full.
  …
  The server has 100 connections, 97 of them for services. Left: 62

  $ pgisle budget -json | jq .budget.server.headroom")]
pub(crate) struct Args {}

pub(crate) async fn run(session: &Session, _args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let mut project = Project::load(session).await?;
    let options = project.connect_options()?.for_purpose("budget");
    let server = pgisle_engine::postgres::session::Session::connect(&options).await.map_err(|error| vec![error.diagnostic()])?;
    let inventory = inspect_shared(&server).await.map_err(|error| vec![error.diagnostic()])?;
    server.close().await;
    let summary = budget::summary(&project.spec, Some(&inventory.server));
    // A plan goes on with a warning; here the question is whether it fits.
    let verdict = summary.diagnostic().map(|diagnostic| Diagnostic { severity: Severity::Error, ..diagnostic });
    Ok(Report::new()
        .human(human::budget::budget(&summary))
        .member("budget", &summary)
        .diagnostics(project.warnings)
        .diagnostics(verdict))
}
