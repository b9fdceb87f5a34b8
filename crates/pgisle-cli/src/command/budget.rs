//! `pgisle budget`.

use pgisle_core::budget;
use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::postgres::inspect::inspect_shared;

use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Add up all connections to the server, and say whether they fit.
///
/// Full pools and monitoring must fit into max_connections less what is reserved: otherwise plan and apply refuse the file, and this
/// exits with 1. What comes on top for a while, such as a rolling deployment, a service that moves, a backup and pgisle itself, is
/// added up beside it; when that does not fit all at once there is a warning, and the exit code stays 0. Use it as a check in a
/// pipeline.
///
/// For each service: before, with one shared database and no pools, and after; and what one more instance of it costs. When it does
/// not fit, the smallest changes are named that make it fit, each by itself.
///
/// What others connect to the same server with is not known to the file and not counted.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle budget
    service     instances  pool  before  after  one more instance  login's limit  database's limit
    billing             1    10     100     10                +10             50               100
    orders              2    10     100     20                +10             50               100
    monitoring                        5      5
    all                 3           205     35
  …
  The server has 100 connections, 97 of them for everyone.
  Full pools: 35, left: 62. At the peak, all at once: 53, left: 44.

  $ pgisle budget -json | jq .budget.server.headroom
  $ pgisle budget -json | jq .budget.suggestions
  $ pgisle budget >/dev/null || echo 'the pools do not fit'")]
pub(crate) struct Args {}

pub(crate) async fn run(session: &Session, _args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let mut project = Project::load(session).await?;
    let options = project.connect_options()?.for_purpose("budget");
    let server = pgisle_engine::postgres::session::Session::connect(&options).await.map_err(|error| vec![error.diagnostic()])?;
    let inventory = inspect_shared(&server).await.map_err(|error| vec![error.diagnostic()])?;
    server.close().await;
    let summary = budget::summary(&project.spec, Some(&inventory), u32::from(session.global.parallelism));
    Ok(Report::new()
        .human(human::budget::budget(&summary))
        .member("budget", &summary)
        .diagnostics(project.warnings)
        .diagnostics(summary.diagnostic(&project.spec)))
}
