//! `pgisle split`.

mod cutover;
mod finalize;
mod front;
mod plan;
mod rollback;
mod run;
mod status;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::spec::Service;
use pgisle_core::split::Job;
use pgisle_engine::split::{self, SplitError};

use super::change::{self, Approval, Site};
use crate::report::Report;
use crate::session::Session;

/// Split services out of the shared database.
///
/// The file says which tables of the shared database (postgres_database) each service owns. Everything that belongs to these
/// tables goes with them into the service's own database. `plan` shows what that is, `run` prepares it while the service writes,
/// `cutover` moves the service's home in a pause of milliseconds or seconds,
/// `rollback` moves it back, and `finalize` ends it.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle split plan
  $ pgisle split run users
  $ pgisle split cutover users -rehearse
  $ pgisle split cutover users
  $ pgisle split status
  $ pgisle split rollback users
  $ pgisle split finalize users")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    Plan(plan::Args),
    Run(run::Args),
    Cutover(cutover::Args),
    Rollback(rollback::Args),
    Finalize(finalize::Args),
    Status(status::Args),
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    match &args.action {
        Action::Plan(args) => plan::run(session, args).await,
        Action::Run(args) => run::run(session, args).await,
        Action::Cutover(args) => cutover::run(session, args).await,
        Action::Rollback(args) => rollback::run(session, args).await,
        Action::Finalize(args) => finalize::run(session, args).await,
        Action::Status(args) => status::run(session, args).await,
    }
}

/// The service of this name.
fn service(site: &Site<'_>, name: &str) -> Result<Service, Vec<Diagnostic>> {
    let names = change::services(&site.project, &[name.to_owned()])?;
    names.first().and_then(|name| site.project.spec.services.get(name)).cloned().ok_or_else(Vec::new)
}

/// How far its split is, for what is shown before the question: who is not split is told so before anything is asked.
async fn job(site: &Site<'_>, service: &Service) -> Result<Job, Vec<Diagnostic>> {
    let shared = &site.project.spec.settings.postgres_database;
    let jobs = split::read_jobs(&site.connect, shared).await.map_err(|error| vec![error.diagnostic()])?;
    let job = jobs.into_iter().find(|job| job.service == service.name);
    job.ok_or_else(|| vec![SplitError::not_begun(&service.name).diagnostic()])
}

/// Asks whether to go on; gives what the command ends with when the answer is no.
fn agree(site: &Site<'_>, is_agreed: bool) -> Result<(), Report> {
    let approval = if is_agreed { Approval::Given } else { Approval::Yes };
    change::ask(&site.session.console, &approval).map_err(Report::failure)
}
