//! `pgisle backup fetch-wal`.

use std::path::PathBuf;

use pgisle_core::backup::wal::WalName;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_engine::backup::wal;

use crate::project::Project;
use crate::report::Report;
use crate::session::Session;

/// Fetch one file of the archived write-ahead log, for a server's restore_command.
///
/// `pgisle restore SERVICE -at TIME` needs no such setting; this is for recovering a whole cluster by hand. What is fetched is checked
/// to the last byte. Exits with 1 when the archive does not hold it, which servers ask for until there is no next file.
///
/// FILE is taken from where the server runs, whatever -chdir says.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  restore_command = 'pgisle -chdir=/srv/shop backup fetch-wal %f %p'

  $ pgisle backup fetch-wal 000000010000000000000002 /tmp/000000010000000000000002")]
pub(super) struct Args {
    /// The file's name.
    #[arg(value_name = "NAME")]
    name: String,
    /// Where to put it.
    #[arg(value_name = "FILE")]
    path: PathBuf,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let Some(name) = WalName::parse(&args.name) else {
        let summary = format!("\"{}\" is not the name of a file of the write-ahead log", args.name.escape_debug());
        return Err(vec![Diagnostic::error(Code::USAGE, summary).hint("The server gives the name as %f, and the path as %p.")]);
    };
    let project = Project::load_for_store(session)?;
    let store = project.backups()?;
    let path = session.path_given(&args.path);
    let fetched = wal::fetch(&store, name, &path, &Project::identities()).await;
    fetched.map_err(|error| vec![error.diagnostic()])?;
    Ok(Report::new().member("store", store.location()).member("name", name.to_string()))
}
