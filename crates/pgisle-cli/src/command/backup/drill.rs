//! `pgisle backup drill`.

use std::path::Path;
use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;
use pgisle_core::spec::Service;
use pgisle_engine::backup::catalog::{self, Proof};
use pgisle_engine::backup::recover::{self, RecoverError};
use pgisle_engine::backup::restore::{self, Drilled};
use pgisle_engine::event::Event;

use crate::command::change::{self, Change, Site};
use crate::command::restore::{self as restore_command, Source};
use crate::progress::Progress;
use crate::project::{HERE, Project};
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Restore the newest backup beside the live database, compare it, and drop it.
///
/// The services go on meanwhile: nothing of theirs is touched. When all is as it was backed up, that and the time are written
/// beside the backup, where retention and `pgisle backup list` find it.
///
/// With -at it is proved instead that services can be brought back to a time: a private server is made on this machine from a backup of
/// the cluster, replays the archived write-ahead log up to the time, and every service's database is dumped from it and counted; then
/// all of it is removed, and what was proved is written down. The cluster is asked to archive its log, and nothing in it is changed.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle backup drill                   # all services
  $ pgisle backup drill -service=users
  $ pgisle backup drill -json             # exits with 1 when one fails
  $ pgisle backup drill -at latest        # base backup, archived log and all
  $ pgisle backup drill -at '2025-01-19 13:59:30+01:00' -service=users")]
pub(crate) struct Args {
    /// Only this service; may be given several times.
    #[arg(long, value_name = "SERVICE")]
    service: Vec<String>,
    /// Bring the services back to this time: as for `pgisle restore -at`, or `latest`, which is now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// What `-at` is given for now.
const LATEST: &str = "latest";

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let site = Site::open(session).await?;
    let names = match args.service.as_slice() {
        [] => site.project.spec.services.keys().cloned().collect(),
        texts => change::services(&site.project, texts)?,
    };
    if let Some(at) = &args.at {
        let names: Vec<ServiceName> = names.into_iter().collect();
        return to_a_time(session, site, &names, at).await;
    }
    let (mut human, mut members, mut diagnostics) = (String::new(), Vec::new(), Vec::new());
    for service in names.iter().filter_map(|name| site.project.spec.services.get(name)) {
        match one(session, &site, service).await {
            Ok((drilled, at)) => {
                human.push_str(&human::restore::drilled(service, &drilled));
                members.push(serde_json::json!({
                    "service": service.name, "backup": drilled.source, "compared": drilled.compared, "rows": drilled.rows,
                    "took_ms": milliseconds(drilled.took), "at": at,
                }));
                diagnostics.extend(drilled.diagnostics);
            }
            Err(mut found) => {
                diagnostics.push(failed(&service.name));
                diagnostics.append(&mut found);
            }
        }
    }
    Ok(Report::new().human(human).member("drills", members).diagnostics(diagnostics).diagnostics(site.project.warnings))
}

async fn one(
    session: &Session,
    site: &Site<'_>,
    service: &Service,
) -> Result<(Drilled, pgisle_core::moment::Moment), Vec<Diagnostic>> {
    let source = Source::find(&site.project, service, None).await?;
    let change = Change::default();
    let progress = Progress::new(&session.console, "drilling");
    let events = |event: Event<'_>| progress.event(&event);
    let open = || source.open();
    let request = site.request(&change);
    let input = source.input(&open);
    let work = restore::drill(&request, service, &input, &events);
    let drilled = progress.watch(Box::pin(work)).await.map_err(|error| vec![error.diagnostic()])?;
    let Source::Backup { store, backup, .. } = &source else { return Err(Vec::new()) };
    let verified = catalog::record_proof(store, backup, Proof::Drill).await.map_err(|error| vec![error.diagnostic()])?;
    Ok((drilled, verified.at))
}

fn failed(service: &ServiceName) -> Diagnostic {
    Diagnostic::error(Code::RESTORE_DRILL, format!("the drill of service \"{service}\" failed"))
        .detail("What failed is told below. Other services were gone on with.")
}

/// Proves that services can be brought back to a time.
async fn to_a_time(session: &Session, site: Site<'_>, names: &[ServiceName], at: &str) -> Result<Report, Vec<Diagnostic>> {
    let of = |error: RecoverError| vec![error.diagnostic()];
    let at = match at {
        LATEST => recover::latest(&site.connect).await.map_err(of)?,
        text => restore_command::point(text).map_err(|error| vec![error])?,
    };
    let (store, identities) = (site.project.backups()?, Project::identities());
    let request = recover::Request {
        spec: &site.project.spec,
        connect: &site.connect,
        store: &store,
        identities: &identities,
        services: names,
        at,
        project: Path::new(HERE),
    };
    let progress = Progress::new(&session.console, "drilling");
    let events = |event: Event<'_>| progress.event(&event);
    let drilled = progress.watch(Box::pin(recover::drill(&request, &events))).await.map_err(of)?;
    let recover::Drilled { reached, services, took, warnings, left } = drilled;
    let (mut proofs, mut diagnostics) = (Vec::new(), warnings);
    for (service, outcome) in services {
        match outcome {
            Ok(proof) => proofs.push(proof),
            Err(error) => {
                diagnostics.push(failed(&service));
                diagnostics.push(error.diagnostic().about(format!("service \"{service}\"")));
            }
        }
    }
    diagnostics.extend(left.map(|error| restore_command::left(&error)));
    Ok(Report::new()
        .human(human::restore::recovered(&reached, &proofs, took))
        .member("recovered", &reached)
        .member("drills", &proofs)
        .diagnostics(diagnostics)
        .diagnostics(site.project.warnings))
}

fn milliseconds(duration: Duration) -> u64 {
    human::restore::milliseconds(duration)
}
