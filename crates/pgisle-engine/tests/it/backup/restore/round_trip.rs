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
pub(super) async fn fill(cluster: &Cluster, sql: &str) {
    cluster.psql_in("link_users", &format!("SET ROLE link_users_owner;\n{sql}")).await;
}

/// What the proof of isolation says.
pub(super) async fn leaks(project: &Project) -> (Verdict, String) {
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

/// Tables of many pieces, indexes and foreign keys that wait for each other, and parts whose keys depend on attached indexes.
const LARGE: &str = "
CREATE TABLE parts (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE parts_one PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2025-07-01');
CREATE TABLE parts_two PARTITION OF parts FOR VALUES FROM ('2025-07-01') TO ('2026-01-01');
INSERT INTO parts SELECT g, date '2025-01-01' + g % 365 FROM generate_series(1, 20000) AS g;
CREATE TABLE owners (id int PRIMARY KEY, name text UNIQUE);
INSERT INTO owners SELECT g, 'name ' || g FROM generate_series(1, 5000) AS g;
CREATE TABLE things (
    id int PRIMARY KEY, owner int NOT NULL REFERENCES owners, part int, at date, twin int REFERENCES things, note text,
    FOREIGN KEY (part, at) REFERENCES parts
);
INSERT INTO things SELECT g, 1 + g % 5000, 1 + g % 20000, date '2025-01-01' + (1 + g % 20000) % 365, g, repeat(md5(g::text), 3)
    FROM generate_series(1, 40000) AS g;
CREATE INDEX ON things (owner);
CREATE INDEX ON things (note);
CREATE INDEX ON things (lower(note)) WHERE id % 2 = 0;
ALTER TABLE things CLUSTER ON things_owner_idx;
CREATE MATERIALIZED VIEW by_owner AS SELECT owner, count(*) FROM things GROUP BY owner;
CREATE UNIQUE INDEX ON by_owner (owner);
CREATE VIEW keyed AS SELECT o.id, o.name, count(*) FROM owners o JOIN things t ON t.owner = o.id GROUP BY o.id;
COMMENT ON INDEX things_note_idx IS 'of notes';
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not now''; END';
CREATE TRIGGER refusing BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION refuse();
";

#[tokio::test]
async fn several_sessions_make_what_one_makes() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::new(&cluster, TWO);
        project.apply().await;
        fill(&cluster, LARGE).await;
        let before = catalogs(&cluster, "link_users").await;
        let dump = Dump::of_users(&cluster).await;
        for parallelism in [1, 2, 5] {
            let restored = dump.restore_with(&project, parallelism).await;
            let restored = restored.unwrap_or_else(|error| panic!("{major} with {parallelism}: {}", super::said(&error)));
            assert_eq!((restored.compared, restored.rows), (Compared::Content, 65000), "{major} with {parallelism}");
            pretty_assertions(&before, &catalogs(&cluster, "link_users").await, major);
            let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
            assert_eq!(cluster.psql_in("link_users", invalid).await, "0", "{major} with {parallelism}");
        }
        project.assert_settled().await;
    }
}

#[tokio::test]
async fn a_server_with_few_connections_left_is_restored_on_with_fewer() {
    let cluster = Cluster::builder().conf("max_connections", "20").start().await;
    let mut project = Project::new(&cluster, TWO);
    // Pools that fit into so small a server.
    project.spec.services.values_mut().for_each(|service| service.pool_size = 1);
    project.apply().await;
    fill(&cluster, LARGE).await;
    let dump = Dump::of_users(&cluster).await;
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(cluster.connect().await);
    }
    let restored = dump.restore_with(&project, 30).await.unwrap_or_else(|error| panic!("{}", super::said(&error)));
    assert_eq!((restored.compared, restored.rows), (Compared::Content, 65000));
    drop(others);
}
