//! `pgisle budget`.

/// Add up the connections that all pools may open.
///
/// Compares what the services' pools, PgBouncer and the monitoring login may hold at most with what the server has, and says
/// what one more instance of each service costs. Exits with 1 when it does not fit: use it as a check in a pipeline.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle budget
  $ pgisle budget -max-connections=200    # needs no server")]
pub(crate) struct Args {
    /// Count with this many connections instead of asking the server.
    #[arg(long, value_name = "N")]
    max_connections: Option<u32>,
}
