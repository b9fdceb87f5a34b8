//! `pgisle adopt`.

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::plan::Target;

use super::change::{self, Approval, Change, Site};
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;

/// Take over databases and logins that exist already.
///
/// A database or login that has a name from the files but not pgisle's mark is left alone until it is adopted. Adopting shows
/// first what it would change: the administrator becomes the database's owner, objects go to the service's owner role, PUBLIC
/// loses its rights, and the login gets a new password unless the service's block has one. Data is not touched.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle plan                   # says what exists and is not pgisle's
  $ pgisle adopt users
  $ pgisle adopt users chat ai -auto-approve")]
pub(crate) struct Args {
    /// The services to take over.
    #[arg(value_name = "SERVICE", required = true)]
    services: Vec<String>,
    /// Do not ask.
    #[arg(long)]
    auto_approve: bool,
    /// Take it as done when something is left that needs more rights.
    #[arg(long)]
    allow_incomplete: bool,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let project = Project::load(session).await?;
    let adopt = change::services(&project, &args.services)?;
    let change = Change {
        targets: adopt.iter().cloned().map(Target::Service).collect(),
        adopt,
        approval: if args.auto_approve { Approval::Given } else { Approval::Yes },
        allow_incomplete: args.allow_incomplete,
        ..Change::default()
    };
    Box::pin(Site::of(session, project)?.carry_out(change)).await
}
