//! `pgisle status`.

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::status;
use pgisle_engine::activity;
use pgisle_engine::postgres::inspect::inspect_shared;

use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Show services, databases and connections as they are now.
///
/// Lists each service with its database, its size, its logins and how many connections it holds against its limits; services
/// that were retired; and what exists on the cluster and is not pgisle's.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle status
  PostgreSQL 17.6, 12 of 97 connections in use

    service     state    database          size  connections  login              connections
    ai          ready    link_ai         7.3 MB     8 of 100  link_ai_user           8 of 50
    search      retired  link_search      91 MB     0 of 100  link_search_user (shut out)  0
    monitoring                                                link_monitoring         1 of 5

  $ pgisle status -json | jq '.status.services[].connections'")]
pub(crate) struct Args {}

pub(crate) async fn run(session: &Session, _args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let mut project = Project::load(session).await?;
    let options = project.connect_options()?.for_purpose("status");
    let server = pgisle_engine::postgres::session::Session::connect(&options).await.map_err(|error| vec![error.diagnostic()])?;
    let inventory = inspect_shared(&server).await.map_err(|error| vec![error.diagnostic()])?;
    let activity = activity::read(&server).await.map_err(|diagnostic| vec![diagnostic])?;
    server.close().await;
    let status = status::status(&project.spec, &inventory, &activity);
    Ok(Report::new().human(human::status::status(&status)).member("status", &status).diagnostics(project.warnings))
}
