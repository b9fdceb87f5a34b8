//! What someone did behind pgisle's back is shown as drift, and repaired.

use pgisle_testkit::Cluster;

use super::Project;

const TWO: &str = r#"
service "users" {
  settings = { statement_timeout = "30s", search_path = "app, public" }
  schemas  = ["app"]
}
service "chat" {
  access = "split"
}
"#;

/// What is done to the cluster (database, SQL), and a word that the plan must have about it.
const DRIFTS: &[(&str, &str, &str)] = &[
    ("postgres", "GRANT CONNECT ON DATABASE link_users TO PUBLIC", "CONNECT taken from PUBLIC"),
    ("postgres", "GRANT CONNECT ON DATABASE link_users TO link_chat_user", "CONNECT taken from \"link_chat_user\""),
    ("postgres", "GRANT CONNECT ON DATABASE link_users TO link_users_user WITH GRANT OPTION", "passing on of CONNECT taken"),
    ("postgres", "GRANT ALL ON DATABASE link_users TO stranger", "taken from \"stranger\""),
    ("postgres", "REVOKE CONNECT ON DATABASE link_users FROM link_users_user", "CONNECT given to \"link_users_user\""),
    ("postgres", "ALTER DATABASE link_users CONNECTION LIMIT 7", "at most 100 connections"),
    ("postgres", "ALTER DATABASE link_users IS_TEMPLATE true", "no template"),
    ("postgres", "ALTER DATABASE link_users ALLOW_CONNECTIONS false", "open for connections"),
    ("postgres", "ALTER DATABASE link_users OWNER TO link_users_user", "owned by \"postgres\""),
    ("postgres", "ALTER ROLE link_users_user CONNECTION LIMIT -1", "at most 50 connections"),
    ("postgres", "ALTER ROLE link_users_user SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS", "no superuser"),
    ("postgres", "ALTER ROLE link_users_user NOLOGIN", "may log in"),
    ("postgres", "ALTER ROLE link_users_user VALID UNTIL '2001-01-01'", "password without end"),
    ("postgres", "ALTER ROLE link_users_owner LOGIN", "may not log in"),
    ("postgres", "ALTER ROLE link_users_user RESET role", "role = link_users_owner"),
    ("postgres", "ALTER ROLE link_users_user SET search_path = public", "search_path = app, public"),
    ("postgres", "ALTER ROLE link_users_user SET statement_timeout = 0", "statement_timeout = 30s"),
    ("postgres", "ALTER ROLE link_users_user PASSWORD 'other'", "set the password"),
    ("postgres", "GRANT link_users_owner TO stranger", "end the membership of \"stranger\""),
    ("postgres", "GRANT link_users_owner TO link_chat_user", "end the membership of \"link_chat_user\" in \"link_users_owner\""),
    ("postgres", "GRANT pg_read_all_data TO link_chat_user", "end the membership of \"link_chat_user\" in \"pg_read_all_data\""),
    ("postgres", "GRANT link_users_owner TO link_users_user WITH ADMIN OPTION", "from passing"),
    ("postgres", "REVOKE link_users_owner FROM link_users_user", "act as \"link_users_owner\""),
    ("postgres", "GRANT CONNECT ON DATABASE postgres TO PUBLIC", "taken from PUBLIC"),
    ("postgres", "GRANT CONNECT ON DATABASE template1 TO PUBLIC", "taken from PUBLIC"),
    ("postgres", "GRANT CONNECT ON DATABASE template1 TO link_chat_user", "taken from \"link_chat_user\""),
    (
        "postgres",
        "COMMENT ON ROLE link_users_user IS 'pgisle: {\"v\":1,\"project\":\"link\",\"environment\":\"development\",\"kind\":\"login\"}'",
        "mark role",
    ),
    ("link_users", "GRANT ALL ON SCHEMA public TO PUBLIC", "nothing for PUBLIC"),
    ("link_users", "GRANT USAGE ON SCHEMA app TO stranger", "nothing for \"stranger\""),
    ("link_users", "REVOKE ALL ON SCHEMA public FROM link_users_owner", "CREATE, USAGE for \"link_users_owner\""),
    (
        "link_users",
        "ALTER DEFAULT PRIVILEGES FOR ROLE link_users_owner GRANT SELECT ON TABLES TO PUBLIC",
        "nothing on new tables for PUBLIC",
    ),
    (
        "link_users",
        "ALTER DEFAULT PRIVILEGES FOR ROLE link_users_owner GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
        "functions for PUBLIC",
    ),
    (
        "link_users",
        "ALTER DEFAULT PRIVILEGES FOR ROLE link_users_owner IN SCHEMA app GRANT ALL ON TABLES TO stranger",
        "in schema \"app\"",
    ),
    (
        "link_users",
        "ALTER DEFAULT PRIVILEGES FOR ROLE link_users_owner REVOKE SELECT ON TABLES FROM link_monitoring",
        "SELECT on new tables",
    ),
    ("link_users", "DROP EXTENSION \"uuid-ossp\"", "create extension \"uuid-ossp\""),
    ("link_users", "DROP SCHEMA app CASCADE", "create schema \"app\""),
    (
        "link_users",
        "CREATE TABLE mine (); ALTER TABLE mine OWNER TO link_users_user",
        "hand everything that \"link_users_user\" owns",
    ),
    ("link_users", "CREATE TABLE app.t (); ALTER TABLE app.t OWNER TO link_users_owner", "let \"link_monitoring\" read"),
    ("link_chat", "REVOKE USAGE ON SCHEMA public FROM link_chat_app", "USAGE for \"link_chat_app\""),
    ("postgres", "GRANT link_chat_owner TO link_chat_user", "end the membership of \"link_chat_user\" in \"link_chat_owner\""),
    ("postgres", "REVOKE link_chat_app FROM link_chat_user", "act as \"link_chat_app\""),
];

#[tokio::test]
async fn every_drift_is_seen_and_repaired() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, TWO);
    // Nothing that initdb or a DBA left is drift: pgisle was never here.
    cluster.psql("GRANT TEMPORARY ON DATABASE template1 TO PUBLIC").await;
    let first = project.pending().await;
    assert!(first.iter().any(|line| line.contains("template1 [Missing]")), "{first:#?}");
    assert!(first.iter().all(|line| line.contains("[Missing]")), "{first:#?}");
    project.apply().await;
    project.assert_settled().await;
    cluster.psql("CREATE ROLE stranger").await;
    for (database, sql, word) in DRIFTS {
        cluster.psql_in(database, sql).await;
        let pending = project.pending().await;
        assert!(pending.iter().any(|line| line.contains(word)), "{sql}: {word} not in {pending:#?}");
        assert!(pending.iter().all(|line| line.contains("[Drift]")), "{sql}: {pending:#?}");
        project.apply().await;
        assert_eq!(project.pending().await, Vec::<String>::new(), "{sql}");
    }
    project.assert_settled().await;
}

#[tokio::test]
async fn what_was_dropped_comes_back_and_works() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, TWO);
    project.apply().await;
    cluster.psql("DROP DATABASE link_users").await;
    cluster.psql("DROP DATABASE link_chat; ").await;
    cluster.psql("DROP ROLE link_chat_user, link_chat_migrator").await;
    project.apply().await;
    project.assert_settled().await;
    let credentials = project.store.load().unwrap();
    for service in credentials.services.values() {
        let database = service.active.role.as_str().trim_end_matches("_user");
        let client = cluster.connect_as(service.active.role.as_str(), service.active.secret.expose(), database).await.unwrap();
        client.simple_query("SELECT 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_changed_file_is_not_called_drift() {
    let cluster = Cluster::start().await;
    let mut project = Project::new(&cluster, TWO);
    project.apply().await;
    project.rewrite(&TWO.replace("30s", "10s"));
    let pending = project.pending().await;
    assert!(!pending.is_empty() && pending.iter().all(|line| line.contains("[Changed]")), "{pending:#?}");
    project.apply().await;
    project.assert_settled().await;
    // From split to owner and back, with the roles of both ways left behind in between.
    for text in [TWO.replace("split", "owner"), TWO.to_owned()] {
        project.rewrite(&text);
        project.apply().await;
        project.assert_settled().await;
    }
}
