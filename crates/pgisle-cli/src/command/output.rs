//! `pgisle output`.

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::output;

use crate::project::Project;
use crate::report::Report;
use crate::session::Session;

/// Print what apply has made, for scripts.
///
/// Without a name all outputs are listed, those with passwords hidden. With a name the value is printed; -raw prints a text
/// without quotes. -json has the shape of terraform output -json, so scripts that used that go on working.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle output
  $ pgisle output -json service_passwords | jq -r .users
  $ pgisle output -json monitoring_user")]
pub(crate) struct Args {
    /// The output.
    name: Option<String>,
    /// Print a text as it is, without quotes and line end.
    #[arg(long, requires = "name", conflicts_with = "json")]
    raw: bool,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let project = Project::load(session).await?;
    let credentials = project.store()?.load().map_err(|error| vec![error.diagnostic()])?;
    let artifacts = project.artifacts(&credentials);
    let folder = project.folder().display().to_string();
    let outputs = output::outputs(&project.spec, &project.endpoint(), &credentials, None, &artifacts, &folder);
    let Some(name) = &args.name else {
        let mut report = Report::new().human(output::all_to_text(&outputs)).diagnostics(project.warnings);
        report.verbatim = session.global.json.then(|| format!("{}\n", output::all_to_json(&outputs).expose()));
        return Ok(report);
    };
    let output = output::find(&outputs, name).map_err(|diagnostic| vec![diagnostic])?;
    let mut report = Report::new().diagnostics(project.warnings);
    if session.global.json {
        report.verbatim = Some(format!("{}\n", output.to_json().expose()));
    } else if args.raw {
        let Some(raw) = output.to_raw() else {
            return Err(vec![
                Diagnostic::error(Code::USAGE, format!("output \"{name}\" is not a text"))
                    .hint("Lists and maps come as JSON:")
                    .command(format!("pgisle output -json {name}")),
            ]);
        };
        report = report.human(raw.expose());
    } else {
        report = report.human(format!("{}\n", output.to_text().expose()));
    }
    Ok(report)
}
