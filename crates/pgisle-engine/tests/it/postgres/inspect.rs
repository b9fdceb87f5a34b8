//! What the inventory says of a real cluster, on every version that is installed, as superuser and as a plain administrator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use pgisle_core::inventory::{
    AclItem, Contents, DefaultAclObjects, Grantee, HiddenRelations, InstalledExtension, Inventory, Membership, Readable,
};
use pgisle_core::name::{DatabaseName, ExtensionName, ParameterName, RoleName, SchemaName};
use pgisle_engine::postgres::{ConnectOptions, Request, Session, inspect, inspect_contents, inspect_data_bytes, inspect_shared};
use pgisle_testkit::{Cluster, majors};

use super::{database, login, role, superuser};

const ROLES: &str = "
    CREATE ROLE keeper NOLOGIN;
    CREATE ROLE app LOGIN CONNECTION LIMIT 7 VALID UNTIL '2030-01-02 03:04:05+02' PASSWORD 'x';
    CREATE ROLE reader LOGIN NOINHERIT BYPASSRLS;
    CREATE ROLE \"odd
name\" NOLOGIN;
    GRANT keeper TO app WITH ADMIN OPTION;
    GRANT keeper TO reader;
    COMMENT ON ROLE app IS 'it''s \"mine\" \\ \t';
    ALTER ROLE app SET statement_timeout = '5s';
    ALTER ROLE app SET search_path = a, \"b=c\";";

const AFTER: &str = "
    REVOKE ALL ON DATABASE island FROM PUBLIC;
    GRANT CONNECT ON DATABASE island TO app WITH GRANT OPTION;
    ALTER DATABASE island CONNECTION LIMIT 9;
    ALTER DATABASE island SET work_mem = '8MB';
    ALTER ROLE app IN DATABASE island SET role = 'keeper';
    COMMENT ON DATABASE island IS 'the island';";

const INSIDE: &str = "
    CREATE SCHEMA side AUTHORIZATION keeper;
    GRANT USAGE ON SCHEMA side TO PUBLIC;
    ALTER DEFAULT PRIVILEGES FOR ROLE keeper GRANT SELECT ON TABLES TO reader;
    ALTER DEFAULT PRIVILEGES FOR ROLE keeper REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES FOR ROLE keeper IN SCHEMA side GRANT USAGE ON SEQUENCES TO app;
    SET ROLE keeper;
    CREATE TABLE side.things (id serial PRIMARY KEY, note text);
    CREATE VIEW side.seen AS SELECT 1 AS one;
    CREATE TYPE side.mood AS ENUM ('good');
    CREATE TYPE side.pair AS (a int, b int);
    CREATE DOMAIN side.age AS int;
    CREATE FUNCTION side.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    RESET ROLE;
    CREATE TABLE public.mine (id int);
    REVOKE SELECT ON side.seen FROM reader;";

async fn build(cluster: &Cluster) {
    cluster.psql(ROLES).await;
    for name in ["island", "closed", "fenced"] {
        cluster.psql(&format!("CREATE DATABASE {name}")).await;
    }
    cluster.psql(AFTER).await;
    cluster.psql("ALTER DATABASE closed ALLOW_CONNECTIONS false").await;
    cluster.psql("REVOKE CONNECT ON DATABASE fenced FROM PUBLIC").await;
    cluster.psql_in("island", INSIDE).await;
}

fn request() -> Request {
    let readers = || BTreeSet::from([role("reader"), role("not_there")]);
    let names = ["island", "closed", "fenced", "missing", "postgres"];
    Request { databases: names.into_iter().map(|name| (database(name), readers())).collect(), sizes: true }
}

async fn look(options: &ConnectOptions, parallelism: usize) -> Inventory {
    inspect(options, &request(), parallelism, &|_| ()).await.unwrap()
}

fn item(grantee: Option<&str>, grantor: &str, privilege: &str, grantable: bool) -> AclItem {
    let grantee = grantee.map_or(Grantee::Public, |name| Grantee::Role(role(name)));
    AclItem { grantee, grantor: role(grantor), privilege: privilege.to_owned(), grantable }
}

#[tokio::test]
async fn everything_that_was_made_is_seen() {
    for major in majors().await {
        let cluster = Cluster::builder().major(major).conf("wal_level", "logical").conf("max_connections", "77").start().await;
        build(&cluster).await;
        let inventory = look(&superuser(&cluster), 4).await;
        check_server(&inventory, &cluster).await;
        check_roles(&inventory);
        check_memberships(&inventory, major);
        check_databases(&inventory);
        check_contents(&inventory, major);
        assert_eq!(look(&superuser(&cluster), 1).await, inventory, "the same cluster gives the same inventory");
        check_plain_admin(&inventory, &cluster).await;
    }
}

async fn check_server(inventory: &Inventory, cluster: &Cluster) {
    let server = &inventory.server;
    assert_eq!(server.major(), cluster.major());
    assert_eq!((server.max_connections, server.superuser_reserved_connections, server.reserved_connections), (77, 3, 0));
    assert_eq!((server.wal_level.as_str(), server.in_recovery), ("logical", false));
    let identifier = cluster.psql("SELECT system_identifier FROM pg_control_system()").await;
    assert_eq!(server.system_identifier, Readable::Known(identifier));
    let admin = &inventory.admin;
    assert!(admin.superuser && admin.create_role && admin.create_db && !admin.cloud_superuser);
    assert!(inventory.hidden.is_empty(), "{:?}", inventory.hidden);
    let extensions = inventory.available_extensions.known().unwrap();
    assert!(extensions[&ExtensionName::new("plpgsql").unwrap()].trusted);
    assert!(inventory.locales.known().unwrap().contains("C"));
}

fn check_roles(inventory: &Inventory) {
    let app = &inventory.roles[&role("app")];
    assert!(app.login && app.inherit && !app.superuser && !app.create_role && !app.create_db && !app.bypass_rls);
    assert_eq!((app.connection_limit, app.valid_until.as_deref()), (7, Some("2030-01-02 01:04:05+00")));
    assert_eq!(app.comment.as_deref(), Some("it's \"mine\" \\ \t"));
    assert_eq!(app.settings[&ParameterName::new("statement_timeout").unwrap()], "5s");
    assert_eq!(app.settings[&ParameterName::new("search_path").unwrap()], "a, \"b=c\"");
    assert_eq!(app.database_settings[&database("island")][&ParameterName::new("role").unwrap()], "keeper");
    assert!(matches!(&app.verifier, Readable::Known(Some(_))));
    assert_eq!(inventory.roles[&role("keeper")].verifier, Readable::Known(None));
    assert!(!inventory.roles[&role("reader")].inherit && inventory.roles[&role("reader")].bypass_rls);
    let odd = RoleName::observed("odd\nname");
    assert!(inventory.roles.contains_key(&odd));
    assert_eq!(odd.to_string(), "odd\\nname", "a terminal must not obey it");
}

fn check_memberships(inventory: &Inventory, major: u32) {
    let of_keeper: Vec<&Membership> = inventory.memberships.iter().filter(|found| found.role == role("keeper")).collect();
    let [app, reader] = of_keeper[..] else { panic!("{of_keeper:?}") };
    assert_eq!((app.member.as_str(), app.grantor.as_str()), ("app", "postgres"));
    assert_eq!((app.admin, app.inherit, app.set), (true, true, true));
    assert_eq!((reader.member.as_str(), reader.admin, reader.inherit, reader.set), ("reader", false, false, true), "{major}");
}

fn check_databases(inventory: &Inventory) {
    let island = &inventory.databases[&database("island")];
    assert_eq!((island.owner.as_str(), island.encoding.as_str(), island.connection_limit), ("postgres", "UTF8", 9));
    assert_eq!(island.comment.as_deref(), Some("the island"));
    assert_eq!(island.settings[&ParameterName::new("work_mem").unwrap()], "8MB");
    let own = |privilege| item(Some("postgres"), "postgres", privilege, false);
    let granted = item(Some("app"), "postgres", "CONNECT", true);
    assert_eq!(island.acl, BTreeSet::from([own("CREATE"), own("CONNECT"), own("TEMPORARY"), granted]));
    assert!(!island.acl_is_default && island.allow_connections && !island.is_template);
    // An ACL that nobody ever touched is NULL in the catalog, and means the built-in privileges.
    let closed = &inventory.databases[&database("closed")];
    let public = |privilege| item(None, "postgres", privilege, false);
    let default = [own("CREATE"), own("CONNECT"), own("TEMPORARY"), public("CONNECT"), public("TEMPORARY")];
    assert_eq!(closed.acl, BTreeSet::from(default));
    assert!(closed.acl_is_default && !closed.allow_connections);
    assert!(inventory.databases[&database("template0")].is_template);
}

fn island(inventory: &Inventory) -> &Contents {
    inventory.contents[&database("island")].known().unwrap()
}

fn check_contents(inventory: &Inventory, major: u32) {
    let names: Vec<&str> = inventory.contents.keys().map(DatabaseName::as_str).collect();
    assert_eq!(names, ["closed", "fenced", "island", "postgres"], "a database that does not exist has no contents");
    assert_eq!(inventory.contents[&database("closed")], Readable::Hidden("it does not accept connections".to_owned()));
    let island = island(inventory);
    let schemas: Vec<_> = island.schemas.iter().map(|(name, schema)| (name.as_str(), schema.owner.as_str())).collect();
    assert_eq!(schemas, [("public", "pg_database_owner"), ("side", "keeper")]);
    let side = &island.schemas[&SchemaName::new("side").unwrap()];
    assert!(side.acl.contains(&item(None, "keeper", "USAGE", false)), "{:?}", side.acl);
    let plpgsql = InstalledExtension { version: "1.0".to_owned(), schema: SchemaName::new("pg_catalog").unwrap() };
    assert_eq!(island.extensions, BTreeMap::from([(ExtensionName::new("plpgsql").unwrap(), plpgsql)]));
    // Table, its sequence, view, enum, pair, domain, function, schema; indexes, row types and array types follow their owners.
    assert_eq!(island.objects_by_owner, BTreeMap::from([(role("keeper"), 8), (role("postgres"), 1)]), "{major}");
    // `reader` may read what keeper makes, but not that view, and nothing of postgres'.
    let hidden = |owner: &str, schema: &str| HiddenRelations {
        reader: role("reader"),
        owner: role(owner),
        schema: SchemaName::new(schema).unwrap(),
        relations: 1,
    };
    assert_eq!(island.hidden_relations, BTreeSet::from([hidden("postgres", "public"), hidden("keeper", "side")]));
    let defaults: Vec<_> =
        island.default_acls.iter().map(|found| (found.schema.as_ref().map(SchemaName::as_str), found.objects)).collect();
    let side = Some("side");
    assert_eq!(
        defaults,
        [(None, DefaultAclObjects::Tables), (None, DefaultAclObjects::Functions), (side, DefaultAclObjects::Sequences)]
    );
    assert!(!island.default_acls[1].acl.iter().any(|item| item.grantee == Grantee::Public));
}

/// The plain administrator sees the same, but for verifiers and closed doors.
async fn check_plain_admin(inventory: &Inventory, cluster: &Cluster) {
    let password = cluster.create_plain_admin("admin").await;
    cluster.psql("GRANT CONNECT ON DATABASE island TO admin").await;
    let inventory_of_superuser = look(&superuser(cluster), 2).await;
    let mut plain = look(&login(cluster, "admin", &password), 2).await;
    assert!(!plain.admin.superuser && plain.admin.create_role && plain.admin.create_db);
    assert_eq!(plain.admin.role, role("admin"));
    let reason = "permission denied for table pg_authid".to_owned();
    assert_eq!(plain.roles[&role("app")].verifier, Readable::Hidden(reason));
    let Readable::Hidden(reason) = &plain.contents[&database("fenced")] else { panic!("the door is closed") };
    assert!(reason.contains("permission denied for database \"fenced\""), "{reason}");
    assert_eq!(island(&plain), island(inventory));
    plain.admin = inventory_of_superuser.admin.clone();
    for (name, found) in &mut plain.roles {
        found.verifier = inventory_of_superuser.roles[name].verifier.clone();
    }
    plain.contents = inventory_of_superuser.contents.clone();
    assert_eq!(plain, inventory_of_superuser);
}

#[tokio::test]
async fn bytes_are_those_of_the_services_rows() {
    let cluster = Cluster::start().await;
    let contents = async || {
        let session = Session::connect(&superuser(&cluster)).await.unwrap();
        inspect_data_bytes(&session).await.unwrap()
    };
    assert_eq!(contents().await, 0);
    cluster
        .psql("CREATE TABLE t (id int PRIMARY KEY, note text); CREATE MATERIALIZED VIEW m AS SELECT generate_series(1, 999)")
        .await;
    cluster.psql("CREATE SEQUENCE s").await;
    assert_eq!(contents().await, 0, "an empty table, and what can be made again");
    cluster.psql("INSERT INTO t VALUES (1)").await;
    assert_eq!(contents().await, 8192);
    cluster.psql("ALTER TABLE t ALTER note SET STORAGE EXTERNAL; UPDATE t SET note = repeat('x', 100000)").await;
    assert!(contents().await > 100_000, "rows that are kept aside count");
    cluster.psql("DROP TABLE t; SELECT lo_from_bytea(0, 'x')").await;
    assert!(contents().await >= 8192, "large objects count");
    cluster.psql("SELECT lo_unlink(oid) FROM pg_largeobject_metadata").await;
    assert_eq!(contents().await, 0);
    cluster.psql("CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)").await;
    cluster.psql("INSERT INTO p VALUES (1)").await;
    assert_eq!(contents().await, 8192);
}

#[tokio::test]
async fn a_table_that_is_being_rewritten_is_not_waited_for() {
    let cluster = Cluster::start().await;
    cluster.psql("CREATE TABLE t AS SELECT generate_series(1, 100000); ANALYZE t").await;
    let client = cluster.connect().await;
    client.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let started = Instant::now();
    let session = Session::connect(&superuser(&cluster)).await.unwrap();
    inspect_contents(&session, &BTreeSet::from([role("postgres")])).await.unwrap();
    let bytes = inspect_data_bytes(&session).await.unwrap();
    assert!(started.elapsed().as_secs() < 5);
    assert!(bytes > 1_000_000, "{bytes}");
}

#[tokio::test]
async fn an_extension_and_what_it_brings_is_not_the_services() {
    let cluster = Cluster::start().await;
    if !cluster.installation().contrib {
        pgisle_testkit::skip!("PostgreSQL has no contrib");
    }
    cluster.psql("CREATE EXTENSION hstore; CREATE EXTENSION pg_stat_statements").await;
    let session = Session::connect(&superuser(&cluster)).await.unwrap();
    let contents = inspect_contents(&session, &BTreeSet::from([role("pg_monitor")])).await.unwrap();
    assert!(contents.extensions.contains_key(&ExtensionName::new("hstore").unwrap()));
    assert_eq!(contents.objects_by_owner, BTreeMap::new());
    assert_eq!(contents.hidden_relations, BTreeSet::new());
    let shared = inspect_shared(&session).await.unwrap();
    let available = shared.available_extensions.known().unwrap();
    let hstore = &available[&ExtensionName::new("hstore").unwrap()];
    assert!(hstore.trusted && hstore.superuser && !hstore.default_version.is_empty());
}

#[tokio::test]
async fn contents_can_be_read_inside_of_a_transaction() {
    let cluster = Cluster::start().await;
    let mut session = Session::connect(&superuser(&cluster)).await.unwrap();
    session.run("BEGIN").await.unwrap();
    session.run("CREATE SCHEMA fresh").await.unwrap();
    let contents = inspect_contents(&session, &BTreeSet::new()).await.unwrap();
    assert!(contents.schemas.contains_key(&SchemaName::new("fresh").unwrap()));
    session.run("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn parallelism_is_a_bound_and_progress_is_told() {
    let cluster = Cluster::builder().conf("log_connections", "on").conf("log_disconnections", "on").start().await;
    for number in 0..6 {
        cluster.psql(&format!("CREATE DATABASE d{number}")).await;
    }
    let names = (0..6).map(|number| (database(&format!("d{number}")), BTreeSet::new()));
    let told = AtomicUsize::new(0);
    let listen = |progress: pgisle_engine::postgres::Progress<'_>| {
        assert_eq!((progress.done, progress.total), (told.fetch_add(1, Ordering::SeqCst) + 1, 6));
    };
    // Two roles' worth of connections: one that may hold two at once is enough for a parallelism of two.
    cluster.psql("CREATE ROLE narrow LOGIN CREATEROLE CREATEDB CONNECTION LIMIT 2 PASSWORD 'narrow'").await;
    let request = Request { databases: names.collect(), sizes: true };
    let inventory = inspect(&login(&cluster, "narrow", "narrow"), &request, 2, &listen).await.unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 6);
    assert!(inventory.contents.values().all(|contents| contents.known().is_some()), "{:?}", inventory.contents);
}

/// A front end with several threads must be able to spawn these.
#[test]
fn the_futures_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let host = pgisle_engine::postgres::Host::parse("/nowhere");
    let options = ConnectOptions::new(host, 1, role("a"), database("a"));
    let request = request();
    is_send(&Session::connect(&options));
    is_send(&inspect(&options, &request, 1, &|_| ()));
    is_send(&pgisle_engine::postgres::RunLock::acquire(&options, "a", std::time::Duration::ZERO, &|_| ()));
}
