//! `pgisle backup wal-setup`.

use std::path::Path;

use pgisle_core::backup::wal::setup::{Change, archive_command};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_engine::backup::BackupStore;
use pgisle_engine::backup::wal::{self, setup};
use pgisle_engine::process::Account;
use serde_json::json;

use crate::command::change::{self, Approval};
use crate::command::dev;
use crate::progress::Progress;
use crate::project::{HERE, Project};
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Say what a server needs so that it archives its write-ahead log.
///
/// With the archive and a backup of the cluster, each service can be brought back to any time since that backup. What is printed is
/// for a superuser to run; pgisle changes nothing. Looks at how the archiving goes, too: when it fails, the exit code is 1.
///
/// On the private cluster, -dev, it offers to do it, and starts the cluster again.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle backup wal-setup
  $ pgisle backup wal-setup -dev -auto-approve")]
pub(super) struct Args {
    /// Do it, without asking. On the private cluster alone.
    #[arg(long)]
    auto_approve: bool,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let mut project = Project::load(session).await?;
    let store = project.backups()?;
    let connect = project.connect_options()?.for_purpose("backup");
    let command = command(&project)?;
    let archiving = setup::look(&connect).await.map_err(|error| vec![error])?;
    let changes = archiving.changes(&command);
    let is_private = project.is_dev();
    if args.auto_approve && !is_private {
        let error = Diagnostic::error(Code::USAGE, "-auto-approve is for the private cluster");
        return Err(vec![error.detail("On a server of yours pgisle changes no setting of the whole server. Run what it prints.")]);
    }
    let text = human::wal::setup(&archiving, &changes, &store.location(), is_private);
    // Also when the parameters are as they should be: somebody may have set them by hand, and the server's account not get at the store.
    let is_due = !changes.is_empty() || archiving.archiver.is_failing;
    if is_private && is_due && (args.auto_approve || session.console.can_ask()) {
        session.console.show(&text);
        let approval = if args.auto_approve { Approval::Given } else { Approval::Yes };
        if let Err(refusal) = change::ask(&session.console, &approval) {
            return Ok(Report::failure(refusal));
        }
        hand_over(&store, &command).await?;
        setup::change(&connect, &changes).await.map_err(|error| vec![error])?;
        if changes.iter().any(|change| change.needs_restart) {
            dev::restart(session).await?;
        }
        return prove(session, &store, &changes).await;
    }
    let findings: Vec<Diagnostic> = archiving.findings();
    let unasked = if is_private && is_due { human::wal::UNASKED } else { "" };
    Ok(Report::new()
        .human(format!("{text}{unasked}"))
        .member("store", store.location())
        .member("archive_command", &command)
        .member("changes", changes.iter().map(as_json).collect::<Vec<_>>())
        .member("archiving", &archiving)
        .diagnostics(findings)
        .diagnostics(project.warnings))
}

fn as_json(change: &Change) -> serde_json::Value {
    json!({
        "name": change.name, "from": change.from, "to": change.to, "needs_restart": change.needs_restart,
        "statement": change.statement(),
    })
}

/// The command as the server is to run it.
fn command(project: &Project) -> Result<String, Vec<Diagnostic>> {
    let failed = |what: &str, source: std::io::Error| {
        vec![Diagnostic::error(Code::IO, format!("{what} cannot be found")).detail(format!("The system says: {source}."))]
    };
    let program = std::env::current_exe().map_err(|source| failed("pgisle's own program", source))?;
    let folder = Path::new(HERE).canonicalize().map_err(|source| failed("the project's folder", source))?;
    let (program, folder) = (program.to_string_lossy(), folder.to_string_lossy());
    Ok(archive_command(&program, &folder, project.is_dev(), &project.store_variables()))
}

/// The private cluster runs as another account when we are root.
async fn hand_over(store: &BackupStore, command: &str) -> Result<(), Vec<Diagnostic>> {
    let failed = |summary: &str| Diagnostic::error(Code::WAL_SETUP, summary);
    let account = Account::for_servers().map_err(|error| vec![failed("nobody can archive").detail(format!("{error}."))])?;
    let Some(account) = account else { return Ok(()) };
    let program = std::env::current_exe().unwrap_or_default();
    let folder = Path::new(HERE).canonicalize().unwrap_or_default();
    if !setup::is_within_reach(&account, &folder, &program).await {
        return Err(vec![
            failed("the server could not run pgisle")
                .detail(format!(
                    "It runs as user \"{}\", who must get into the project's folder, read its files, and run {command}",
                    account.name
                ))
                .hint("Open the folders above for passing (chmod o+x), or do not be root."),
        ]);
    }
    wal::hand_over(store, &account).map_err(|error| vec![error.diagnostic()])
}

/// Has the server archive something.
async fn prove(session: &Session, store: &BackupStore, changes: &[Change]) -> Result<Report, Vec<Diagnostic>> {
    let mut project = Project::load(session).await?;
    let connect = project.connect_options()?.for_purpose("backup");
    let progress = Progress::new(&session.console, "waiting for the archive");
    let work = setup::flush(&connect, store);
    let archived = progress.watch(Box::pin(work)).await.map_err(|error| vec![error.diagnostic()])?;
    let report = Report::new()
        .member("store", store.location())
        .member("changes", changes.iter().map(as_json).collect::<Vec<_>>())
        .member("archived", archived.map(|segment| segment.to_string()));
    let Some(segment) = archived else {
        let archiving = setup::look(&connect).await.map_err(|error| vec![error])?;
        let error = Diagnostic::error(Code::WAL_SETUP, "the server is set up, and does not archive");
        let hint = "The end of the server's log says why; `pgisle dev status` names it.";
        return Ok(report.diagnostics([error.hint(hint)]).diagnostics(archiving.findings()));
    };
    Ok(report.human(human::wal::works(&segment.to_string(), &store.location())))
}
