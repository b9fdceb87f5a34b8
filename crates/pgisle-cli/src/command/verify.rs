//! `pgisle verify`.

use std::path::PathBuf;

/// Prove that no service reaches another.
///
/// Logs in as each service, to its own database and to every other one, and tries what must fail: connecting, reading,
/// creating, becoming another role, raising its limits, opening its database to all. Beside that it computes from the catalogs
/// what every login could do. The result is a matrix, and for each leak the path that leads there.
///
/// Exits with 1 on any leak. What could not be tried is reported as not proved, never as isolated.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle verify
  $ pgisle verify -static                 # from the catalogs alone; plants nothing, logs in as nobody
  $ pgisle verify -json -junit=verify.xml")]
pub(crate) struct Args {
    /// Also write a JUnit report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Plant no canary rows.
    #[arg(long)]
    no_canary: bool,
    /// Prove from the catalogs alone, without logging in as the services.
    #[arg(long = "static", conflicts_with = "no_canary")]
    only_static: bool,
}
