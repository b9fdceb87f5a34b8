//! `pgisle status`.

/// Show services, databases and connections as they are now.
///
/// Lists each service with its database, its size, its logins and how many connections it holds against its limits; services
/// that were retired; and what exists on the cluster and is not pgisle's.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle status
  $ pgisle status -json | jq '.services[].connections'")]
pub(crate) struct Args {}
