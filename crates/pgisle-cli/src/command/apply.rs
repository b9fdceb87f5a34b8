//! `pgisle apply`.

use std::path::PathBuf;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::plan::DestroyScope;
use pgisle_engine::apply::SavedPlan;
use pgisle_engine::postgres::conninfo::ConnectOptions;
use pgisle_engine::postgres::inspect::inspect_shared;
use pgisle_engine::postgres::session::Session as Server;

use super::change::{self, Approval, Change, Site};
use super::reload::ReloadArgs;
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;

/// Bring the cluster to what the files say.
///
/// Takes the lock, looks at the cluster, shows the plan, asks, and carries it out. Then it writes the generated files: env
/// files, Kubernetes Secrets, PgBouncer's configuration and so on, under generated/<environment>/.
///
/// It can be interrupted at any moment; running it again goes on where it stopped. With a file from plan -out it does what was
/// saved, and refuses when the cluster has moved since (exit code 75). It also refuses, before anything is changed, when full pools
/// would need more connections than the server has (exit code 1): `pgisle budget` has the numbers, and what would fit.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle apply
  …
  Do you want to make these changes?
    pgisle will do what is shown above.
    Only 'yes' will be accepted.

    Enter a value: yes

  Apply complete. 32 added, 38 changed, 0 removed.
  38 files written in generated/development.

  $ pgisle apply -auto-approve            # in a pipeline: does not ask
  $ pgisle apply monday.pgplan            # a saved plan was seen already: does not ask
  $ pgisle apply -lock-timeout=5m         # waits for another run to end
  $ pgisle apply -reload-pgbouncer        # has PgBouncer read the new files")]
pub(crate) struct Args {
    /// A plan that plan -out saved.
    #[arg(value_name = "PLANFILE", conflicts_with = "target")]
    plan_file: Option<PathBuf>,
    /// Do not ask.
    #[arg(long)]
    auto_approve: bool,
    /// Do this only (can be repeated): service.users, monitoring, cluster
    #[arg(long, value_name = "ADDRESS")]
    target: Vec<String>,
    /// Take it as done when something is left that needs more rights.
    #[arg(long)]
    allow_incomplete: bool,
    /// End the sessions of services that have left the files.
    #[arg(long)]
    end_sessions: bool,
    /// Overwrite generated files that were edited by hand.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    reload: ReloadArgs,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let mut change = Change {
        targets: change::targets(&args.target)?,
        end_sessions: args.end_sessions,
        approval: if args.auto_approve { Approval::Given } else { Approval::Yes },
        allow_incomplete: args.allow_incomplete,
        overwrite: args.overwrite,
        reload: args.reload.clone(),
        ..Change::default()
    };
    let mut project = Project::load(session).await?;
    if let Some(path) = &args.plan_file {
        let saved = SavedPlan::read(path).map_err(|error| vec![error.diagnostic()])?;
        change.destroy = saved.destroy_force.map(|force| DestroyScope { force });
        (change.targets, change.adopt, change.end_sessions) = (saved.targets, saved.adopt, saved.end_sessions);
        change.expected = Some(saved.fingerprint);
        // It was shown when it was saved, and nothing else than what was shown will be done.
        change.approval = Approval::Given;
        project.spec = saved.spec;
        let site = Site::of(session, project)?.with_backups();
        check_cluster(&site.connect, saved.cluster.as_deref()).await?;
        return Box::pin(site.carry_out(change)).await;
    }
    Box::pin(Site::of(session, project)?.carry_out(change)).await
}

/// Two clusters in the same state need the same plan, and still the wrong one must not get it.
async fn check_cluster(connect: &ConnectOptions, planned_for: Option<&str>) -> Result<(), Vec<Diagnostic>> {
    let Some(planned_for) = planned_for else { return Ok(()) };
    let server = Server::connect(&connect.for_purpose("apply")).await.map_err(|error| vec![error.diagnostic()])?;
    let inventory = inspect_shared(&server).await.map_err(|error| vec![error.diagnostic()]);
    server.close().await;
    match inventory?.server.system_identifier.known() {
        Some(identifier) if identifier != planned_for => Err(vec![
            Diagnostic::error(Code::APPLY_STALE, "the plan was made for another cluster")
                .detail(format!("It is for the cluster {planned_for}, and at {} is {identifier}.", connect.endpoint()))
                .hint("Go to the cluster that was planned for, or plan again for this one."),
        ]),
        _ => Ok(()),
    }
}
