//! `pgisle version`.

use crate::report::Report;

/// Say which pgisle this is.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle version
  pgisle 0.0.0")]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Report {
    let version = env!("CARGO_PKG_VERSION");
    Report::new().human(format!("pgisle {version}\n")).member("version", version)
}
