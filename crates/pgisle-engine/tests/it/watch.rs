//! What whoever only watches sees of islands that are as they should be.

use std::collections::BTreeMap;

use pgisle_core::status::State;
use pgisle_engine::backup::{BackupStore, S3Environment};
use pgisle_engine::watch::{Place, Watcher};
use pgisle_testkit::{Cluster, majors};

use crate::apply::Project;

const SPEC: &str = r#"
environment        = "development"
name_prefix        = "link"
collation          = "C.UTF-8"
default_extensions = []
enable_pgbouncer   = false
postgres_sslmode   = "disable"
enable_ssl         = false

service "users" {}
service "chat" {}
"#;

/// Watches as the monitoring login does.
fn watcher(project: &Project, folder: &std::path::Path) -> Watcher {
    let credentials = project.store.load().unwrap();
    let login = credentials.monitoring.as_ref().unwrap();
    let settings = &project.spec.settings;
    let server = project.connect.to_database(&settings.maintenance_database).as_login(&login.role, login.secret.clone());
    let backups = BackupStore::open(
        folder.to_str().unwrap(),
        &settings.name_prefix,
        settings.environment,
        &S3Environment::from_environment([]),
    )
    .unwrap();
    let mut spec = project.spec.clone();
    spec.settings.postgres_username = project.connect.user.clone();
    Watcher::new(Place { spec, credentials: credentials.without_secrets(), server, poolers: Vec::new(), backups }, 1)
}

#[tokio::test]
async fn what_apply_made_is_seen_as_it_should_be_by_every_version() {
    let folder = tempfile::tempdir().unwrap();
    for major in majors().await {
        for is_plain in [false, true] {
            let cluster = Cluster::builder().major(major).start().await;
            let project = if is_plain { Project::plain(&cluster, SPEC).await } else { Project::new(&cluster, SPEC) };
            project.apply_with_dba(&cluster).await;
            let mut watcher = watcher(&project, folder.path());
            let watched = watcher.look().await;
            let sample = watched.server.last().unwrap_or_else(|| panic!("{major}: {:?}", watched.server.error));
            assert!(sample.usable_connections > 0 && sample.usable_connections < sample.max_connections, "{major}");
            assert!(sample.databases.values().any(|database| database.bytes.is_some()), "{major}");
            let standing = watched.standing.last().unwrap();
            assert_eq!((&standing.drift, standing.leaks.len()), (&Vec::new(), 0), "{major}, plain: {is_plain}");
            assert!(standing.states.values().all(|state| *state == State::Ready), "{major}");
            assert_eq!(watched.backups.last(), Some(&BTreeMap::new()), "{major}");
            watcher.close().await;
        }
    }
}
