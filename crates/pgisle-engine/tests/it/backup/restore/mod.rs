//! Restores on real servers.

mod beside;
mod foreign;
mod full;
mod hostile;
mod large;
mod round_trip;
mod stored;
mod swap;

use std::io::{self, Read};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use pgisle_core::backup::Manifest;
use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::backup::restore::{self, Drilled, Input, RestoreError, Restored, Stream};
use pgisle_testkit::Cluster;

use crate::apply::Project;
use crate::backup::pg_dump;

/// Two services; the first is the one that is restored.
pub(crate) const TWO: &str = r#"
collation          = "C.UTF-8"
default_extensions = []

service "users" {
}
service "chat" {
}
"#;

/// Bytes as something to restore.
pub(crate) struct Dump {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) manifest: Option<Manifest>,
}

impl Dump {
    pub(crate) fn new(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), bytes: bytes.into(), manifest: None }
    }

    /// An archive of `link_users`, with the manifest that pgisle would write.
    pub(crate) async fn of_users(cluster: &Cluster) -> Self {
        let bytes = pg_dump(cluster, "link_users", &["-Fc", "-Z0"]).await;
        let manifest = Some(super::manifest_of(cluster, &bytes).await);
        Self { manifest, ..Self::new("20250119T020000Z-00000007", bytes) }
    }

    fn open(&self) -> BoxFuture<'_, io::Result<Stream>> {
        let bytes = self.bytes.clone();
        async move { Ok(Box::new(io::Cursor::new(bytes)) as Box<dyn Read + Send>) }.boxed()
    }

    pub(crate) async fn drill(&self, project: &Project) -> Result<Drilled, RestoreError> {
        let open = || self.open();
        let input = Input { name: self.name.clone(), open: &open, manifest: self.manifest.as_ref() };
        let service = &project.spec.services[&pgisle_core::name::ServiceName::parse("users").unwrap()];
        Box::pin(restore::drill(&project.request(), service, &input, &|_| {})).await
    }

    pub(crate) async fn restore(&self, project: &Project) -> Result<Restored, RestoreError> {
        self.restore_with(project, project.request().parallelism).await
    }

    pub(crate) async fn restore_with(&self, project: &Project, parallelism: usize) -> Result<Restored, RestoreError> {
        let open = || self.open();
        let input = Input { name: self.name.clone(), open: &open, manifest: self.manifest.as_ref() };
        let service = &project.spec.services[&pgisle_core::name::ServiceName::parse("users").unwrap()];
        let request = pgisle_engine::apply::Request { parallelism, ..project.request() };
        Box::pin(restore::restore(&request, service, &input, &|_| {})).await
    }
}

/// What an error says, all of it.
pub(crate) fn said(error: &RestoreError) -> String {
    let diagnostic: Diagnostic = error.diagnostic();
    diagnostic.to_string()
}

/// What the catalogs say of a database: owners, privileges, and everything else that `pg_dump` writes into a script. The order is
/// that of `pg_dump`, which is the same for the same things.
pub(crate) async fn catalogs(cluster: &Cluster, database: &str) -> String {
    let script = pg_dump(cluster, database, &["--schema-only"]).await;
    let text = String::from_utf8(script).unwrap();
    // The key differs from run to run.
    text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict")).collect::<Vec<_>>().join("\n")
}

/// Databases and logins that restores have left.
pub(crate) async fn remains(cluster: &Cluster) -> String {
    cluster
        .psql(
            "SELECT datname FROM pg_database WHERE datname ~ '__(restore|drill|replaced)_' \
             UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE '%\\_\\_restore' ORDER BY 1",
        )
        .await
}
