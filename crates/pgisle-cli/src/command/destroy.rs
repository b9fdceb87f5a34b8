//! `pgisle destroy`.

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::plan::{DestroyScope, Target};

use super::change::{self, Approval, Change, Site};
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;

/// Drop databases and logins for good.
///
/// Drops only what carries pgisle's mark of this project and environment, and only after its name has been typed. With -target
/// it drops one service, which need not be in the files any more; without, all of them, the monitoring login and the fences.
///
/// A database that holds data is only dropped when the newest proved backup of it holds the same, row by row, and nobody is in it
/// who could write: destroy looks for that itself, which means reading the whole database. Otherwise it is refused, unless
/// -force says that the data may go. Its backups stay.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle destroy -target=service.search
  $ pgisle backup create -service=search && pgisle destroy -target=service.search
  $ pgisle destroy -target=service.search -auto-approve -force    # in a pipeline
  $ pgisle plan -destroy                                           # only looks")]
pub(crate) struct Args {
    /// Drop this only (can be repeated): service.users
    #[arg(long, value_name = "ADDRESS")]
    target: Vec<String>,
    /// Do not ask for the name to be typed; only with -target.
    #[arg(long, requires = "target")]
    auto_approve: bool,
    /// Drop databases whatever they hold, backed up or not.
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let targets = change::targets(&args.target)?;
    if let Some(other) = targets.iter().find(|target| matches!(target, Target::Cluster)) {
        let summary = format!("-target cannot be \"{}\" here", name_of(other));
        return Err(vec![Diagnostic::error(Code::PLAN_UNKNOWN_TARGET, summary).hint("destroy takes service.NAME or monitoring.")]);
    }
    let project = Project::load(session).await?;
    // Several targets are confirmed together, one behind the other, as they were given.
    let name = match targets.as_slice() {
        [] => project.spec.settings.environment.to_string(),
        targets => targets.iter().map(name_of).collect::<Vec<_>>().join(" "),
    };
    let change = Change {
        destroy: Some(DestroyScope { force: args.force }),
        targets,
        approval: if args.auto_approve { Approval::Given } else { Approval::Name(name) },
        ..Change::default()
    };
    Box::pin(Site::of(session, project)?.with_backups().carry_out(change)).await
}

fn name_of(target: &Target) -> String {
    match target {
        Target::Service(name) => name.to_string(),
        Target::Monitoring => "monitoring".to_owned(),
        Target::Cluster => "cluster".to_owned(),
    }
}
