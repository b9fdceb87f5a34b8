//! What is not ours is left alone, until it is taken over.

use pgisle_core::diagnostic::{Code, Diagnostic, Severity};
use pgisle_core::name::ServiceName;
use pgisle_core::plan::Target;
use pgisle_testkit::Cluster;

use super::Project;

/// Two services as the Terraform configuration of the brief made them: the service owns its database, and PUBLIC may connect.
async fn as_terraform_left_it(cluster: &Cluster) {
    cluster.psql("CREATE ROLE link_users_user LOGIN PASSWORD 'kept-password' CONNECTION LIMIT 50").await;
    cluster.psql("CREATE DATABASE link_users OWNER link_users_user TEMPLATE template0").await;
    let client = cluster.connect_as("link_users_user", "kept-password", "link_users").await.unwrap();
    client
        .batch_execute("CREATE TABLE users (id int); INSERT INTO users VALUES (7); CREATE FUNCTION f() RETURNS int RETURN 1")
        .await
        .unwrap();
    client
        .batch_execute("CREATE SCHEMA own; CREATE TYPE own.mood AS ENUM ('ok'); CREATE VIEW own.v AS SELECT * FROM users")
        .await
        .unwrap();
}

const SPEC: &str = "service \"users\" {\n  password = \"kept-password\"\n}\nservice \"chat\" {\n}\n";

#[tokio::test]
async fn foreign_objects_are_reported_and_left_alone() {
    let cluster = Cluster::start().await;
    as_terraform_left_it(&cluster).await;
    let before = cluster.psql("SELECT datacl, datdba::regrole, datconnlimit FROM pg_database WHERE datname = 'link_users'").await;
    let project = Project::new(&cluster, SPEC);
    let applied = project.apply().await;
    let codes: Vec<Code> = applied.planned.report.blocked.iter().map(|blocked| blocked.diagnostic.code).collect();
    assert_eq!(codes, [Code::PLAN_FOREIGN_DATABASE, Code::PLAN_FOREIGN_ROLE]);
    let after = cluster.psql("SELECT datacl, datdba::regrole, datconnlimit FROM pg_database WHERE datname = 'link_users'").await;
    assert_eq!(before, after);
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'link_users_owner'").await.trim(), "0");
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_database WHERE datname = 'link_chat'").await.trim(), "1", "others go on");
}

#[tokio::test]
async fn adoption_makes_an_island_of_a_database_that_its_service_owned() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        as_terraform_left_it(&cluster).await;
        let mut project = Project::new(&cluster, SPEC);
        project.adopt = [ServiceName::parse("users").unwrap()].into();
        project.apply().await;
        project.adopt.clear();
        project.assert_settled().await;
        let owner = cluster.psql("SELECT datdba::regrole FROM pg_database WHERE datname = 'link_users'").await;
        assert_eq!(owner.trim(), "postgres");
        let owned =
            cluster.psql_in("link_users", "SELECT count(*) FROM pg_class WHERE relowner = 'link_users_user'::regrole").await;
        assert_eq!(owned.trim(), "0");
        // The service goes on with the login that it has, and everything is where it was.
        let client = cluster.connect_as("link_users_user", "kept-password", "link_users").await.unwrap();
        client.batch_execute("SELECT f(), * FROM own.v; ALTER TABLE users ADD COLUMN name text").await.unwrap();
        assert!(client.batch_execute("GRANT CONNECT ON DATABASE link_users TO PUBLIC").await.is_ok());
        let public = cluster.psql("SELECT has_database_privilege('public', 'link_users', 'CONNECT')").await;
        assert_eq!(public.trim(), "f", "the service cannot open its database any more");
    }
}

/// An apply before the adoption has let the login through the fence of the maintenance databases, for it was someone else's then.
#[tokio::test]
async fn who_is_adopted_loses_what_the_fence_had_left_it() {
    const HELD: &str = "SELECT count(*) FROM pg_database AS d, aclexplode(d.datacl) AS a \
        WHERE d.datname IN ('postgres', 'template1') AND a.grantee = 'link_users_user'::regrole";
    for is_targeted in [true, false] {
        let cluster = Cluster::start().await;
        as_terraform_left_it(&cluster).await;
        let mut project = Project::new(&cluster, SPEC);
        project.apply().await;
        assert_eq!(cluster.psql(HELD).await, "3", "CONNECT and TEMPORARY, and CONNECT");
        let users = ServiceName::parse("users").unwrap();
        project.adopt = [users.clone()].into();
        // As `pgisle adopt` does it, and as an apply of everything would.
        project.targets = if is_targeted { vec![Target::Service(users)] } else { Vec::new() };
        project.apply().await;
        assert_eq!(cluster.psql(HELD).await, "0");
        (project.adopt, project.targets) = Default::default();
        project.assert_settled().await;
        assert!(cluster.connect_as("link_users_user", "kept-password", "postgres").await.is_err());
        cluster.connect_as("link_users_user", "kept-password", "link_users").await.unwrap();
    }
}

/// A service under a new name, or one that was given the database of another: nobody gets it in passing.
#[tokio::test]
async fn another_services_island_is_only_taken_over_when_asked() {
    const OLD: &str = "service \"users\" {\n}\nservice \"chat\" {\n}\n";
    const NEW: &str = "service \"people\" {\n  database = \"link_users\"\n}\nservice \"chat\" {\n}\n";
    for plain in [false, true] {
        let cluster = Cluster::start().await;
        let mut project = if plain { Project::plain(&cluster, OLD).await } else { Project::new(&cluster, OLD) };
        project.apply().await;
        let credential = project.store.load().unwrap().services[&ServiceName::parse("users").unwrap()].active.clone();
        let client = cluster.connect_as("link_users_user", credential.secret.expose(), "link_users").await.unwrap();
        client.batch_execute("CREATE TABLE kept AS SELECT 42 AS n").await.unwrap();

        project.rewrite(NEW);
        assert_refused(&project, "database \"link_users\" is service \"users\"'s").await;
        assert!(!project.store.load().unwrap().services.contains_key(&ServiceName::parse("people").unwrap()));
        let again = cluster.connect_as("link_users_user", credential.secret.expose(), "link_users").await.unwrap();
        again.batch_execute("INSERT INTO kept VALUES (43)").await.unwrap();

        project.adopt = [ServiceName::parse("people").unwrap()].into();
        project.apply().await;
        project.adopt.clear();
        project.assert_settled().await;
        let renamed = project.store.load().unwrap().services[&ServiceName::parse("people").unwrap()].active.clone();
        let client = cluster.connect_as("link_users_user", renamed.secret.expose(), "link_users").await.unwrap();
        assert_eq!(client.query("SELECT n FROM kept", &[]).await.unwrap().len(), 2);
        assert!(cluster.connect_as("link_users_user", credential.secret.expose(), "link_users").await.is_err(), "a new password");
        // The way back is the same.
        project.rewrite(OLD);
        assert_refused(&project, "database \"link_users\" is service \"people\"'s").await;
    }
}

/// For this one reason, told once and not for each role, and nothing is done.
async fn assert_refused(project: &Project, summary: &str) {
    let applied = project.apply().await;
    let errors: Vec<&Diagnostic> = applied.planned.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
    let [error] = errors[..] else { panic!("{errors:?}") };
    assert_eq!((error.code, error.summary.as_str()), (Code::PLAN_OTHER_SERVICE, summary));
    assert!(applied.planned.plan.is_empty() && applied.failures.is_empty());
}
