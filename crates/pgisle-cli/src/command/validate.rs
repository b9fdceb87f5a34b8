//! `pgisle validate`.

use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::human::text::count;

/// Check the files without looking at any server.
///
/// Reads pgisle.hcl, the environment's file and everything else that plan would read, and reports every error with its file,
/// line and column. Use it in an editor, in a commit hook, or as the first step of a pipeline: it needs no server and no password.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle validate
  The files are valid: 5 services for environment development.

  $ pgisle validate -var environment=production -json | jq .exit_code
  0")]
pub(crate) struct Args {}

pub(crate) fn run(session: &Session, _args: &Args) -> Report {
    match Project::load_without_server(session) {
        Ok(project) => {
            let Project { spec, warnings, .. } = &project;
            let services: Vec<&str> = spec.services.keys().map(|name| name.as_str()).collect();
            Report::new()
                .human(format!(
                    "The files are valid: {} for environment {}.\n",
                    count(services.len(), "service"),
                    spec.settings.environment
                ))
                .member("valid", true)
                .member("environment", spec.settings.environment)
                .member("services", &services)
                .diagnostics(warnings.iter().cloned())
        }
        Err(diagnostics) => Report::failures(diagnostics).member("valid", false),
    }
}
