//! A service that takes more than is its own gets an error that says so, and no other service notices.

use std::time::Duration;

use pgisle_testkit::Cluster;
use serde_json::Value;

use crate::faults::{ends, place};

const SPEC: &str = r#"
environment        = "development"
name_prefix        = "link"
collation          = "C.UTF-8"
default_extensions = []
enable_pgbouncer   = false
postgres_sslmode   = "disable"
enable_ssl         = false

service "users" {
  instances        = 1
  pool_size        = 10
  connection_limit = 10
}

service "chat" {
  instances = 1
  pool_size = 5
}
"#;

#[tokio::test]
async fn a_service_over_its_limit_is_told_and_alone() {
    let cluster = Cluster::builder().start().await;
    let place = place(&cluster, SPEC);
    ends(&place, &["apply", "-auto-approve"], 0).await;
    let store: Value = serde_json::from_str(&place.read(".pgisle/development/credentials.json")).unwrap();
    let login = |service: &str| {
        let login = &store["services"][service]["active"];
        cluster.config(login["role"].as_str().unwrap(), login["password"].as_str().unwrap(), &format!("link_{service}"))
    };
    let (users, chat) = (login("users"), login("chat"));
    // The other one works all the time, on a connection that stays and on new ones.
    let (over, mut is_over) = tokio::sync::watch::channel(false);
    let working = tokio::spawn(async move {
        let (client, connection) = chat.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let mut done = 0;
        while !*is_over.borrow_and_update() {
            client.simple_query("SELECT 1").await.unwrap();
            assert_eq!(pgisle_testkit::ask(&chat, "SELECT current_database()").await.unwrap(), "link_chat");
            done += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        done
    });
    let mut held = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..60 {
        match users.connect(tokio_postgres::NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                held.push(client);
            }
            Err(error) => refused.push(
                error
                    .as_db_error()
                    .map_or_else(|| error.to_string(), |error| format!("{} {}", error.code().code(), error.message())),
            ),
        }
    }
    assert_eq!(held.len(), 10);
    assert!(refused.iter().all(|reason| reason == "53300 too many connections for role \"link_users_user\""), "{refused:?}");
    // Whoever is in goes on, and whoever looks is told whose limit it is.
    held[0].simple_query("SELECT 1").await.unwrap();
    let said = ends(&place, &["doctor"], 1).await;
    assert!(said.contains("link_users_user") && !said.contains("link_chat_user\" has"), "{said}");
    over.send(true).unwrap();
    assert!(working.await.unwrap() > 20);
    drop(held);
    for _ in 0..100 {
        if users.connect(tokio_postgres::NoTls).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the service does not get in again");
}
