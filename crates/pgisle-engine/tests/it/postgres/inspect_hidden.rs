//! What a managed cloud hides is a value, not a failure.

use std::collections::{BTreeMap, BTreeSet};

use pgisle_core::inventory::{Inventory, Readable};
use pgisle_core::name::ParameterName;
use pgisle_engine::postgres::{Request, inspect};
use pgisle_testkit::{Cluster, majors};

use super::{database, login, role, superuser};

async fn look(cluster: &Cluster, password: &str) -> Inventory {
    let request = Request { databases: BTreeMap::from([(database("postgres"), BTreeSet::new())]), sizes: true };
    inspect(&login(cluster, "admin", password), &request, 2, &|_| ()).await.unwrap()
}

fn assert_hidden<T: std::fmt::Debug>(value: &Readable<T>) {
    match value {
        Readable::Hidden(reason) => assert!(reason.to_lowercase().contains("permission denied"), "{reason}"),
        Readable::Known(known) => panic!("it should be hidden: {known:?}"),
    }
}

#[tokio::test]
async fn each_hidden_part_is_named_and_the_rest_is_read() {
    for major in majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let password = cluster.create_plain_admin("admin").await;
        cluster.psql("COMMENT ON ROLE admin IS 'the admin'; ALTER ROLE admin SET work_mem = '5MB'").await;
        cluster.psql("ALTER ROLE admin IN DATABASE postgres SET work_mem = '6MB'").await;
        let open = look(&cluster, &password).await;
        assert_eq!(open.roles[&role("admin")].comment.as_deref(), Some("the admin"));
        assert!(open.hidden.is_empty());

        cluster.psql("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC").await;
        cluster
            .psql("REVOKE SELECT ON pg_db_role_setting, pg_shdescription, pg_available_extensions, pg_collation FROM PUBLIC")
            .await;
        let inventory = look(&cluster, &password).await;
        assert_hidden(&inventory.server.system_identifier);
        assert_hidden(&inventory.available_extensions);
        assert_hidden(&inventory.locales);
        assert_hidden(&inventory.roles[&role("admin")].verifier);
        let hidden: Vec<&str> = inventory.hidden.keys().map(String::as_str).collect();
        assert_eq!(hidden, ["pg_db_role_setting", "pg_shdescription"]);
        let admin = &inventory.roles[&role("admin")];
        assert_eq!(admin.comment, None);
        assert_eq!(admin.database_settings, BTreeMap::new());
        assert_eq!(admin.settings[&ParameterName::new("work_mem").unwrap()], "5MB", "pg_roles still tells");
        assert!(inventory.contents[&database("postgres")].known().is_some());

        // pg_authid, on the other hand, can be opened for an administrator.
        cluster.psql("GRANT SELECT ON pg_authid TO admin").await;
        assert!(matches!(&look(&cluster, &password).await.roles[&role("admin")].verifier, Readable::Known(Some(_))));
    }
}

#[tokio::test]
async fn a_database_whose_catalogs_are_hidden_is_hidden_alone() {
    let cluster = Cluster::start().await;
    let password = cluster.create_plain_admin("admin").await;
    cluster.psql("CREATE DATABASE secretive").await;
    cluster.psql_in("secretive", "REVOKE SELECT ON pg_default_acl FROM PUBLIC").await;
    let names = ["secretive", "postgres"].map(|name| (database(name), BTreeSet::new()));
    let request = Request { databases: names.into(), sizes: true };
    let inventory = inspect(&login(&cluster, "admin", &password), &request, 2, &|_| ()).await.unwrap();
    assert_hidden(&inventory.contents[&database("secretive")]);
    assert!(inventory.contents[&database("postgres")].known().is_some());
}

#[tokio::test]
async fn a_database_without_room_is_hidden_and_a_full_server_is_an_error() {
    let cluster = Cluster::builder().conf("max_connections", "8").conf("superuser_reserved_connections", "2").start().await;
    let password = cluster.create_plain_admin("admin").await;
    cluster.psql("CREATE DATABASE narrow CONNECTION LIMIT 0").await;
    let request = Request { databases: ["narrow", "postgres"].map(|name| (database(name), BTreeSet::new())).into(), sizes: true };
    let admin = login(&cluster, "admin", &password);
    let inventory = inspect(&admin, &request, 1, &|_| ()).await.unwrap();
    assert_eq!(inventory.contents[&database("narrow")], Readable::Hidden("all its connections are taken".to_owned()));
    assert!(inventory.contents[&database("postgres")].known().is_some());

    let mut others = Vec::new();
    while let Ok(client) = cluster.connect_as("admin", &password, "template1").await {
        others.push(client);
    }
    let error = inspect(&admin, &request, 1, &|_| ()).await.unwrap_err();
    assert_eq!(error.diagnostic().code, pgisle_core::diagnostic::Code::CONNECT_TOO_MANY);
    drop(others);
}

#[tokio::test]
async fn the_remains_of_a_dropped_database_are_known_as_such() {
    let cluster = Cluster::start().await;
    cluster.psql("CREATE DATABASE remains").await;
    cluster.psql("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'remains'").await;
    let request = Request { databases: BTreeMap::from([(database("remains"), BTreeSet::new())]), sizes: true };
    let inventory = inspect(&superuser(&cluster), &request, 1, &|_| ()).await.unwrap();
    assert!(inventory.databases[&database("remains")].is_invalid());
    let Readable::Hidden(reason) = &inventory.contents[&database("remains")] else { panic!("nobody can look inside") };
    assert!(reason.contains("interrupted DROP DATABASE"), "{reason}");
}
