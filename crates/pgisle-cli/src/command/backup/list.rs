//! `pgisle backup list`.

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;
use pgisle_engine::backup::catalog::{self, Listing};
use pgisle_engine::backup::cluster::{self, ClusterListing};
use pgisle_engine::backup::recover;
use pgisle_engine::backup::wal::{self, WalError, WalListing, Window};
use pgisle_engine::backup::{BackupError, BackupStore, Unfinished, uploads};
use pgisle_engine::clock;

use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::{human, json};

/// List the backups in the store.
///
/// Reads every manifest and looks whether the data is there and as long as it should be; `backup verify` reads the data, too. Needs
/// no server. Exits with 1 when a backup is damaged. Backups of the whole cluster have a table of their own, and so have the times
/// that can be recovered with them and the archived log; -service leaves both out.
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
    let uploads = unfinished(&store, &services).await?;
    diagnostics.extend(uploads.iter().map(upload_diagnostic));
    let mut cluster = ClusterListing::default();
    if services.is_empty() {
        cluster = cluster::list(&store).await.map_err(|error| vec![error.diagnostic()])?;
        diagnostics.extend(cluster_diagnostics(&cluster));
    }
    let (archive, windows) = match log(&store, &cluster, &services).await {
        Ok(log) => log,
        // The backups are to be seen all the same.
        Err(error) => {
            diagnostics.push(error.diagnostic());
            (WalListing::default(), Vec::new())
        }
    };
    diagnostics.extend(gaps(&windows));
    let now = clock::now();
    let is_cluster_alone = listing.backups.is_empty() && !cluster.backups.is_empty();
    let of_services = if is_cluster_alone { String::new() } else { human::backup::list(&listing, &store.location(), now) };
    let proofs = recover::proofs(&store).await.map_err(|error| vec![error.diagnostic()])?;
    let proofs: Vec<_> = proofs.values().filter(|proof| services.is_empty() || services.contains(&proof.service)).collect();
    let recovered = human::wal::recovered(&proofs, now);
    let parts = [of_services, human::cluster::list(&cluster, now), human::wal::list(&archive, &windows), recovered];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Ok(Report::new()
        .human(parts.join("\n"))
        .member("store", store.location())
        .member("backups", json::backups(&listing.backups))
        .member("damaged", &listing.damaged)
        .member("leftovers", &listing.leftovers)
        .member("uploads", &uploads)
        .member("cluster", json::cluster_listing(&cluster))
        .member("wal", json::wal(&archive, &windows))
        .member("recovered", &proofs)
        .diagnostics(diagnostics)
        .diagnostics(project.warnings))
}

/// The uploads that have not ended, of these services; of all and the cluster, when there are none.
async fn unfinished(store: &BackupStore, services: &[ServiceName]) -> Result<Vec<Unfinished>, Vec<Diagnostic>> {
    let mut uploads = store.unfinished().await.map_err(|error| vec![error.diagnostic()])?;
    uploads.retain(|upload| services.is_empty() || upload.service().is_some_and(|service| services.contains(&service)));
    Ok(uploads)
}

fn upload_diagnostic(upload: &Unfinished) -> Diagnostic {
    Diagnostic::warning(Code::BACKUP_LEFTOVER, format!("the upload of \"{}\" has not ended", upload.key))
        .about(uploads::about(upload))
        .detail(format!("It was begun at {}. Its parts are in no list of the store's, and take room.", upload.begun))
        .hint("Unless it is at work just now, the next `pgisle backup create` or `pgisle backup prune` calls it off.")
}

/// What there is of the log, and which times can be recovered with it.
async fn log(
    store: &BackupStore,
    cluster: &ClusterListing,
    services: &[ServiceName],
) -> Result<(WalListing, Vec<Window>), WalError> {
    if !services.is_empty() {
        return Ok((WalListing::default(), Vec::new()));
    }
    let archive = wal::catalog::list(store).await?;
    let windows = wal::windows(store, cluster, &archive).await?;
    Ok((archive, windows))
}

/// Times that cannot be recovered.
fn gaps(windows: &[Window]) -> impl Iterator<Item = Diagnostic> {
    let ends = windows.iter().enumerate().filter_map(|(index, window)| Some((index, window, window.missing.as_ref()?)));
    ends.map(|(index, window, missing)| {
        let until = windows.get(index + 1).map_or_else(|| "now".to_owned(), |next| next.from.to_string());
        Diagnostic::warning(Code::WAL_GAP, format!("segment {missing} is missing from the archive"))
            .about("cluster")
            .detail(format!("Times between {} and {until} cannot be recovered.", window.until))
            .hint("A new backup of the cluster makes all times after it recoverable:")
            .command("pgisle backup create -cluster")
    })
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
