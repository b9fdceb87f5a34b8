//! `pgisle retire`.

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;
use pgisle_core::plan::Target;

use super::change::{Approval, Change, Site};
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;

/// Shut out services that have left the files, and keep their data.
///
/// apply does the same together with all other changes; retire does only this. Nobody can log in to the service's database any
/// more, everything in it is kept, and `pgisle status` lists it. Putting the block back into the file and applying opens it
/// again; `pgisle destroy -target=service.NAME` drops it for good.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle retire search                  # after its block was taken out of pgisle.hcl
  $ pgisle retire search -end-sessions    # also throws out who is still connected")]
pub(crate) struct Args {
    /// The services.
    #[arg(value_name = "SERVICE", required = true)]
    services: Vec<String>,
    /// End their sessions too, instead of letting them finish.
    #[arg(long)]
    end_sessions: bool,
    /// Do not ask.
    #[arg(long)]
    auto_approve: bool,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let project = Project::load(session).await?;
    let mut targets = Vec::new();
    let mut diagnostics = Vec::new();
    for text in &args.services {
        match ServiceName::parse(text) {
            Ok(name) if project.spec.services.contains_key(&name) => diagnostics.push(
                Diagnostic::error(Code::USAGE, format!("service \"{name}\" is still in the files"))
                    .at(project.spec.services[&name].place.clone())
                    .hint("Take its block out first: the next apply would bring it back."),
            ),
            Ok(name) => targets.push(Target::Service(name)),
            Err(error) => diagnostics.push(Diagnostic::error(Code::USAGE, format!("\"{text}\" is no service: {error}"))),
        }
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let change = Change {
        targets,
        end_sessions: args.end_sessions,
        only_removes: true,
        approval: if args.auto_approve { Approval::Given } else { Approval::Yes },
        ..Change::default()
    };
    Box::pin(Site::of(session, project)?.carry_out(change)).await
}
