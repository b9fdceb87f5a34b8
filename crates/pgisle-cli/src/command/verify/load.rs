//! `pgisle verify -load`.

use std::path::Path;
use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_engine::load::{self, Options, Request};
use pgisle_engine::verify::service_address;

use crate::progress::Progress;
use crate::project::{HERE, Project};
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Shorter than this nothing can be measured.
const DURATION_MIN: Duration = Duration::from_millis(200);

/// Longer than this is no test any more.
const DURATION_MAX: Duration = Duration::from_secs(10 * 60);

/// How much of it.
#[derive(clap::Args)]
pub(super) struct LoadArgs {
    /// Put the connections under a bounded load instead, without pools, with them, and beside a noisy neighbour.
    #[arg(long, conflicts_with_all = ["junit", "no_canary", "only_static"])]
    pub(super) load: bool,
    /// With -load: how long each part runs.
    #[arg(long, value_name = "DURATION", requires = "load", default_value = "5s", value_parser = pgisle_core::duration::parse)]
    duration: Duration,
    /// With -load: clients of each service; without it, as many as its instances' pools hold and there is room for.
    #[arg(long, value_name = "N", requires = "load", value_parser = clap::value_parser!(u32).range(1..=900))]
    clients: Option<u32>,
    /// With -load: how long each client waits between two transactions; 0s goes as fast as it can.
    #[arg(long, value_name = "DURATION", requires = "load", default_value = "250ms", value_parser = pgisle_core::duration::parse)]
    pause: Duration,
    /// With -load: clients of the noisy neighbour; 0 leaves it out.
    #[arg(long, value_name = "N", requires = "load", default_value_t = 400, value_parser = clap::value_parser!(u32).range(0..=900))]
    noisy: u32,
}

pub(super) async fn run(session: &Session, args: &LoadArgs) -> Result<Report, Vec<Diagnostic>> {
    if args.duration < DURATION_MIN || args.duration > DURATION_MAX {
        return Err(vec![Diagnostic::error(Code::USAGE, "the duration of a load is between 200ms and 10m")]);
    }
    let mut project = Project::load(session).await?;
    let connect = project.connect_options()?.for_purpose("load");
    project.learn_homes(&connect).await?;
    let credentials = project.store()?.load().map_err(|error| vec![error.diagnostic()])?;
    let services = service_address(&connect, &project.spec.settings);
    let request = Request {
        project: Path::new(HERE),
        spec: &project.spec,
        credentials: &credentials,
        connect: &connect,
        services: &services,
        endpoint: &project.endpoint(),
        options: Options { duration: args.duration, clients: args.clients, pause: args.pause, noisy: args.noisy },
    };
    let progress = Progress::new(&session.console, "loading");
    let advance = |what: &'static str| progress.update(0, 0, what);
    let report = progress.watch(Box::pin(load::run(&request, &advance))).await.map_err(|error| vec![error.diagnostic()])?;
    Ok(Report::new()
        .human(human::load::report(&report))
        .member("load", &report)
        .diagnostics(report.diagnostics())
        .diagnostics(project.warnings))
}
