//! `pgisle verify -failover`.

use std::path::Path;
use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_engine::failover::{self, Options, Request};
use pgisle_engine::local::dev;

use crate::command::dev::{restore, start_pooler};
use crate::progress::Progress;
use crate::project::{HERE, Project};
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// The bounds of a part of the load: shorter, nothing can be seen; longer, nobody would wait.
const DURATIONS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// The standby is held back no longer than this.
const LAG_MAX: Duration = Duration::from_secs(10);

/// The bounds of the waiting.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10 * 60);

/// How it is done.
#[derive(clap::Args)]
pub(super) struct FailoverArgs {
    /// Kill the private cluster's primary under load instead, let its standby take over, and compare what clients were told with what is there.
    #[arg(long, conflicts_with_all = ["load", "junit", "no_canary", "only_static"])]
    pub(super) failover: bool,
    /// With -failover: have every commit wait until the standby has it, and measure what that costs.
    #[arg(long, requires = "failover")]
    sync: bool,
    /// With -failover: writes a second of each service.
    #[arg(long, value_name = "N", requires = "failover", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2000))]
    rate: u32,
    /// With -failover: writing clients of each service; no more than its pool has connections.
    #[arg(long, value_name = "N", requires = "failover", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=50))]
    writers: u32,
    /// With -failover: how long they write before the kill, and again when both servers are back.
    #[arg(long, value_name = "DURATION", requires = "failover", default_value = "2s", value_parser = pgisle_core::duration::parse)]
    settle: Duration,
    /// With -failover: keep the standby from getting the log for so long before the kill, as a slow network would.
    #[arg(long, value_name = "DURATION", requires = "failover", default_value = "0s", value_parser = pgisle_core::duration::parse)]
    lag: Duration,
    /// With -failover: how long the services may take to come back, and the old primary to follow.
    #[arg(long, value_name = "DURATION", requires = "failover", default_value = "60s", value_parser = pgisle_core::duration::parse)]
    timeout: Duration,
}

pub(super) async fn run(session: &Session, args: &FailoverArgs) -> Result<Report, Vec<Diagnostic>> {
    let options = options(args)?;
    if !session.global.is_dev() {
        return Err(vec![
            Diagnostic::error(Code::FAILOVER_REFUSED, "-failover is for the private cluster alone")
                .detail("It kills the primary with SIGKILL. A cluster of your own is never killed, so nothing was done.")
                .hint("Try it on the private cluster, with a standby:")
                .command("pgisle dev up -standby")
                .command("pgisle apply -dev")
                .command("pgisle verify -dev -failover"),
        ]);
    }
    let here = Path::new(HERE);
    if dev::is_failing_over(here).map_err(|error| vec![error.diagnostic()])? {
        // One that was broken off has left a primary that is still to be promoted, or a load's tables.
        restore(session).await?;
    }
    let mut project = Project::load(session).await?;
    let connect = project.connect_options()?;
    project.learn_homes(&connect).await?;
    let credentials = project.store()?.load().map_err(|error| vec![error.diagnostic()])?;
    let request = Request { project: here, spec: &project.spec, credentials: &credentials, homes: project.homes(), options };
    let progress = Progress::new(&session.console, "failing over");
    let advance = |what: &'static str| progress.update(0, 0, what);
    let report = progress.watch(Box::pin(failover::run(&request, &advance))).await.map_err(|error| vec![error.diagnostic()])?;
    // The generated files name the server that was killed.
    let files = start_pooler(session).await.err();
    Ok(Report::new()
        .human(human::failover::report(&report))
        .member("failover", &report)
        .diagnostics(report.diagnostics())
        .diagnostics(files)
        .diagnostics(project.warnings))
}

fn options(args: &FailoverArgs) -> Result<Options, Vec<Diagnostic>> {
    let wrong = |text: &str| vec![Diagnostic::error(Code::USAGE, text)];
    if !DURATIONS.contains(&args.settle) {
        return Err(wrong("-settle is between 100ms and 60s"));
    }
    if args.lag > LAG_MAX {
        return Err(wrong("-lag is at most 10s"));
    }
    if !TIMEOUTS.contains(&args.timeout) {
        return Err(wrong("-timeout is between 1s and 10m"));
    }
    Ok(Options {
        is_synchronous: args.sync,
        rate: args.rate,
        clients: args.writers,
        duration: args.settle,
        held_back: args.lag,
        timeout: args.timeout,
    })
}
