//! `pgisle backup list`.

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;
use pgisle_engine::backup::BackupError;
use pgisle_engine::backup::catalog::{self, Listing};
use pgisle_engine::backup::cluster::{self, ClusterListing};
use pgisle_engine::clock;

use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::{human, json};

/// List the backups in the store.
///
/// Reads every manifest and looks whether the data is there and as long as it should be; `backup verify` reads the data, too. Needs
/// no server. Exits with 1 when a backup is damaged. Backups of the whole cluster have a table of their own, which -service leaves out.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle backup list
    service  backup                     age   rows     dump   stored  verified
    chat     20250119T020000Z-5b2e9d10   9 h  1811   2.1 MB   310 kB  stored, 9 h ago
    users    20250119T020000Z-3f9a01c7   9 h   912   1.0 MB   172 kB  stored, 9 h ago

  $ pgisle backup list -service=users -json | jq -r '.backups[].id'")]
pub(super) struct Args {
    /// List this service's only (can be repeated).
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let project = Project::load(session).await?;
    let services = super::services(&args.service)?;
    let store = project.backups()?;
    let listing = catalog::list(&store, None).await.map_err(|error| vec![error.diagnostic()])?;
    let listing = only(listing, &services);
    let damaged = listing.damaged.iter().cloned().map(|damage| BackupError::from(damage).diagnostic());
    let leftovers = listing.leftovers.iter().map(|leftover| {
        Diagnostic::warning(Code::BACKUP_LEFTOVER, format!("{} is the rest of an interrupted backup", leftover.id))
            .about(format!("service \"{}\"", leftover.service))
            .detail(format!("It has no manifest and {} bytes, unless it is being written just now.", leftover.bytes))
            .hint("`pgisle backup prune` removes it when it is a day old.")
    });
    let mut diagnostics: Vec<Diagnostic> = damaged.chain(leftovers).collect();
    let mut cluster = ClusterListing::default();
    if services.is_empty() {
        cluster = cluster::list(&store).await.map_err(|error| vec![error.diagnostic()])?;
        diagnostics.extend(cluster_diagnostics(&cluster));
    }
    let now = clock::now();
    let is_cluster_alone = listing.backups.is_empty() && !cluster.backups.is_empty();
    let of_services = if is_cluster_alone { String::new() } else { human::backup::list(&listing, &store.location(), now) };
    let of_cluster = human::cluster::list(&cluster, now);
    let gap = if of_services.is_empty() || of_cluster.is_empty() { "" } else { "\n" };
    Ok(Report::new()
        .human(of_services)
        .human(gap)
        .human(of_cluster)
        .member("store", store.location())
        .member("backups", json::backups(&listing.backups))
        .member("damaged", &listing.damaged)
        .member("leftovers", &listing.leftovers)
        .member("cluster", json::cluster_listing(&cluster))
        .diagnostics(diagnostics)
        .diagnostics(project.warnings))
}

/// What is wrong with the cluster's backups.
fn cluster_diagnostics(listing: &ClusterListing) -> impl Iterator<Item = Diagnostic> {
    let damaged = listing.damaged.iter().cloned().map(|damage| BackupError::from(damage).diagnostic());
    damaged.chain(listing.leftovers.iter().map(|leftover| {
        Diagnostic::warning(Code::BACKUP_LEFTOVER, format!("{} is the rest of an interrupted backup", leftover.id))
            .about("cluster")
            .detail(format!("It has no manifest and {} bytes, unless it is being written just now.", leftover.bytes))
            .hint("`pgisle backup prune` removes it when it is a day old.")
    }))
}

/// What is of these services; of all, when there are none.
pub(super) fn only(listing: Listing, services: &[ServiceName]) -> Listing {
    let is_wanted = |service: &ServiceName| services.is_empty() || services.contains(service);
    let Listing { mut backups, mut damaged, mut leftovers } = listing;
    backups.retain(|backup| is_wanted(backup.service()));
    damaged.retain(|damage| is_wanted(&damage.service));
    leftovers.retain(|leftover| is_wanted(&leftover.service));
    Listing { backups, damaged, leftovers }
}
