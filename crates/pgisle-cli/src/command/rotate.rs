//! `pgisle rotate`.

use std::time::Duration;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::event::Event;
use pgisle_engine::rotate;

use super::change::{self, Change, Site};
use super::reload::ReloadArgs;
use crate::progress::Progress;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Replace passwords without downtime.
///
/// Each service has two logins, of which one is in use. rotate gives the idle one a new password, lets it in and writes the
/// generated files with it: from then on both work. Deploy, so that instances come in with the new one. Then rotate -finish
/// shuts the old one out, once no session uses it any more. Connections that PgBouncer keeps for the old one without a client that
/// uses them count as sessions unless -reload-pgbouncer says that it may be asked.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle rotate users
  Rotated. Both logins work until the old one is shut out.

    service  new login          old login
    users    link_users_user_b  link_users_user

  $ pgisle rotate users -finish -wait=10m    # waits for the old sessions to end
  $ pgisle rotate -all")]
pub(crate) struct Args {
    /// The services.
    #[arg(value_name = "SERVICE", required_unless_present = "all", conflicts_with = "all")]
    services: Vec<String>,
    /// All services.
    #[arg(long)]
    all: bool,
    /// Shut the old logins out.
    #[arg(long)]
    finish: bool,
    /// With -finish: how long to wait for sessions of the old logins to end.
    #[arg(long, value_name = "DURATION", requires = "finish", default_value = "0s", value_parser = pgisle_core::duration::parse)]
    wait: Duration,
    #[command(flatten)]
    reload: ReloadArgs,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let mut site = Site::open(session).await?;
    let change = Change::default();
    let services = match (args.all, args.finish) {
        (false, _) => change::services(&site.project, &args.services)?,
        (true, true) => rotate::finishable(&site.request(&change)).map_err(|diagnostic| vec![diagnostic])?,
        (true, false) => site.project.spec.services.keys().cloned().collect(),
    };
    if services.is_empty() {
        return Ok(Report::new().human("Nothing to do. No old login is left.\n").member("services", &services));
    }
    let credentials = site.store.load().map_err(|error| vec![error.diagnostic()])?;
    let poolers = args.reload.consoles(&site.project, &credentials);
    let rotated = {
        let progress = Progress::new(&session.console, "rotating");
        let request = site.request(&change);
        let events = |event: Event<'_>| progress.event(&event);
        let half = async {
            if args.finish {
                rotate::finish(&request, &services, args.wait, &poolers, &events).await
            } else {
                rotate::begin(&request, &services, &events).await
            }
        };
        progress.watch(Box::pin(half)).await?
    };
    let mut diagnostics = rotated.applied.planned.diagnostics.clone();
    diagnostics.extend(rotated.applied.diagnostics());
    site.project.learn_homes(&site.connect).await?;
    let files = match site.project.write_artifacts(&rotated.credentials, false) {
        Ok(files) => {
            diagnostics.extend(site.project.refresh_pooler(&rotated.credentials).await.err());
            diagnostics.extend(args.reload.reload(&site.project, &rotated.credentials).await);
            // Only now: whoever is interrupted before this runs the same command again.
            if !args.finish {
                rotate::publish(&site.request(&change), &rotated)?;
            }
            files
        }
        Err(diagnostic) => {
            diagnostics.push(diagnostic);
            Vec::new()
        }
    };
    let folder = site.project.folder();
    let human = if args.finish { human::rotation::finished(&rotated) } else { human::rotation::begun(&rotated, &folder, &files) };
    Ok(Report::new()
        .human(human)
        .member("services", &rotated.services)
        .member("finished", args.finish)
        .member("files", &files)
        .diagnostics(diagnostics)
        .diagnostics(site.project.warnings))
}
