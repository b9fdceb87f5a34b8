//! A cluster with services that have something in them, and a store for their backups.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pgisle_core::backup::DumpFormat;
use pgisle_core::name::ServiceName;
use pgisle_engine::backup::catalog::{self, Backup, Listing};
use pgisle_engine::backup::create::{self, Made, Request};
use pgisle_engine::backup::{BackupError, BackupStore, verify};
use pgisle_engine::credential::IdentitySource;
use pgisle_engine::pooler::PoolerConsole;
use pgisle_testkit::Cluster;
use tempfile::TempDir;

use super::store::folder_store;
use crate::apply::{Project, rendered};

/// Two services.
pub(super) const TWO: &str = "service \"users\" {\n}\nservice \"chat\" {\n}\n";

/// One service.
pub(super) const ONE: &str = "service \"users\" {\n}\n";

/// What the tests work on.
pub(super) struct Site {
    pub(super) cluster: Cluster,
    pub(super) project: Project,
    pub(super) store: BackupStore,
    pub(super) identities: IdentitySource,
    pub(super) format: DumpFormat,
    pub(super) consistent: bool,
    pub(super) poolers: Vec<PoolerConsole>,
    folder: TempDir,
}

pub(super) fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

impl Site {
    /// The services of a file, applied by the superuser.
    pub(super) async fn new(text: &str) -> Self {
        let cluster = Cluster::start().await;
        let project = Project::new(&cluster, text);
        Self::with(cluster, project).await
    }

    pub(super) async fn with(cluster: Cluster, project: Project) -> Self {
        // What `NASTY` grants something to.
        cluster.psql("CREATE ROLE auditor").await;
        project.try_apply().await.unwrap();
        let folder = TempDir::new().unwrap();
        let store = folder_store(folder.path());
        let identities = IdentitySource::from_environment(|_| None);
        Self { cluster, project, store, identities, format: DumpFormat::Custom, consistent: false, poolers: Vec::new(), folder }
    }

    /// Where this project's objects are.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("link-development")
    }

    /// Runs statements as a service's owner role.
    pub(super) async fn fill(&self, service: &str, sql: &str) {
        let sql = format!("SET ROLE link_{service}_owner;\n{sql}");
        self.cluster.psql_in(&format!("link_{service}"), &sql).await;
    }

    pub(super) fn request<'a>(&'a self, services: &'a [ServiceName]) -> Request<'a> {
        Request {
            spec: &self.project.spec,
            connect: &self.project.connect,
            store: &self.store,
            identities: &self.identities,
            services,
            format: self.format,
            consistent: self.consistent,
            poolers: &self.poolers,
            parallelism: 2,
            lock_timeout: Duration::ZERO,
        }
    }

    pub(super) async fn create(&self) -> Made {
        create::create(&self.request(&[]), &|_| {}).await.unwrap_or_else(|diagnostic| panic!("{diagnostic}"))
    }

    /// Makes backups, and insists that all went well.
    pub(super) async fn backups(&self) -> Vec<Backup> {
        let made = self.create().await;
        made.services.into_iter().map(|one| one.outcome.unwrap_or_else(|diagnostic| panic!("{diagnostic}"))).collect()
    }

    pub(super) async fn list(&self) -> Listing {
        catalog::list(&self.store, None).await.unwrap()
    }

    pub(super) async fn verify(&self, backup: &Backup) -> Result<verify::Depth, BackupError> {
        verify::verify(&self.store, backup, &self.identities, &|_| {}).await
    }

    /// The folder of a backup.
    pub(super) fn folder_of(&self, backup: &Backup) -> PathBuf {
        self.root().join("services").join(backup.service().as_str()).join(backup.id().as_str())
    }
}

/// The only failure of a run that made nothing.
pub(super) fn failure(made: Made) -> String {
    let diagnostics: Vec<_> = made.services.into_iter().filter_map(|one| one.outcome.err()).collect();
    assert!(!diagnostics.is_empty());
    rendered(&diagnostics)
}

/// All files below a folder.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
