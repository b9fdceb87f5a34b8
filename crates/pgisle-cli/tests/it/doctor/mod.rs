//! Each trouble that `doctor` knows, provoked on a real server: its code, its cause, and that the command which it shows mends it.

mod here;
mod login;
mod pooler;
mod reach;
mod server;
mod tls;

use std::os::unix::fs::PermissionsExt as _;

use pgisle_testkit::Cluster;
use serde_json::Value;

use crate::cluster::{document, exit};
use crate::program::Place;

const SPEC: &str = r#"
name_prefix         = "shop"
collation           = "C.UTF-8"
default_extensions  = []
postgres_sslmode    = "disable"
enable_ssl          = false
enable_pgbouncer    = false
backup_storage_path = "backups"

service "billing" {}

service "orders" {}
"#;

/// A place that reaches the cluster, with a stand-in for `sudo`: the tests already are whoever it would make them.
fn project(cluster: &Cluster) -> Place {
    let place = reaching(cluster.host(), cluster.port()).variable("PGPASSWORD", cluster.password());
    place.variable("PGISLE_VAR_postgres_username", cluster.superuser())
}

/// The same, for whoever brings another login.
fn reaching(host: &str, port: u16) -> Place {
    let place = Place::new().variable("PGISLE_VAR_postgres_host", host).variable("PGISLE_VAR_postgres_port", &port.to_string());
    place.file("pgisle.hcl", SPEC);
    let programs = place.root().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let sudo = programs.join("sudo");
    std::fs::write(&sudo, "#!/bin/sh\nif [ \"$1\" = -u ]; then shift 2; fi\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(&sudo, std::fs::Permissions::from_mode(0o755)).unwrap();
    place.on_path(&programs)
}

/// Applies, and makes sure that nothing is wrong.
fn applied(place: &Place) {
    assert_eq!(exit(place, &["apply", "-auto-approve"]), Some(0), "{}", place.seen(&["apply", "-auto-approve"]));
}

fn checkup(place: &Place) -> Value {
    document(place, &["doctor"])
}

fn check<'a>(checkup: &'a Value, name: &str) -> &'a Value {
    let checks = checkup["checkup"]["checks"].as_array().unwrap();
    checks.iter().find(|check| check["check"] == name).unwrap()
}

/// Finds this trouble, and gives the commands against it.
fn found(place: &Place, name: &str, outcome: &str, code: &str, cause: &str) -> Vec<String> {
    let document = checkup(place);
    let check = check(&document, name);
    assert_eq!(check["outcome"], outcome, "{name}: {document:#}");
    let mut findings = check["findings"].as_array().unwrap().iter();
    let finding = findings
        .find(|one| one["code"] == code && one.to_string().replace("\\\"", "\"").to_lowercase().contains(&cause.to_lowercase()));
    let finding = finding.unwrap_or_else(|| panic!("{code} {cause}: {check:#}"));
    // 69 when it is the server that cannot be used, 65 when it is the files.
    assert_eq!(document["exit_code"] != 0, document["checkup"]["counts"]["failed"] != 0);
    finding["commands"].as_array().unwrap().iter().map(|command| command.as_str().unwrap().to_owned()).collect()
}

fn assert_well(place: &Place, name: &str) {
    let document = checkup(place);
    assert_eq!(check(&document, name)["outcome"], "ok", "{name}: {document:#}");
}

/// Types a command into a shell of the server's administrator.
fn shell(place: &Place, cluster: &Cluster, command: &str) {
    let mut shell = place.command("/bin/bash");
    shell.env("PGHOST", cluster.socket_dir()).env("PGPORT", cluster.port().to_string());
    shell.env("PGUSER", cluster.superuser()).env("PGPASSWORD", cluster.password());
    let output = shell.arg("-c").arg(command).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Types commands into psql, which may go to other databases.
async fn psql(cluster: &Cluster, commands: &[String]) {
    let mut database = "postgres".to_owned();
    for command in commands {
        match command.strip_prefix("\\connect ") {
            Some(name) => name.trim_matches('"').clone_into(&mut database),
            None => drop(cluster.psql_in(&database, command).await),
        }
    }
}

/// Looks again and again, for what the server takes a moment to do.
async fn eventually(place: &Place, name: &str, outcome: &str) {
    for _ in 0..50 {
        if check(&checkup(place), name)["outcome"] == outcome {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("{name} does not become {outcome}: {:#}", checkup(place));
}

#[tokio::test]
async fn where_nothing_is_wrong_nothing_is_found_and_nothing_is_changed() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    applied(&place);
    let state = "SELECT (SELECT string_agg(a::text, ',' ORDER BY oid) FROM pg_authid AS a), (SELECT string_agg(d::text, ',' ORDER BY oid) FROM \
                 (SELECT oid, datname, datacl, datconnlimit, datallowconn FROM pg_database) AS d)";
    let before = cluster.psql(state).await;
    let document = checkup(&place);
    assert_eq!(document["exit_code"], 0, "{document:#}");
    assert_eq!(document["diagnostics"], Value::Array(Vec::new()), "{document:#}");
    let counts = &document["checkup"]["counts"];
    assert_eq!((&counts["warning"], &counts["failed"], &counts["skipped"]), (&0.into(), &0.into(), &2.into()), "{document:#}");
    assert_eq!(cluster.psql(state).await, before);
    let seen = place.seen(&["doctor", "orders"]);
    assert!(seen.contains("1 of 1 services get in") && seen.contains("Nothing is wrong: 19 ok, 2 not looked at."), "{seen}");
    assert_eq!(exit(&place, &["doctor", "nobody"]), Some(64));
    let shown = seen + &document.to_string();
    let store = place.read(".pgisle/development/credentials.json");
    for secret in store.split('"').filter(|text| text.len() == 32 || text.starts_with("SCRAM-SHA-256$")) {
        assert!(!shown.contains(secret), "a secret was shown");
    }
}

#[tokio::test]
async fn an_administrator_who_is_no_superuser_sees_what_can_be_seen() {
    let cluster = Cluster::start().await;
    let password = cluster.create_plain_admin("boss").await;
    let place =
        reaching(cluster.host(), cluster.port()).variable("PGISLE_VAR_postgres_username", "boss").variable("PGPASSWORD", &password);
    assert_eq!(exit(&place, &["apply", "-auto-approve", "-allow-incomplete"]), Some(0));
    let document = checkup(&place);
    assert_eq!((&document["exit_code"], &document["checkup"]["counts"]["failed"]), (&0.into(), &0.into()), "{document:#}");
    let disk = check(&document, "disk");
    assert_eq!(disk["outcome"], "skipped");
    assert!(disk["seen"].as_str().unwrap().contains("only superusers"), "{disk:#}");
}
