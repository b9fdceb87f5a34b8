//! What happens when things go wrong: pgisle killed after each statement and around each file, the server killed, the lock lost,
//! several runs at once. Whatever it was, the next run ends where an undisturbed one does, and nobody gets in meanwhile.

mod catalog;
mod changes;
mod killed;
mod restores;
mod secrets;
pub(super) mod server;
mod together;
mod watcher;

use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use pgisle_testkit::{Builder, Cluster};
use serde_json::Value;

use crate::program::Place;
use watcher::Watcher;

/// Every kind of step that an apply to an empty cluster can have, in few statements: both kinds of access, a schema, session
/// parameters, an extension, the monitoring login, the fences. Few files, because they have a test of their own.
const SPEC: &str = r#"
environment         = "development"
name_prefix         = "shop"
collation           = "C.UTF-8"
default_extensions  = []
enable_pgbouncer    = false
postgres_sslmode    = "disable"
enable_ssl          = false

service "orders" {
  extensions = ["citext"]
}

service "chat" {
  access   = "split"
  schemas  = ["app"]
  settings = { statement_timeout = "30s" }
}
"#;

/// A login of another project's service, and one that has nothing but what PUBLIC has. The server lets both in without a
/// password, so the databases' own fences are all that keeps them out.
const SPIES: &str = r#"
CREATE ROLE spy LOGIN;
COMMENT ON ROLE spy IS 'pgisle: {"v":1,"project":"spies","environment":"development","kind":"login","service":"spy"}';
CREATE ROLE stranger LOGIN;
"#;

/// A cluster with spies on it.
async fn cluster(builder: Builder) -> Arc<Cluster> {
    let builder = builder.hba("host all spy,stranger 127.0.0.1/32 trust").hba("host all all 127.0.0.1/32 scram-sha-256");
    let cluster = builder.start().await;
    cluster.psql(SPIES).await;
    Arc::new(cluster)
}

/// Both spies at both databases.
fn spies(cluster: &Arc<Cluster>) -> Watcher {
    let attempts =
        [("spy", "", "shop_orders"), ("spy", "", "shop_chat"), ("stranger", "", "shop_orders"), ("stranger", "", "shop_chat")];
    Watcher::start(cluster, &attempts, Duration::from_millis(100))
}

pub(crate) fn place(cluster: &Cluster, spec: &str) -> Place {
    place_of(cluster, cluster.superuser(), cluster.password(), spec)
}

fn place_of(cluster: &Cluster, admin: &str, password: &str, spec: &str) -> Place {
    let place = Place::new()
        .variable("PGISLE_VAR_postgres_host", cluster.host())
        .variable("PGISLE_VAR_postgres_port", &cluster.port().to_string())
        .variable("PGISLE_VAR_postgres_username", admin)
        .variable("PGPASSWORD", password);
    place.file("pgisle.hcl", spec);
    place
}

/// Runs pgisle, and insists on how it ends.
pub(super) async fn ends(place: &Place, arguments: &[&str], code: i32) -> String {
    let output = place.run(&patient(arguments), &[]).await;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}");
    said
}

/// The lock of a run that was killed just before goes only when the server notices, so it is waited for.
fn patient<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let is_said = arguments.iter().any(|argument| argument.starts_with("-lock-timeout"));
    arguments.iter().copied().chain((!is_said).then_some("-lock-timeout=30s")).collect()
}

pub(super) fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// The logins of the store that are to work: role, password, database.
fn logins(place: &Place) -> Vec<(String, String, String)> {
    let store: Value = serde_json::from_str(&place.read(".pgisle/development/credentials.json")).unwrap();
    let login = |entry: &Value, database: &str| {
        let field = |name: &str| entry[name].as_str().map(str::to_owned);
        Some((field("role")?, field("password")?, database.to_owned()))
    };
    let services = store["services"].as_object().unwrap();
    let of_service = |(name, logins): (&String, &Value)| {
        let database = format!("shop_{name}");
        let all: Vec<_> = ["active", "draining", "migrator"].iter().filter_map(|kind| login(&logins[kind], &database)).collect();
        all
    };
    let monitoring = login(&store["monitoring"], "postgres");
    services.iter().flat_map(of_service).chain(monitoring).collect()
}

/// Each login of the store gets into its database.
async fn assert_logins_work(cluster: &Cluster, place: &Place) {
    for (role, password, database) in logins(place) {
        let client = cluster.connect_as(&role, &password, &database).await;
        client.unwrap_or_else(|error| panic!("{role} in {database}: {error:?}"));
    }
}

/// Runs with a fault; false when the run was over before its point came.
pub(super) async fn was_killed(place: &Place, arguments: &[&str], variable: &str, point: &str) -> bool {
    const SIGKILL: i32 = 9;
    let output = place.run(&patient(arguments), &[(variable, point)]).await;
    let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(SIGKILL);
    assert!(killed || output.status.success(), "{point}: {}", text(&output));
    killed
}

/// Compares two dumps of the catalogs, and shows the lines that differ.
fn assert_same(expected: &str, found: &str, point: &str) {
    let only_in = |one: &str, other: &str| -> Vec<String> {
        one.lines().filter(|line| !other.lines().any(|same| same == *line)).map(str::to_owned).collect()
    };
    assert!(expected == found, "{point}: missing {:#?}, and instead {:#?}", only_in(expected, found), only_in(found, expected));
}
