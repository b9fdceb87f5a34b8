//! What comes out is what went in.

use pgisle_core::spec::Spec;
use pgisle_core::verify::{Bounds, Verdict};
use pgisle_engine::backup::restore::Compared;
use pgisle_engine::verify::{self, Options, Request, service_address};
use pgisle_testkit::Cluster;

use super::{Dump, TWO, catalogs, remains};
use crate::apply::{Project, rendered};
use crate::backup::NASTY;

/// Fills `link_users` as its owner role.
async fn fill(cluster: &Cluster, sql: &str) {
    cluster.psql_in("link_users", &format!("SET ROLE link_users_owner;\n{sql}")).await;
}

async fn leaks(project: &Project) -> (Verdict, String) {
    let spec: &Spec = &project.spec;
    let credentials = project.store.load().unwrap();
    let services = service_address(&project.connect, &spec.settings);
    let options = Options { dynamic: true, canary: false, bounds: Bounds::USUAL, parallelism: 2 };
    let request = Request {
        spec,
        credentials: &credentials,
        connect: &project.connect,
        services: &services,
        options,
        lock_timeout: std::time::Duration::ZERO,
    };
    let report = verify::run(&request, &|_| {}).await.unwrap();
    (report.verdict, rendered(&report.diagnostics()))
}

#[tokio::test]
async fn a_nasty_database_comes_back_as_it_was() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        cluster.psql("CREATE ROLE auditor").await;
        let project = Project::new(&cluster, &format!("trusted_roles = [\"auditor\"]\n{TWO}"));
        project.apply().await;
        cluster.psql("GRANT CONNECT ON DATABASE link_users TO auditor").await;
        if cluster.installation().contrib {
            cluster
                .psql_in("link_users", "CREATE SCHEMA ext AUTHORIZATION link_users_owner; CREATE EXTENSION hstore SCHEMA ext")
                .await;
            cluster.psql_in("link_users", "CREATE EXTENSION \"uuid-ossp\" SCHEMA public").await;
            fill(&cluster, "CREATE TABLE kept (h ext.hstore); INSERT INTO kept VALUES ('a=>1')").await;
        }
        fill(&cluster, NASTY).await;
        cluster.psql("ALTER DATABASE link_users SET work_mem = '5MB'").await;
        cluster.psql("ALTER ROLE link_users_user IN DATABASE link_users SET jit = off").await;
        let before = catalogs(&cluster, "link_users").await;
        let dump = Dump::of_users(&cluster).await;
        fill(&cluster, "DROP TABLE plain CASCADE; INSERT INTO empty VALUES (1)").await;

        let restored = dump.restore(&project).await.unwrap_or_else(|error| panic!("{major}: {}", super::said(&error)));
        assert_eq!(restored.compared, Compared::Content, "{major}");
        assert!(restored.diagnostics.is_empty(), "{major}: {}", rendered(&restored.diagnostics));
        assert!(restored.applied.as_ref().unwrap().planned.plan.is_empty(), "{major}");
        project.assert_settled().await;
        pretty_assertions(&before, &catalogs(&cluster, "link_users").await, major);
        assert_eq!(remains(&cluster).await, restored.replaced.as_str());
        assert_eq!(cluster.psql("SELECT datallowconn FROM pg_database WHERE datname ~ '__replaced_'").await, "f");
        let settings = "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase \
             WHERE datname = 'link_users' ORDER BY 1";
        assert_eq!(cluster.psql(settings).await, "{jit=off}\n{work_mem=5MB}");
        assert_eq!(cluster.psql("SELECT has_database_privilege('auditor', 'link_users', 'CONNECT')").await, "t");
        assert_eq!(leaks(&project).await, (Verdict::Isolated, String::new()), "{major}");
    }
}

/// Shows the first line that differs rather than both texts.
fn pretty_assertions(before: &str, after: &str, major: u32) {
    let mut lines = before.lines().zip(after.lines());
    if let Some((one, other)) = lines.find(|(one, other)| one != other) {
        panic!("{major}: was {one:?}, is {other:?}\n{after}");
    }
    assert_eq!(before.lines().count(), after.lines().count(), "{major}");
}
