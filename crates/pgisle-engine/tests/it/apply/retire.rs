//! Services that leave the file, and islands that are destroyed.

use pgisle_core::plan::{DestroyScope, Target};
use pgisle_engine::apply::Intent;
use pgisle_testkit::Cluster;

use super::Project;

const TWO: &str = "service \"users\" {\n}\nservice \"chat\" {\n}\n";
const ONE: &str = "service \"users\" {\n}\n";

#[tokio::test]
async fn a_service_that_leaves_the_file_is_fenced_and_kept() {
    for plain in [false, true] {
        let cluster = Cluster::start().await;
        let mut project = if plain { Project::plain(&cluster, TWO).await } else { Project::new(&cluster, TWO) };
        project.apply().await;
        let chat = project.store.load().unwrap().services.into_values().next().unwrap().active;
        assert_eq!(chat.role.as_str(), "link_chat_user");
        let session = cluster.connect_as("link_chat_user", chat.secret.expose(), "link_chat").await.unwrap();
        session.batch_execute("CREATE TABLE kept AS SELECT 42 AS n").await.unwrap();

        project.rewrite(ONE);
        project.end_sessions = true;
        let applied = project.apply().await;
        assert_eq!(applied.planned.report.retired.len(), 1);
        assert!(session.simple_query("SELECT 1").await.is_err(), "the session was ended");
        assert!(cluster.connect_as("link_chat_user", chat.secret.expose(), "link_chat").await.is_err());
        assert_eq!(cluster.psql_in("link_chat", "SELECT n FROM kept").await.trim(), "42");
        project.assert_settled().await;
        assert_eq!(project.preview().await.planned.report.retired.len(), 1);

        // It comes back as it was, password and all.
        project.rewrite(TWO);
        project.apply().await;
        project.assert_settled().await;
        let session = cluster.connect_as("link_chat_user", chat.secret.expose(), "link_chat").await.unwrap();
        assert_eq!(session.query("SELECT * FROM kept", &[]).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn destroy_takes_what_is_ours_and_nothing_else() {
    for plain in [false, true] {
        let cluster = Cluster::start().await;
        cluster.psql("CREATE DATABASE billing").await;
        cluster.psql("CREATE ROLE accountant LOGIN").await;
        let mut project = if plain { Project::plain(&cluster, TWO).await } else { Project::new(&cluster, TWO) };
        project.apply().await;
        let users = project.store.load().unwrap().services.into_values().next_back().unwrap().active;
        let session = cluster.connect_as("link_users_user", users.secret.expose(), "link_users").await.unwrap();
        session.batch_execute("CREATE TABLE precious AS SELECT 1 AS n").await.unwrap();

        project.intent = Intent::Destroy(DestroyScope { force: false });
        let applied = project.apply().await;
        let blocked: Vec<String> = applied.planned.report.blocked.iter().map(|blocked| blocked.address.to_string()).collect();
        assert_eq!(blocked, ["service.users/database"], "data is not dropped unasked");
        let left =
            cluster.psql("SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database WHERE datname LIKE 'link%'").await;
        assert_eq!(left.trim(), "link_users");
        session.batch_execute("SELECT * FROM precious").await.unwrap();

        project.targets = vec![Target::parse("service.users").unwrap()];
        project.intent = Intent::Destroy(DestroyScope { force: true });
        project.apply().await;
        project.targets = Vec::new();
        project.apply().await;
        let roles = cluster.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'link%'").await;
        assert_eq!(roles.trim(), "0");
        let others = cluster.psql("SELECT (SELECT count(*) FROM pg_database WHERE datname = 'billing'), (SELECT count(*) FROM pg_roles WHERE rolname = 'accountant')").await;
        assert_eq!(others.trim(), "1|1");
        assert_eq!(project.pending().await, Vec::<String>::new());
    }
}
