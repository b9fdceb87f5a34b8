//! `pgisle backup drill`.

use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::spec::Service;
use pgisle_engine::backup::catalog::{self, Proof};
use pgisle_engine::backup::restore::{self, Drilled};
use pgisle_engine::event::Event;

use crate::command::change::{self, Change, Site};
use crate::command::restore::Source;
use crate::progress::Progress;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Restore the newest backup beside the live database, compare it, and drop it.
///
/// The services go on meanwhile: nothing of theirs is touched. When all is as it was backed up, that and the time are written
/// beside the backup, where retention and `pgisle backup list` find it.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle backup drill                   # all services
  $ pgisle backup drill -service=users
  $ pgisle backup drill -json             # exits with 1 when one fails")]
pub(crate) struct Args {
    /// Only this service; may be given several times.
    #[arg(long, value_name = "SERVICE")]
    service: Vec<String>,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let site = Site::open(session).await?;
    let names = match args.service.as_slice() {
        [] => site.project.spec.services.keys().cloned().collect(),
        texts => change::services(&site.project, texts)?,
    };
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
                diagnostics.push(
                    Diagnostic::error(Code::RESTORE_DRILL, format!("the drill of service \"{}\" failed", service.name))
                        .detail("What failed is told below. Other services were gone on with."),
                );
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

fn milliseconds(duration: Duration) -> u64 {
    human::restore::milliseconds(duration)
}
