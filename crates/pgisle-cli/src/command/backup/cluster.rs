//! `pgisle backup create -cluster`.

use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::backup::cluster::{self, ClusterRequest};
use pgisle_engine::backup::create::Event;
use pgisle_engine::backup::report::Status;
use pgisle_engine::clock;

use super::create::Args;
use crate::progress::Progress;
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::{human, json};

pub(super) async fn create(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let mut project = Project::load(session).await?;
    let connect = project.connect_options()?.for_purpose("backup");
    let store = project.backups()?;
    let request = ClusterRequest {
        spec: &project.spec,
        connect: &connect,
        store: &store,
        identities: &Project::identities(),
        is_incremental: args.incremental,
        lock_timeout: session.global.lock_timeout,
    };
    let begun = clock::now();
    let progress = Progress::new(&session.console, "copying the cluster");
    let events = |event: Event<'_>| progress.backup(&event);
    let made = progress.watch(Box::pin(cluster::create(&request, &events))).await;
    let status = Status::of_cluster(begun, &made);
    let warnings = super::publish(&store, &project.spec.settings, &status, args.metrics.as_ref()).await;
    let made = made.map_err(|diagnostics| [diagnostics, warnings.clone()].concat())?;
    Ok(Report::new()
        .human(human::cluster::made(&made, &store.location()))
        .member("store", store.location())
        .member("cluster", json::cluster_backup(&made.backup))
        .diagnostics(made.warnings)
        .diagnostics(warnings)
        .diagnostics(project.warnings))
}
