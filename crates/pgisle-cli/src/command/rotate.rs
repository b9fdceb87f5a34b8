//! `pgisle rotate`.

use std::time::Duration;

use crate::args::duration;

/// Replace passwords without downtime.
///
/// Each service has two logins, of which one is in use. rotate gives the idle one a new password, lets it in and writes the
/// generated files with it: from then on both work. Deploy, so that instances come in with the new one. Then rotate -finish
/// shuts the old one out, once no session uses it any more.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle rotate users
  $ pgisle rotate users -finish -wait=10m    # waits for the old sessions to end
  $ pgisle rotate -all")]
pub(crate) struct Args {
    /// The services.
    #[arg(value_name = "SERVICE", required_unless_present = "all", conflicts_with = "all")]
    services: Vec<String>,
    /// All services.
    #[arg(long)]
    all: bool,
    /// Shut the old logins out.
    #[arg(long)]
    finish: bool,
    /// With -finish: how long to wait for sessions of the old logins to end.
    #[arg(long, value_name = "DURATION", requires = "finish", default_value = "0s", value_parser = duration::parse)]
    wait: Duration,
}
