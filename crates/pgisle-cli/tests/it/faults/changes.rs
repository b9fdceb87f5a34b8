//! pgisle killed while it changes what is there: repairs, retires, adopts, destroys, rotates.

use pgisle_testkit::Cluster;
use serde_json::Value;

use super::{SPEC, assert_logins_work, assert_same, catalog, cluster, ends, place, spies, was_killed};
use crate::program::Place;

const KILL: &str = "PGISLE_FAULT_KILL_AFTER";

/// Everything that one can do behind pgisle's back, by database.
const DRIFT: &[(&str, &str)] = &[
    ("postgres", "GRANT CONNECT ON DATABASE template1 TO spy"),
    ("postgres", "GRANT CONNECT ON DATABASE shop_orders TO PUBLIC"),
    ("postgres", "GRANT CONNECT ON DATABASE shop_orders TO shop_orders_user WITH GRANT OPTION"),
    ("postgres", "GRANT shop_orders_owner TO stranger"),
    ("postgres", "GRANT shop_chat_app TO shop_chat_user WITH ADMIN OPTION"),
    ("postgres", "ALTER ROLE shop_orders_user CREATEROLE CONNECTION LIMIT 7 PASSWORD 'another'"),
    ("postgres", "ALTER ROLE shop_orders_user RESET role"),
    (
        "postgres",
        "COMMENT ON ROLE shop_orders_owner IS 'pgisle: {\"v\":1,\"project\":\"shop\",\"environment\":\"development\",\"kind\":\"owner\"}'",
    ),
    ("postgres", "ALTER ROLE shop_chat_migrator NOLOGIN"),
    ("postgres", "ALTER DATABASE shop_chat OWNER TO shop_chat_user"),
    ("postgres", "ALTER DATABASE shop_chat CONNECTION LIMIT 7"),
    ("shop_orders", "GRANT ALL ON SCHEMA public TO PUBLIC"),
    ("shop_orders", "CREATE TABLE IF NOT EXISTS mine (); ALTER TABLE mine OWNER TO shop_orders_user"),
    (
        "shop_orders",
        "CREATE TABLE IF NOT EXISTS shelf (); ALTER TABLE shelf OWNER TO shop_orders_owner; REVOKE ALL ON shelf FROM shop_monitoring",
    ),
    ("shop_orders", "ALTER DEFAULT PRIVILEGES FOR ROLE shop_orders_owner GRANT SELECT ON TABLES TO PUBLIC"),
    ("shop_orders", "DROP EXTENSION citext"),
    ("shop_chat", "DROP SCHEMA app CASCADE"),
];

#[tokio::test]
async fn a_repair_killed_after_each_statement_is_finished_by_the_next() {
    let cluster = cluster(Cluster::builder()).await;
    let place = place(&cluster, SPEC);
    let apply: &[&str] = &["apply", "-auto-approve", "-parallelism=1", "-end-sessions"];
    let mut expected: Option<String> = None;
    for number in 0.. {
        place.file("pgisle.hcl", format!("{SPEC}\nservice \"old\" {{}}\n"));
        ends(&place, apply, 0).await;
        let (old, password) = login(&place, "old");
        let session = cluster.connect_as(&old, &password, "shop_old").await.unwrap();
        for (database, sql) in DRIFT {
            cluster.psql_in(database, sql).await;
        }
        place.file("pgisle.hcl", SPEC);
        // Number 0 is no point: the first run is undisturbed, and shows where all others must end.
        let killed = was_killed(&place, apply, KILL, &format!("statement:{number}")).await;
        if killed {
            ends(&place, apply, 0).await;
        }
        let found = catalog::dump(&cluster).await;
        assert_same(expected.get_or_insert_with(|| found.clone()), &found, &format!("statement:{number}"));
        ends(&place, &["plan", "-detailed-exitcode"], 0).await;
        assert!(session.simple_query("SELECT 1").await.is_err(), "statement:{number}: a session of the retired service lives on");
        assert!(cluster.connect_as(&old, &password, "shop_old").await.is_err(), "statement:{number}");
        if !killed && number > 0 {
            assert!(number > 40, "only {number} points");
            break;
        }
    }
}

/// The login of a service in use, and its password.
fn login(place: &Place, service: &str) -> (String, String) {
    let store: Value = serde_json::from_str(&place.read(".pgisle/development/credentials.json")).unwrap();
    let field = |name: &str| store["services"][service]["active"][name].as_str().unwrap().to_owned();
    (field("role"), field("password"))
}

#[tokio::test]
async fn an_adoption_killed_after_each_statement_is_finished_by_the_next() {
    let cluster = cluster(Cluster::builder()).await;
    let adopt: &[&str] = &["adopt", "orders", "-auto-approve"];
    let mut expected: Option<String> = None;
    for number in 0.. {
        for sql in ["CREATE ROLE shop_orders_user LOGIN PASSWORD 'old'", "CREATE DATABASE shop_orders OWNER shop_orders_user"] {
            cluster.psql(sql).await;
        }
        cluster.psql_in("shop_orders", "CREATE TABLE kept AS SELECT 42 AS n; ALTER TABLE kept OWNER TO shop_orders_user").await;
        let place = place(&cluster, SPEC);
        let killed = was_killed(&place, adopt, KILL, &format!("statement:{number}")).await;
        if killed {
            ends(&place, adopt, 0).await;
        }
        let found = catalog::dump(&cluster).await;
        assert_same(expected.get_or_insert_with(|| found.clone()), &found, &format!("statement:{number}"));
        ends(&place, &["plan", "-detailed-exitcode", "-target=service.orders"], 0).await;
        let (role, password) = login(&place, "orders");
        let client = cluster.connect_as(&role, &password, "shop_orders").await.unwrap();
        assert_eq!(client.query("SELECT n FROM kept", &[]).await.unwrap().len(), 1);
        drop(client);
        cluster.psql("DROP DATABASE shop_orders WITH (FORCE)").await;
        cluster.psql("DROP ROLE shop_orders_user, shop_orders_owner").await;
        if !killed && number > 0 {
            assert!(number > 15, "only {number} points");
            break;
        }
    }
}

const DESTROY: &[&str] = &[
    "destroy",
    "-target=service.orders",
    "-target=service.chat",
    "-target=monitoring",
    "-auto-approve",
    "-force",
    "-parallelism=1",
];

#[tokio::test]
async fn a_destroy_killed_at_each_point_is_finished_by_the_next() {
    let cluster = cluster(Cluster::builder()).await;
    let place = place(&cluster, SPEC);
    let mut expected: Option<String> = None;
    let mut points = 0;
    for moment in ["statement", "file"] {
        for number in 0.. {
            ends(&place, &["apply", "-auto-approve"], 0).await;
            cluster.psql_in("shop_orders", "CREATE TABLE lost AS SELECT 1; ALTER TABLE lost OWNER TO shop_orders_owner").await;
            let point = format!("{moment}:{number}");
            let spies = spies(&cluster);
            let killed = was_killed(&place, DESTROY, KILL, &point).await;
            if killed {
                spies.whole_round().await;
                ends(&place, DESTROY, 0).await;
            }
            assert_eq!(spies.seen().await.entered, [""; 0], "{point}");
            let found = catalog::dump(&cluster).await;
            assert!(!found.contains("shop_"), "{point}: {found}");
            assert_same(expected.get_or_insert_with(|| found.clone()), &found, &point);
            let store: Value = serde_json::from_str(&place.read(".pgisle/development/credentials.json")).unwrap();
            assert_eq!((&store["services"], &store["monitoring"]), (&serde_json::json!({}), &Value::Null), "{point}");
            let left = place.project().join("generated/development/.env/.env.orders");
            assert!(!left.exists(), "{point}: a file with a password is left");
            if !killed && number > 0 {
                break;
            }
            points += u32::from(killed);
        }
    }
    assert!(points > 30, "only {points} points");
}

fn is_draining(place: &Place) -> bool {
    let store: Value = serde_json::from_str(&place.read(".pgisle/development/credentials.json")).unwrap();
    store["services"]["orders"]["draining"].is_object()
}

/// What the generated file has for the service: login and password.
fn published(place: &Place) -> (String, String) {
    let text = place.read("generated/development/.env/.env.orders");
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.split_once('=').unwrap().1.trim_matches(['"', '\'']).to_owned()
    };
    (value("PGUSER="), value("PGPASSWORD="))
}

#[tokio::test]
async fn a_rotation_killed_at_each_point_locks_nobody_out_and_can_be_taken_up() {
    let cluster = cluster(Cluster::builder()).await;
    let place = place(&cluster, SPEC);
    ends(&place, &["apply", "-auto-approve"], 0).await;
    let mut points = 0;
    for half in [&["rotate", "orders"][..], &["rotate", "orders", "-finish"]] {
        for moment in ["statement", "file"] {
            for number in 1.. {
                let point = format!("{half:?} {moment}:{number}");
                if half.len() > 2 {
                    ends(&place, &["rotate", "orders"], 0).await;
                }
                let killed = was_killed(&place, half, KILL, &format!("{moment}:{number}")).await;
                for (role, password) in [login(&place, "orders"), published(&place)] {
                    let entered = cluster.connect_as(&role, &password, "shop_orders").await;
                    assert!(entered.is_ok(), "{point}: {role} is locked out");
                }
                if killed {
                    // The very last point is behind the publication: both logins work, and the files are there.
                    let is_published = half.len() == 2 && is_draining(&place);
                    let said = ends(&place, half, i32::from(is_published)).await;
                    assert!(!is_published || said.contains("the last rotation is not finished"), "{point}: {said}");
                }
                assert_eq!(login(&place, "orders"), published(&place), "{point}");
                ends(&place, &["plan", "-detailed-exitcode"], 0).await;
                assert_logins_work(&cluster, &place).await;
                if half.len() == 2 {
                    ends(&place, &["rotate", "orders", "-finish"], 0).await;
                }
                let able =
                    cluster.psql("SELECT count(*) FROM pg_roles WHERE rolcanlogin AND rolname LIKE 'shop_orders_user%'").await;
                assert_eq!(able, "1", "{point}: the old login is not shut out");
                points += u32::from(killed);
                if !killed {
                    break;
                }
            }
        }
    }
    assert!(points > 20, "only {points} points");
}
