//! `pgisle destroy`.

/// Drop databases and logins for good.
///
/// Drops only what carries pgisle's mark of this project and environment, and only after its name has been typed. With -target
/// it drops one service, which need not be in the files any more; without, all of them, the monitoring login and the fences.
///
/// While a database holds data it is refused, unless -force says that the data may go.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle destroy -target=service.search
  $ pgisle destroy -target=service.search -auto-approve -force    # in a pipeline
  $ pgisle plan -destroy                                           # only looks")]
pub(crate) struct Args {
    /// Drop this only (can be repeated): service.users
    #[arg(long, value_name = "ADDRESS")]
    target: Vec<String>,
    /// Do not ask for the name to be typed; only with -target.
    #[arg(long, requires = "target")]
    auto_approve: bool,
    /// Drop databases that hold data.
    #[arg(long)]
    force: bool,
}
