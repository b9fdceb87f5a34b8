//! `pgisle backup archive-wal`.

use std::path::PathBuf;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::backup::wal;

use crate::project::Project;
use crate::report::Report;
use crate::session::Session;

/// Archive one file of the write-ahead log, for a server's archive_command.
///
/// The server runs it as its own user, for each file that is full; `pgisle backup wal-setup` says how to set that up. It connects to
/// nothing and needs no password. The file is made sure of, compressed, encrypted when there are backup_recipients, and on the
/// disk before it ends. The same file again is a success, and another one of the same name is refused.
///
/// FILE is taken from where the server runs, whatever -chdir says.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  archive_command = 'pgisle -chdir=/srv/shop backup archive-wal %p'

  $ pgisle backup archive-wal /var/lib/postgresql/16/main/pg_wal/000000010000000000000002")]
pub(super) struct Args {
    /// The file's path.
    #[arg(value_name = "FILE")]
    path: PathBuf,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let project = Project::load_for_store(session)?;
    let store = project.backups()?;
    let path = session.path_given(&args.path);
    let recipients = &project.spec.settings.backup_recipients;
    let archived = wal::archive(&store, &path, recipients).await.map_err(|error| vec![error.diagnostic()])?;
    // Nothing for people: the server would write it into its log for every file.
    Ok(Report::new()
        .member("store", store.location())
        .member("name", archived.name.to_string())
        .member("is_new", archived.is_new)
        .member("raw_bytes", archived.raw_bytes)
        .member("bytes", archived.bytes))
}
