//! What the services of a split come through: PgBouncer, and the generated files that it reads.

use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::spec::{PoolMode, Service};
use pgisle_engine::event::{Event, Events};
use pgisle_engine::pooler::PoolerConsole;
use pgisle_engine::split::{Publishing, Request, SplitError};
use tokio::sync::Mutex;

use crate::args::address::{self, Address};
use crate::command::change::{Change, Site};
use crate::progress::Progress;
use crate::project::Project;

/// How PgBouncer is told.
#[derive(clap::Args, Default)]
pub(super) struct FrontArgs {
    /// Pause and redirect this PgBouncer instead of the one at pgbouncer_host and pgbouncer_port (can be repeated).
    #[arg(long, value_name = "HOST:PORT", value_parser = address::parse)]
    pub(super) pooler: Vec<Address>,
    /// Do not pause PgBouncer, and go on when one is not there: who writes at that moment waits for the tables, or gets an error that says where they are.
    #[arg(long)]
    pub(super) no_pause: bool,
}

/// PgBouncer and the files, for as long as a command works on them.
pub(super) struct Front {
    poolers: Vec<PoolerConsole>,
    /// Whether they are paused.
    pauses: bool,
    /// Whether they must all be there.
    needs_poolers: bool,
    /// Another reading of the project, which writes the files.
    publisher: Mutex<Project>,
}

impl Front {
    pub(super) async fn open(site: &Site<'_>, args: &FrontArgs) -> Result<Self, Vec<Diagnostic>> {
        let credentials = site.store.load().map_err(|error| vec![error.diagnostic()])?;
        let poolers = site.project.pooler_consoles(&credentials, &args.pooler);
        // In this mode a client keeps its connection until it leaves, and a pause would wait for that.
        let can_pause = site.project.spec.settings.pgbouncer_pool_mode != PoolMode::Session;
        let needs_poolers = !args.no_pause;
        let publisher = Mutex::new(Project::load(site.session).await?);
        Ok(Self { poolers, pauses: can_pause && needs_poolers, needs_poolers, publisher })
    }

    /// Does what a command is there for, and shows how far it is. Writers are held off for no longer than `pause_max`.
    pub(super) async fn work<T>(
        &self,
        site: &Site<'_>,
        service: &Service,
        pause_max: Duration,
        verb: &'static str,
        work: impl AsyncFnOnce(&Request<'_>, Events<'_>) -> Result<T, SplitError>,
    ) -> Result<T, Vec<Diagnostic>> {
        let change = Change::default();
        let apply = site.request(&change);
        let publish = || self.publish(site);
        let (poolers, pauses, needs_poolers) = (self.poolers.as_slice(), self.pauses, self.needs_poolers);
        let request = Request { apply: &apply, service, poolers, pauses, needs_poolers, publish: &publish, pause_max };
        let progress = Progress::new(&site.session.console, verb);
        let events = |event: Event<'_>| progress.event(&event);
        progress.watch(Box::pin(work(&request, &events))).await.map_err(|error| vec![error.diagnostic()])
    }

    /// What it costs that nobody waits in PgBouncer.
    pub(super) fn without_pause(&self, site: &Site<'_>) -> Option<Diagnostic> {
        if self.pauses && !self.poolers.is_empty() {
            return None;
        }
        let why = match (self.poolers.is_empty(), site.project.spec.settings.pgbouncer_pool_mode) {
            (true, _) => "there is none in front of the services",
            (false, PoolMode::Session) => "its pool mode is session, where a client keeps its connection until it leaves",
            (false, _) => "-no-pause says so",
        };
        Some(
            Diagnostic::note(Code::SPLIT_PAUSE, "PgBouncer does not hold the service's clients back while its home moves")
                .detail(format!(
                    "The reason: {why}. Who writes at that moment waits for the tables, and then gets an error that says where they \
                     are: it must connect again."
                ))
                .hint("With PgBouncer in pool mode transaction or statement, clients wait and notice nothing."),
        )
    }

    /// Writes the generated files as the homes are now, and has the private PgBouncer read them.
    fn publish<'a>(&'a self, site: &'a Site<'_>) -> Publishing<'a> {
        Box::pin(async move {
            let mut project = self.publisher.lock().await;
            project.learn_homes(&site.connect).await?;
            let credentials = site.store.load().map_err(|error| vec![error.diagnostic()])?;
            project.write_artifacts(&credentials, false).map_err(|error| vec![error])?;
            project.refresh_pooler(&credentials).await.map_err(|error| vec![error])
        })
    }
}
