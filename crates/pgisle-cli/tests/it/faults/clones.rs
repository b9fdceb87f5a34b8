//! pgisle killed while it clones the shared database: nobody is kept out of it, and the same command goes on, or the other goes back.

use std::time::Duration;

use pgisle_testkit::Cluster;

use super::{ends, place, text};
use crate::program::Place;

const SPEC: &str = r#"
environment        = "development"
name_prefix        = "shop"
postgres_database  = "shop_app"
collation          = "C.UTF-8"
default_extensions = []
enable_pgbouncer   = false
postgres_sslmode   = "disable"
enable_ssl         = false

service "users" {
  tables = ["users"]
}

service "chat" {
  tables = ["rooms", "messages"]
}
"#;

const SHARED: &str = "
    CREATE TABLE users (id bigserial PRIMARY KEY, name text NOT NULL);
    CREATE TABLE rooms (id bigserial PRIMARY KEY, title text NOT NULL);
    CREATE TABLE messages (id bigserial PRIMARY KEY, room bigint NOT NULL REFERENCES rooms, sender bigint REFERENCES users, body text);
    CREATE TABLE nobodys (id int);
    INSERT INTO users (name) SELECT 'user ' || n FROM generate_series(1, 500) AS n;
    INSERT INTO rooms (title) SELECT 'room ' || n FROM generate_series(1, 50) AS n;
    INSERT INTO messages (room, sender, body) SELECT n % 50 + 1, n % 500 + 1, 'message ' || n FROM generate_series(1, 2000) AS n;";

const HOMES: [&str; 2] = ["shop_app", "shop_chat"];

const CUTOVER: &[&str] = &["split", "cutover", "chat", "-auto-approve"];

const ROLLBACK: &[&str] = &["split", "rollback", "chat", "-auto-approve"];

/// The one place that takes rows of the service's within a moment; the other service writes all the time.
async fn home(cluster: &Cluster, point: &str) -> &'static str {
    for _ in 0..50 {
        let mut open = Vec::new();
        for home in HOMES {
            if cluster.try_psql_in(home, "BEGIN; INSERT INTO messages (room, sender) VALUES (1, 1); ROLLBACK").await.is_ok() {
                open.push(home);
            }
        }
        match open.as_slice() {
            [] => tokio::time::sleep(Duration::from_millis(100)).await,
            [one] => {
                cluster.psql_in("shop_app", "UPDATE users SET name = 'again' WHERE id = 1").await;
                return one;
            }
            two => panic!("{point}: rows can be written to {two:?}"),
        }
    }
    panic!("{point}: rows can be written nowhere");
}

/// Kills a cutover there, and has it go on or go back. Gives where the service was at home behind the kill; none when nothing was
/// killed.
async fn struck(cluster: &Cluster, place: &Place, variable: &str, point: &str, goes_on: bool) -> Option<&'static str> {
    ends(place, &["split", "run", "chat", "-strategy=clone"], 0).await;
    let arguments = super::patient(CUTOVER);
    let output = place.run(&arguments, &[(variable, point)]).await;
    if let Some(code) = output.status.code() {
        assert_eq!(code, 0, "{point}: {}", text(&output));
    }
    let found = home(cluster, point).await;
    if goes_on {
        ends(place, CUTOVER, 0).await;
        assert_eq!(home(cluster, point).await, "shop_chat", "{point}");
        ends(place, &["plan", "-detailed-exitcode"], 0).await;
        let kept =
            cluster.psql_in("shop_chat", "SELECT count(*), to_regclass('users'), to_regclass('nobodys') FROM messages").await;
        assert_eq!(kept, "2000||", "{point}");
    }
    ends(place, ROLLBACK, 0).await;
    assert_eq!(home(cluster, point).await, "shop_app", "{point}");
    output.status.code().is_none().then_some(found)
}

#[tokio::test]
async fn a_clone_killed_at_each_point_keeps_nobody_out_and_goes_on_or_goes_back() {
    let cluster = Cluster::builder().start().await;
    cluster.psql("CREATE DATABASE shop_app TEMPLATE template0 ENCODING 'UTF8'").await;
    cluster.psql_in("shop_app", SHARED).await;
    let place = place(&cluster, SPEC);
    ends(&place, &["apply", "-auto-approve"], 0).await;
    let mut moved = 0;
    let stages = ["split.closed", "split.cloned", "split.held", "split.pruned", "split.cut", "split.compared"];
    for (number, stage) in stages.into_iter().enumerate() {
        for goes_on in [true, false] {
            let home = struck(&cluster, &place, "PGISLE_FAULT_KILL_AT", stage, goes_on).await;
            let expected = if number < 4 { "shop_app" } else { "shop_chat" };
            assert_eq!(home, Some(expected), "{stage}");
        }
    }
    let mut points = 0;
    for number in (1..).step_by(9) {
        let home = struck(&cluster, &place, "PGISLE_FAULT_KILL_AFTER", &format!("statement:{number}"), points % 2 == 0).await;
        let Some(home) = home else { break };
        points += 1;
        moved += u32::from(home == "shop_chat");
    }
    assert!(points > 5 && moved > 0 && moved < points, "{moved} of {points}");
    ends(&place, &["split", "finalize", "chat", "-auto-approve"], 0).await;
    let left = "SELECT datname FROM pg_database WHERE datname LIKE '%\\_\\_%' UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE '%\\_\\_%'";
    assert_eq!(cluster.psql(left).await, "");
}
