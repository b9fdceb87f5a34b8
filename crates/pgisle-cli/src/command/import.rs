//! `pgisle import`.

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::plan::Target;

use super::change::{self, Approval, Change, Site};
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;

/// Take over one existing database, in Terraform's words.
///
/// The same as `pgisle adopt` for one service: its database, logins and grants come together, and the database must be the one
/// that the files give the service.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle import service.users link_users")]
pub(crate) struct Args {
    /// What to import: service.NAME
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// The database's name on the server.
    #[arg(value_name = "ID")]
    id: String,
    /// Do not ask.
    #[arg(long)]
    auto_approve: bool,
    /// Take it as done when something is left that needs more rights.
    #[arg(long)]
    allow_incomplete: bool,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let Some(Target::Service(name)) = Target::parse(&args.address) else {
        return Err(vec![
            Diagnostic::error(Code::PLAN_UNKNOWN_TARGET, format!("\"{}\" cannot be imported", args.address))
                .hint("An address is service.NAME:")
                .command("pgisle import service.users link_users"),
        ]);
    };
    let project = Project::load(session).await?;
    let adopt = change::services(&project, &[name.to_string()])?;
    let wanted = &project.spec.services[&name].database;
    if wanted.as_str() != args.id {
        return Err(vec![
            Diagnostic::error(
                Code::PLAN_UNKNOWN_TARGET,
                format!("service \"{name}\" has database \"{wanted}\", not \"{}\"", args.id),
            )
            .hint("Name the database in the service's block, then import it:")
            .command(format!("database = \"{}\"", args.id)),
        ]);
    }
    let change = Change {
        targets: vec![Target::Service(name)],
        adopt,
        approval: if args.auto_approve { Approval::Given } else { Approval::Yes },
        allow_incomplete: args.allow_incomplete,
        ..Change::default()
    };
    Box::pin(Site::of(session, project)?.carry_out(change)).await
}
