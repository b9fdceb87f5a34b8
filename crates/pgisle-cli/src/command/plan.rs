//! `pgisle plan`.

use std::path::PathBuf;

/// Show what apply would change.
///
/// Reads the files, looks at the cluster, and shows each step from the one to the other: what is added (+), changed (~) and
/// removed (-), why, and what it costs. Changes nothing, and takes no lock. With -v the SQL of each step is shown.
///
/// What pgisle may not do with this login is listed too, with the statements that someone with more rights has to run.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle plan
  $ pgisle plan -v -target=service.users
  $ pgisle plan -out=monday.pgplan && pgisle apply monday.pgplan
  $ pgisle plan -detailed-exitcode    # 0: nothing to do, 2: changes, 1: an error")]
pub(crate) struct Args {
    /// Save the plan, so that apply does exactly this, or refuses when the cluster has moved.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Exit with 2 when there is something to do.
    #[arg(long)]
    detailed_exitcode: bool,
    /// Plan for this only (can be repeated): service.users, monitoring, cluster
    #[arg(long, value_name = "ADDRESS")]
    target: Vec<String>,
    /// Show what `pgisle destroy` would drop.
    #[arg(long)]
    destroy: bool,
}
