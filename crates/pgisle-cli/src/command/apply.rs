//! `pgisle apply`.

use std::path::PathBuf;

/// Bring the cluster to what the files say.
///
/// Takes the lock, looks at the cluster, shows the plan, asks, and carries it out. Then it writes the generated files: env
/// files, Kubernetes Secrets, PgBouncer's configuration and so on, under generated/<environment>/.
///
/// It can be interrupted at any moment; running it again goes on where it stopped. With a file from plan -out it does what was
/// saved, and refuses when the cluster has moved since (exit code 75).
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle apply
  $ pgisle apply -auto-approve            # in a pipeline: does not ask
  $ pgisle apply -target=service.users
  $ pgisle apply monday.pgplan            # a saved plan has been seen already: does not ask
  $ pgisle apply -lock-timeout=5m         # waits for another run to end")]
pub(crate) struct Args {
    /// A plan that plan -out saved.
    #[arg(value_name = "PLANFILE", conflicts_with = "target")]
    plan_file: Option<PathBuf>,
    /// Do not ask.
    #[arg(long)]
    auto_approve: bool,
    /// Do this only (can be repeated): service.users, monitoring, cluster
    #[arg(long, value_name = "ADDRESS")]
    target: Vec<String>,
    /// Take it as done when something is left that needs more rights.
    #[arg(long)]
    allow_incomplete: bool,
    /// End the sessions of services that have left the files.
    #[arg(long)]
    end_sessions: bool,
    /// Overwrite generated files that were edited by hand.
    #[arg(long)]
    overwrite: bool,
}
