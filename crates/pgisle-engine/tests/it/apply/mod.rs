//! Plan and apply on real servers.

mod adopt;
mod converge;
mod drift;
mod hostile;
mod retire;

use std::collections::BTreeSet;
use std::time::Duration;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::plan::Target;
use pgisle_core::spec::{LayerKind, SPEC_FILE, Sources, Spec, SpecSecrets, load};
use pgisle_engine::apply::{self, Applied, ApplyError, Intent, Preview, Request};
use pgisle_engine::credential::{IdentitySource, Store};
use pgisle_engine::event::Event;
use pgisle_engine::postgres::ConnectOptions;
use pgisle_testkit::Cluster;
use tempfile::TempDir;

use crate::postgres::{login, superuser};

/// The brief's five services, as short as they can be written.
pub(crate) const FIVE: &str = r#"
service "users" {
  instances = 3
}
service "chat" {
  instances = 2
}
service "ai" {
  instances = 2
}
service "search" {
}
service "discovery" {
}
"#;

/// A spec with a folder of its own, pointed at a cluster.
pub(crate) struct Project {
    pub(crate) spec: Spec,
    pub(crate) secrets: SpecSecrets,
    pub(crate) connect: ConnectOptions,
    pub(crate) store: Store,
    pub(crate) targets: Vec<Target>,
    pub(crate) adopt: BTreeSet<pgisle_core::name::ServiceName>,
    pub(crate) intent: Intent,
    pub(crate) end_sessions: bool,
    /// Kept for as long as the store is used.
    _folder: TempDir,
}

impl Project {
    /// A project whose administrator is the superuser.
    pub(crate) fn new(cluster: &Cluster, text: &str) -> Self {
        Self::with(superuser(cluster), text)
    }

    /// A project whose administrator may create roles and databases, and no more.
    pub(crate) async fn plain(cluster: &Cluster, text: &str) -> Self {
        let password = cluster.create_plain_admin("platform").await;
        Self::with(login(cluster, "platform", &password), text)
    }

    fn with(connect: ConnectOptions, text: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let (spec, secrets) = parse(text);
        let identities = IdentitySource::from_environment(|_| None);
        let store = Store::new(folder.path(), spec.settings.environment, &[], identities).unwrap();
        let (targets, adopt, intent) = (Vec::new(), BTreeSet::new(), Intent::Apply);
        Self { spec, secrets, connect, store, targets, adopt, intent, end_sessions: false, _folder: folder }
    }

    /// Changes the file.
    pub(crate) fn rewrite(&mut self, text: &str) {
        (self.spec, self.secrets) = parse(text);
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            spec: &self.spec,
            secrets: &self.secrets,
            connect: &self.connect,
            store: &self.store,
            intent: self.intent,
            backups: None,
            targets: &self.targets,
            adopt: &self.adopt,
            end_sessions: self.end_sessions,
            parallelism: 4,
            must_fit: true,
            lock_timeout: Duration::ZERO,
            expected: None,
        }
    }

    pub(crate) async fn preview(&self) -> Preview {
        apply::preview(&self.request(), &|_| {}).await.unwrap()
    }

    pub(crate) async fn try_apply(&self) -> Result<Applied, ApplyError> {
        apply::run(&self.request(), &|_: Event<'_>| {}).await
    }

    /// Applies, and insists that all went well.
    pub(crate) async fn apply(&self) -> Applied {
        let applied = self.try_apply().await.unwrap();
        assert!(applied.diagnostics().is_empty(), "{}", rendered(&applied.diagnostics()));
        applied
    }

    /// Applies as an administrator who may not do everything, and does the rest as it was told.
    pub(crate) async fn apply_with_dba(&self, cluster: &Cluster) {
        let applied = self.apply().await;
        for blocked in &applied.planned.report.blocked {
            for statement in &blocked.statements {
                let database = statement.database.as_ref().map_or("postgres", |name| name.as_str());
                cluster.psql_in(database, &statement.sql).await;
            }
        }
        assert_eq!(self.preview().await.planned.report.blocked, Vec::new());
    }

    /// The steps that a plan has now, as lines.
    pub(crate) async fn pending(&self) -> Vec<String> {
        let preview = self.preview().await;
        preview.planned.plan.steps().map(|step| format!("{} [{:?}] {}", step.address, step.cause, step.summary())).collect()
    }

    pub(crate) async fn assert_settled(&self) {
        for _ in 0..2 {
            assert_eq!(self.pending().await, Vec::<String>::new());
        }
    }
}

pub(crate) fn parse(text: &str) -> (Spec, SpecSecrets) {
    let mut sources = Sources::new();
    sources.push(LayerKind::SpecFile, SPEC_FILE, text);
    let loaded = load(&sources);
    let spec = loaded.spec.unwrap_or_else(|| panic!("{}", rendered(&loaded.diagnostics)));
    (spec, loaded.secrets)
}

pub(crate) fn rendered(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect()
}
