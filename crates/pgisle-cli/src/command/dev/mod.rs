//! `pgisle dev`.

/// Run a private PostgreSQL cluster, to try things on.
///
/// Starts a server of its own from the programs that are installed on this machine, under .pgisle/dev, on a loopback port of
/// its own, and PgBouncer where there is one. Nothing else need be installed or configured, and no root is needed. -dev, or
/// PGISLE_DEV=1, points every other command at it.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle dev up
  $ pgisle apply -dev
  $ pgisle dev down")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Start it, and make it first when there is none
    Up,
    /// Stop it
    Down,
    /// Say whether it runs, and where
    Status,
}
