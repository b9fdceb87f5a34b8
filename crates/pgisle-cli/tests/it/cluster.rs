//! The commands that change a cluster, on real ones.

use pgisle_testkit::Cluster;
use serde_json::Value;

use crate::program::Place;

const SPEC: &str = r#"
environment        = "development"
name_prefix        = "shop"
collation          = "C.UTF-8"
default_extensions = ["uuid-ossp"]
postgres_sslmode   = "disable"
enable_ssl         = false

service "orders" {
  description = "Carts and orders"
  instances   = 2
}

service "billing" {}
"#;

pub(crate) fn project(cluster: &Cluster) -> Place {
    as_admin(cluster, cluster.superuser(), cluster.password())
}

fn as_admin(cluster: &Cluster, admin: &str, password: &str) -> Place {
    let place = Place::new()
        .variable("PGISLE_VAR_postgres_host", cluster.host())
        .variable("PGISLE_VAR_postgres_port", &cluster.port().to_string())
        .variable("PGISLE_VAR_postgres_username", admin)
        .variable("PGPASSWORD", password);
    place.file("pgisle.hcl", SPEC);
    place
}

/// What a user sees, without what differs from cluster to cluster.
fn seen(place: &Place, cluster: &Cluster, arguments: &[&str]) -> String {
    let text = place.seen(arguments).replace(&cluster.port().to_string(), "[PORT]");
    let line =
        |line: &str| if line.starts_with("PostgreSQL ") { "PostgreSQL [VERSION]".to_owned() } else { without_identifiers(line) };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A cluster's identifier is a number of 19 digits.
fn without_identifiers(line: &str) -> String {
    let word = |word: &str| {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        if digits > 16 { "[CLUSTER]".to_owned() + word.trim_start_matches(|c: char| c.is_ascii_digit()) } else { word.to_owned() }
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Runs with `-json`: exactly one document on standard output, nothing on standard error, and the exit code in both places.
pub(crate) fn document(place: &Place, arguments: &[&str]) -> Value {
    let output = place.pgisle(&[arguments, &["-json"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{text}"));
    assert_eq!(document["format_version"], "1.0");
    assert_eq!(document["exit_code"].as_i64(), output.status.code().map(i64::from), "{arguments:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    document
}

pub(crate) fn exit(place: &Place, arguments: &[&str]) -> Option<i32> {
    place.pgisle(arguments).status.code()
}

#[tokio::test]
async fn plan_apply_and_plan_again() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    let run = |arguments: &[&str]| seen(&place, &cluster, arguments);
    assert_eq!(exit(&place, &["plan", "-detailed-exitcode"]), Some(2));
    insta::assert_snapshot!("plan", run(&["plan"]));
    insta::assert_snapshot!("apply_without_a_terminal", run(&["apply", "-quiet", "-target=service.billing"]));
    insta::assert_snapshot!("apply", run(&["apply", "-auto-approve", "-target=service.orders"]));
    assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
    insta::assert_snapshot!("plan_again", run(&["plan", "-detailed-exitcode"]));
    insta::assert_snapshot!("budget", run(&["budget"]));
    insta::assert_snapshot!("rotate", [run(&["rotate", "orders"]), run(&["rotate", "-all", "-finish"])].join("\n"));
    let status = run(&["status"]);
    for part in ["billing     ready", "shop_orders_user (shut out)", "shop_orders_user_b"] {
        assert!(status.contains(part), "{part}: {status}");
    }
}

#[tokio::test]
async fn a_saved_plan_is_done_as_it_was_shown_or_not_at_all() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    assert_eq!(exit(&place, &["plan", "-out=first.pgplan"]), Some(0));
    assert_eq!(exit(&place, &["apply", "first.pgplan"]), Some(0));
    insta::assert_snapshot!("stale", seen(&place, &cluster, &["apply", "first.pgplan"]));

    // Test clusters are copies of one another and share their identifier, so the plan is made to be another's.
    let mut saved: Value = serde_json::from_str(&place.read("first.pgplan")).unwrap();
    assert!(saved["cluster"].is_string());
    saved["cluster"] = "1234567890123456789".into();
    place.file("other.pgplan", saved.to_string());
    insta::assert_snapshot!("of_another_cluster", seen(&place, &cluster, &["apply", "other.pgplan"]));
    place.file("nonsense.pgplan", "{}");
    assert_eq!(exit(&place, &["apply", "nonsense.pgplan"]), Some(1));
}

#[tokio::test]
async fn a_service_leaves_and_is_dropped() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
    cluster.psql_in("shop_billing", "SET ROLE shop_billing_owner; CREATE TABLE t AS SELECT generate_series(1, 10)").await;
    insta::assert_snapshot!("still_in_the_files", seen(&place, &cluster, &["retire", "billing", "-auto-approve"]));

    place.file("pgisle.hcl", SPEC.replace("service \"billing\" {}", ""));
    insta::assert_snapshot!("retire", seen(&place, &cluster, &["retire", "billing", "-auto-approve"]));
    let target = "-target=service.billing";
    insta::assert_snapshot!("destroy_without_a_terminal", seen(&place, &cluster, &["destroy", target, "-force"]));
    insta::assert_snapshot!("destroy_with_data", seen(&place, &cluster, &["destroy", target, "-auto-approve"]));
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_database WHERE datname = 'shop_billing'").await, "1");
    insta::assert_snapshot!("destroy", seen(&place, &cluster, &["destroy", target, "-auto-approve", "-force"]));
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_database WHERE datname = 'shop_billing'").await, "0");
    assert_eq!(exit(&place, &["destroy", "-auto-approve"]), Some(64));
    assert!(!place.project().join("generated/development/.env/.env.billing").exists());
    assert!(!place.read(".pgisle/development/credentials.json").contains("shop_billing_user"));
    // An unknown target stops everything, also where nobody is asked.
    let unknown = ["apply", "-auto-approve", "-target=service.nothing", "-target=service.orders"];
    assert_eq!(exit(&place, &unknown), Some(64));
}

#[tokio::test]
async fn what_exists_is_left_alone_until_it_is_adopted() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    cluster.psql("CREATE ROLE shop_orders_user LOGIN PASSWORD 'old'").await;
    cluster.psql("CREATE DATABASE shop_orders OWNER shop_orders_user").await;
    let first = seen(&place, &cluster, &["apply", "-auto-approve"]);
    assert!(first.contains("exit: 1") && first.contains("error[PI0301]") && first.contains("pgisle adopt orders"), "{first}");
    insta::assert_snapshot!("wrong_import", seen(&place, &cluster, &["import", "service.orders", "other"]));
    let adopted = seen(&place, &cluster, &["import", "service.orders", "shop_orders", "-auto-approve"]);
    assert!(adopted.contains("exit: 0") && adopted.contains("Apply complete."), "{adopted}");
    assert_eq!(exit(&place, &["plan", "-detailed-exitcode", "-target=service.orders"]), Some(0));
}

#[tokio::test]
async fn work_for_someone_with_more_rights_is_named_and_the_rest_is_done() {
    let cluster = Cluster::start().await;
    if !cluster.installation().vector {
        pgisle_testkit::skip!("pgvector is not installed");
    }
    let password = cluster.create_plain_admin("admin").await;
    let place = as_admin(&cluster, "admin", &password);
    place.file("pgisle.hcl", SPEC.replace("service \"billing\" {}", "service \"billing\" {\n  extensions = [\"vector\"]\n}"));
    let first = seen(&place, &cluster, &["apply", "-auto-approve"]);
    assert!(first.contains("exit: 1") && first.contains("\\connect \"shop_billing\"\n      CREATE EXTENSION"), "{first}");
    assert_eq!(exit(&place, &["apply", "-auto-approve", "-allow-incomplete"]), Some(0));
    // What is shown is what helps.
    let pasted: String = first
        .lines()
        .filter(|line| line.starts_with("      ") && line.trim_end().ends_with(';'))
        .filter(|line| line.contains("EXTENSION"))
        .collect();
    cluster.psql_in("shop_billing", &pasted).await;
    let second = seen(&place, &cluster, &["plan"]);
    assert!(!second.contains("vector"), "{second}");
}

/// What plan shows as a warning is what apply ends with.
#[tokio::test]
async fn blocked_work_is_a_warning_of_plan_and_an_error_of_apply() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    cluster.psql("CREATE DATABASE shop_billing").await;
    for (arguments, code, severity) in [
        (&["plan"][..], 0, "warning"),
        (&["plan", "-detailed-exitcode"], 2, "warning"),
        (&["apply", "-auto-approve"], 1, "error"),
        (&["plan", "-detailed-exitcode"], 0, "warning"),
        (&["apply", "-auto-approve"], 1, "error"),
        (&["apply", "-auto-approve", "-allow-incomplete"], 0, "warning"),
    ] {
        let text = place.seen(arguments);
        assert!(text.contains(&format!("exit: {code}\n")), "{text}");
        assert!(text.contains(&format!("{severity}[PI0301]")) && text.contains("error[") == (code == 1), "{text}");
        let document = document(&place, arguments);
        assert_eq!((&document["exit_code"], &document["diagnostics"][0]["severity"]), (&code.into(), &severity.into()));
    }
}

#[tokio::test]
async fn isolation_is_proved_and_a_leak_is_found() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
    insta::assert_snapshot!("isolated", seen(&place, &cluster, &["verify"]));
    cluster.psql("GRANT CONNECT ON DATABASE shop_billing TO shop_orders_user").await;
    assert_eq!(exit(&place, &["verify"]), Some(1));
    let leak = document(&place, &["verify", "-junit=verify.xml"]);
    assert_eq!((&leak["exit_code"], &leak["proof"]["verdict"]), (&1.into(), &"leaking".into()));
    assert_eq!(leak["diagnostics"][0]["code"], "PI0501");
    assert_eq!(leak["proof"]["leaks"][0]["seen"], serde_json::json!(["logged in to shop_billing"]));
    let junit = place.read("verify.xml");
    assert_eq!(unbalanced(&junit), None, "{junit}");
    let (failures, told) = (junit.matches("<failure ").count(), junit.matches("<testsuites name=\"pgisle verify\"").count());
    // One for the pair, one for the leak with its path, and one for each of the intruder's trials that went through.
    assert!(failures >= 2 && told == 1, "{junit}");
    insta::assert_snapshot!("leaking", seen(&place, &cluster, &["verify", "-static"]));
}

/// The first element of an XML text that is not closed where it should be.
fn unbalanced(xml: &str) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    for part in xml.split('<').skip(1).filter(|part| !part.starts_with('?')) {
        let Some((tag, text)) = part.split_once('>') else { return Some(part.to_owned()) };
        let name = tag.split([' ', '/']).find(|word| !word.is_empty()).unwrap_or_default();
        if tag.matches('"').count() % 2 == 1 || text.contains('>') {
            return Some(part.to_owned());
        }
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return Some(part.to_owned());
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    open.pop().map(str::to_owned)
}

/// Killed at any moment, a proof leaves at most a canary, and the next one takes that away.
#[tokio::test]
async fn a_proof_that_is_killed_leaves_nothing_for_good() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
    let canary = "SELECT count(*) FROM pg_class WHERE relname = 'pgisle_canary'";
    let mut has_left_one = false;
    for _ in 0..3 {
        let mut command = place.command(env!("CARGO_BIN_EXE_pgisle"));
        let mut proof = command.arg("verify").stdout(std::process::Stdio::null()).spawn().unwrap();
        for _ in 0..600 {
            if cluster.psql_in("shop_orders", canary).await == "1" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        proof.kill().unwrap();
        proof.wait().unwrap();
        has_left_one |= cluster.psql_in("shop_orders", canary).await == "1";
    }
    assert!(has_left_one, "it was killed in the middle");
    assert_eq!(exit(&place, &["verify", "-lock-timeout=30s"]), Some(0));
    for database in ["shop_orders", "shop_billing"] {
        let left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'pgisle%'";
        assert_eq!(cluster.psql_in(database, left).await, "0", "{database}");
    }
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pgisle_probe%'";
    assert_eq!(cluster.psql(roles).await, "0");
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_replication_slots").await, "0");
    assert_eq!(exit(&place, &["plan", "-detailed-exitcode"]), Some(0));
}

#[tokio::test]
async fn every_command_speaks_json() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    assert_eq!(document(&place, &["plan"])["pending"], true);
    let applied = document(&place, &["apply", "-auto-approve"]);
    assert_eq!((&applied["command"], &applied["applied"]["failed"]), (&"apply".into(), &Value::Array(Vec::new())));
    assert_eq!(document(&place, &["plan"])["plan"]["changes"]["add"], 0);
    assert_eq!(document(&place, &["status"])["status"]["services"][0]["state"], "ready");
    assert!(document(&place, &["budget"])["budget"]["server"]["headroom"].is_i64());
    assert_eq!(document(&place, &["doctor"])["checkup"]["checks"][0]["check"], "files");
    assert_eq!(document(&place, &["rotate", "-all"])["services"], serde_json::json!(["billing", "orders"]));
    assert_eq!(document(&place, &["plan", "-target=nothing"])["diagnostics"][0]["code"], "PI0309");
    assert_eq!(document(&place, &["destroy", "-target=service.orders"])["diagnostics"][0]["code"], "PI0409");

    let outputs: Value = serde_json::from_slice(&place.pgisle(&["output", "-json"]).stdout).unwrap();
    assert_eq!(outputs["service_passwords"]["sensitive"], true);
    let passwords: Value = serde_json::from_slice(&place.pgisle(&["output", "-json", "service_passwords"]).stdout).unwrap();
    let password = passwords["orders"].as_str().unwrap();
    assert!(cluster.connect_as("shop_orders_user_b", password, "shop_orders").await.is_ok());
    // On an error nothing is there for a script to take for a password.
    let unknown = place.pgisle(&["output", "-json", "nothing"]);
    assert_eq!((unknown.status.code(), String::from_utf8_lossy(&unknown.stdout).contains("PI0606")), (Some(64), true));
}

#[tokio::test]
async fn no_password_is_ever_shown_unasked() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    let mut shown = String::new();
    for arguments in [
        &["plan", "-v"][..],
        &["apply", "-auto-approve", "-v"],
        &["apply", "-auto-approve", "-json"],
        &["rotate", "-all", "-v"],
        &["plan", "-json", "-out=saved.pgplan"],
        &["status", "-json"],
        &["output"],
        &["validate", "-json"],
    ] {
        shown.push_str(&place.seen(arguments));
    }
    shown.push_str(&place.read("saved.pgplan"));
    let store = place.read(".pgisle/development/credentials.json");
    let secrets: Vec<&str> = store.split('"').filter(|text| text.len() == 32 || text.starts_with("SCRAM-SHA-256$")).collect();
    assert!(secrets.len() >= 8, "{} secrets in the store", secrets.len());
    for secret in secrets.iter().chain([&cluster.password()]) {
        assert!(!shown.contains(*secret), "a secret was shown");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    let wrong = place.pgisle(&["plan", "-var", "postgres_password=wrong"]);
    assert_eq!(wrong.status.code(), Some(69));
    assert!(!String::from_utf8_lossy(&wrong.stderr).contains("wrong\""));
    drop(cluster);
    for command in ["plan", "status", "budget"] {
        assert_eq!(exit(&place, &[command]), Some(69), "{command}");
    }
}

/// The loop of the Terraform configuration's README, with nothing but the command's name changed.
const LOOP: &str = r#"
for service in users chat ai search discovery; do
  echo "Testing $service database connection..."
  PGPASSWORD=$(pgisle output -json service_passwords | jq -r ".${service}") \
    psql -h localhost -U "link_${service}_user" -d "link_${service}" -c "SELECT 1;"
done
"#;

#[tokio::test]
async fn the_old_loop_over_the_services_goes_on_working() {
    let cluster = Cluster::start().await;
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_pgisle")).parent().unwrap();
    let place = project(&cluster).on_path(folder).variable("PGPORT", &cluster.port().to_string());
    let Some(place) = place.with_program("psql").and_then(|place| place.with_program("jq")) else {
        pgisle_testkit::skip!("psql or jq is not installed")
    };
    std::fs::remove_file(place.project().join("pgisle.hcl")).unwrap();
    assert_eq!(exit(&place, &["init"]), Some(0));
    assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
    let output = place.command("/bin/bash").args(["-euc", LOOP]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.matches("(1 row)").count(), 5, "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let monitoring: Value = serde_json::from_slice(&place.pgisle(&["output", "-json", "monitoring_user"]).stdout).unwrap();
    assert!(monitoring["password"].is_string(), "{:?}", monitoring.as_object().map(|fields| fields.keys().collect::<Vec<_>>()));
}
