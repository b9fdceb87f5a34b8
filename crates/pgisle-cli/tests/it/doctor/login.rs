//! Getting in: the administrator, the services, monitoring.

use pgisle_testkit::Cluster;

use super::{applied, assert_well, check, checkup, exit, found, project, psql, reaching, shell};
use crate::program::Place;

async fn boss(cluster: &Cluster) -> (Place, String) {
    let password = cluster.create_plain_admin("boss").await;
    let place = reaching(cluster.host(), cluster.port()).variable("PGISLE_VAR_postgres_username", "boss");
    (place, password)
}

#[tokio::test]
async fn an_administrator_without_a_password_or_with_a_wrong_one() {
    let cluster = Cluster::start().await;
    let (place, password) = boss(&cluster).await;
    let commands = found(&place, "administrator", "failed", "PI0202", "No password was found");
    shell(&place, &cluster, &commands[0].replace("PASSWORD", &password));
    assert_well(&place, "administrator");

    let place = place.variable("PGPASSWORD", "wrong");
    let commands = found(&place, "administrator", "failed", "PI0202", "password authentication failed");
    assert_eq!(commands, [r#"sudo -u postgres psql -c '\password "boss"'"#]);
    assert_eq!(checkup(&place)["exit_code"], 69);
    assert_eq!(check(&checkup(&place), "tls")["outcome"], "ok", "the handshake was no trouble");
}

#[tokio::test]
async fn an_administrator_whom_the_server_keeps_out() {
    let cluster = Cluster::start().await;
    let (place, password) = boss(&cluster).await;
    let Some(place) = place.variable("PGPASSWORD", &password).with_program("psql") else {
        pgisle_testkit::skip!("psql is not installed")
    };
    for (trouble, code, cause) in [
        ("ALTER ROLE boss NOLOGIN", "PI0202", "not permitted to log in"),
        ("ALTER ROLE boss CONNECTION LIMIT 0", "PI0205", "too many connections for role"),
        ("ALTER DATABASE postgres CONNECTION LIMIT 0", "PI0205", "too many connections for database"),
    ] {
        cluster.psql(trouble).await;
        let commands = found(&place, "administrator", "failed", code, cause);
        shell(&place, &cluster, &commands[0]);
        assert_well(&place, "administrator");
    }
    let place = place.variable("PGISLE_VAR_maintenance_database", "nowhere");
    let commands = found(&place, "administrator", "failed", "PI0206", "\"nowhere\" does not exist");
    shell(&place, &cluster, &commands[0]);
    assert_well(&place, "administrator");
    cluster.psql("ALTER DATABASE nowhere ALLOW_CONNECTIONS false").await;
    let commands = found(&place, "administrator", "failed", "PI0206", "not currently accepting connections");
    shell(&place, &cluster, &commands[0]);
    assert_well(&place, "administrator");
}

#[tokio::test]
async fn no_rule_of_pg_hba_lets_the_administrator_in() {
    let cluster = Cluster::builder().hba("host all ghost 127.0.0.1/32 trust").start().await;
    let (place, password) = boss(&cluster).await;
    let Some(place) = place.variable("PGPASSWORD", &password).with_program("psql") else {
        pgisle_testkit::skip!("psql is not installed")
    };
    let commands = found(&place, "administrator", "failed", "PI0202", "no pg_hba.conf entry for host \"127.0.0.1\"");
    for command in &commands {
        shell(&place, &cluster, command);
    }
    assert_well(&place, "administrator");
    let ghost = reaching(cluster.host(), cluster.port()).variable("PGISLE_VAR_postgres_username", "ghost");
    let commands = found(&ghost, "administrator", "failed", "PI0202", "role \"ghost\" does not exist");
    assert_eq!(commands, ["sudo -u postgres createuser --createrole --createdb --pwprompt ghost"]);
}

#[tokio::test]
async fn a_full_server_names_who_holds_it() {
    let cluster = Cluster::builder().conf("max_connections", "23").start().await;
    cluster.psql("CREATE ROLE hog LOGIN PASSWORD 'x'").await;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(cluster.connect_as("hog", "x", "postgres").await.unwrap());
    }
    let (place, password) = boss(&cluster).await;
    let place = place.variable("PGPASSWORD", &password);
    found(&place, "administrator", "failed", "PI0205", "remaining connection slots are reserved");

    let place = project(&cluster);
    let commands = found(&place, "connections", "failed", "PI1208", "of 20 connections in use");
    let seen = place.seen(&["doctor"]);
    assert!(seen.contains("\"hog\" (pgisle-testkit) in \"postgres\" with 20, 20 of them idle"), "{seen}");
    psql(&cluster, &commands).await;
    super::eventually(&place, "connections", "ok").await;
}

#[tokio::test]
async fn what_someone_changed_of_a_service_is_put_right_by_apply() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    found(&place, "logins", "failed", "PI0602", "no login yet for billing, orders");
    applied(&place);
    for (trouble, name, cause) in [
        ("ALTER ROLE shop_orders_user PASSWORD 'other'", "logins", "password authentication failed"),
        ("ALTER ROLE shop_orders_user NOLOGIN", "logins", "not permitted to log in"),
        ("ALTER ROLE shop_orders_user CONNECTION LIMIT 0", "logins", "too many connections for role"),
        ("REVOKE CONNECT ON DATABASE shop_orders FROM shop_orders_user", "logins", "does not have CONNECT"),
        ("ALTER ROLE shop_monitoring NOLOGIN", "monitoring", "not permitted to log in"),
    ] {
        cluster.psql(trouble).await;
        assert_eq!(found(&place, name, "failed", "PI1214", cause), ["pgisle apply"], "{trouble}");
        assert_eq!(checkup(&place)["exit_code"], 1);
        assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
        assert_well(&place, name);
    }
}

#[tokio::test]
async fn a_service_at_its_limit_is_told_with_who_holds_it() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    applied(&place);
    cluster.psql("CREATE ROLE hog LOGIN SUPERUSER PASSWORD 'x'; ALTER DATABASE shop_orders CONNECTION LIMIT 1").await;
    let _hog = cluster.connect_as("hog", "x", "shop_orders").await.unwrap();
    found(&place, "logins", "failed", "PI1214", "too many connections for database");
    let commands = found(&place, "connections", "failed", "PI1208", "database \"shop_orders\" has 1 of 1 connections in use");
    psql(&cluster, &commands).await;
    super::eventually(&place, "connections", "ok").await;
    assert_well(&place, "logins");
}
