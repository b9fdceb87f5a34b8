//! `pgisle doctor`.

use std::collections::BTreeMap;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::doctor::{Check, Checked, Checkup};
use pgisle_engine::doctor::{self, Patient};

use super::change;
use crate::args::address::{self, Address};
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Find out why something does not work, and what mends it.
///
/// Looks at everything between the file and the services, in order: the files and passwords here, the host's name, its port, what is behind
/// it, TLS, the administrator's login, the server and its settings, client programs, extensions, collations, who holds connections and
/// locks, each service's own login, directly and through PgBouncer, the clocks, disks, the write-ahead log, the backups. Each look has a
/// bound in time. What is wrong is told with its cause, what was seen, and the command that mends it.
///
/// It changes nothing. Exits with 0 when nothing has failed; warnings are no failure.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle doctor
    files          ok      31 generated, logins of 5 services in the store
    host name      ok      db.internal is 10.0.0.7
    port           failed  cannot connect to the server at \"db.internal\" port 5432
    protocol       -       port failed
  …
  error[PI0201]: cannot connect to the server at \"db.internal\" port 5432
    detail: Connection refused (os error 111).
    hint: Is the server running, and are postgres_host and postgres_port right?

        ssh db.internal sudo systemctl status postgresql

  $ pgisle doctor users                  # of the services, only this one
  $ pgisle doctor -json | jq '.checkup.checks[] | select(.outcome == \"failed\") | .findings[].commands'")]
pub(crate) struct Args {
    /// Look at these services alone.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Look at this PgBouncer instead of the one at pgbouncer_host and pgbouncer_port (can be repeated).
    #[arg(long, value_name = "HOST:PORT", value_parser = address::parse)]
    pooler: Vec<Address>,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let checkup = match Project::load(session).await {
        Ok(project) => look(session, args, project).await?,
        // The first check is the one of the files; nothing else can be looked at without them.
        Err(found) if !is_about_the_server(&found) => {
            Checkup::new(vec![Checked::new(Check::Files, "they cannot be used", found)], "the files cannot be used")
        }
        Err(found) => Checkup::new(vec![unreachable(found)], "port failed"),
    };
    Ok(Report::new().human(human::doctor::checkup(&checkup)).told().member("checkup", &checkup).diagnostics(checkup.diagnostics()))
}

async fn look(session: &Session, args: &Args, mut project: Project) -> Result<Checkup, Vec<Diagnostic>> {
    let chosen = if args.services.is_empty() {
        project.spec.services.keys().cloned().collect()
    } else {
        change::services(&project, &args.services)?
    };
    let mut findings = Vec::new();
    let (connect, unreachable) = match project.connect_options() {
        Ok(options) => (Some(doctor::bounded(&options)), None),
        Err(found) if is_about_the_server(&found) => (None, Some(unreachable(found))),
        Err(found) => {
            findings.extend(found);
            (None, None)
        }
    };
    let credentials = match project.store() {
        Ok(store) => store.load().map_err(|error| findings.push(error.diagnostic())).ok(),
        Err(found) => {
            findings.extend(found);
            None
        }
    };
    let mut homes = BTreeMap::new();
    if let Some(connect) = &connect
        && project.learn_homes(connect).await.is_ok()
    {
        homes = project.homes().clone();
    }
    // Without its passwords, half of the files would seem to be missing.
    let changes = match &credentials {
        Some(credentials) => project.artifact_changes(credentials).map_err(|found| findings.extend(found)).unwrap_or_default(),
        None => Vec::new(),
    };
    let backups = project.backups().map_err(|found| findings.extend(found)).ok();
    let folder = project.folder();
    findings.extend(project.warnings.iter().cloned());
    let files = doctor::files(findings, credentials.as_ref(), &folder, &changes);
    let poolers = credentials.as_ref().map(|credentials| project.pooler_consoles(credentials, &args.pooler)).unwrap_or_default();
    let patient = Patient {
        spec: &project.spec,
        services: project.spec.services.values().filter(|service| chosen.contains(&service.name)).collect(),
        credentials: credentials.as_ref(),
        connect: connect.as_ref(),
        unreachable,
        is_dev: project.is_dev(),
        poolers,
        pooler_folder: folder.join("pgbouncer").display().to_string(),
        homes: &homes,
        backups: backups.as_ref(),
        parallelism: usize::from(session.global.parallelism),
    };
    Ok(Box::pin(doctor::examine(&patient, files)).await)
}

/// Whether it is the private cluster that is not there, and not the files that are wrong.
fn is_about_the_server(found: &[Diagnostic]) -> bool {
    found.iter().any(|finding| finding.code == Code::LOCAL_STATE)
}

fn unreachable(found: Vec<Diagnostic>) -> Checked {
    Checked::new(Check::Port, "there is no private cluster to reach", found)
}
