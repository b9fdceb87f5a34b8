//! `pgisle import`.

/// Take over one existing database, in Terraform's words.
///
/// The same as `pgisle adopt` for one service: its database, logins and grants come together, and the database must be the one
/// that the files give the service.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle import service.users link_users")]
pub(crate) struct Args {
    /// What to import: service.NAME
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// The database's name on the server.
    #[arg(value_name = "ID")]
    id: String,
    /// Do not ask.
    #[arg(long)]
    auto_approve: bool,
    /// Take it as done when something is left that needs more rights.
    #[arg(long)]
    allow_incomplete: bool,
}
