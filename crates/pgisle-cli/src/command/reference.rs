//! `pgisle reference`, hidden: `docs/reference/cli.md`.

use crate::report::Report;

/// Print the reference of the whole command line as Markdown.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Report {
    let text = crate::reference();
    Report::new().human(&text).member("markdown", text)
}
