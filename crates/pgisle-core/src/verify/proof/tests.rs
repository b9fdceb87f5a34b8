#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::inventory::{
    AclItem, Admin, Contents, Database, DefaultAcl, DefaultAclObjects, Grantee, InstalledExtension, Membership, Readable, Role,
    Schema, Server,
};
use crate::name::{ExtensionName, SchemaName};

fn role_name(name: &str) -> RoleName {
    RoleName::new(name).unwrap()
}

fn database_name(name: &str) -> DatabaseName {
    DatabaseName::new(name).unwrap()
}

/// Every setting, with the defaults where they matter here.
const SETTINGS: &str = r#"{
    "postgres_host": "localhost", "postgres_port": 5432, "postgres_database": "link_app", "postgres_username": "link_user",
    "postgres_sslmode": "disable", "environment": "development", "database_connection_limit": 100, "user_connection_limit": 50,
    "create_monitoring_user": true, "backup_retention_days": 30, "enable_ssl": false, "kubernetes_namespace": "default",
    "kubeconfig_path": "", "kubernetes_context": null, "enable_pgbouncer": true, "pgbouncer_pool_mode": "session",
    "pgbouncer_max_client_conn": 100, "pgbouncer_default_pool_size": 10, "enable_backup_automation": true,
    "backup_storage_path": "", "enable_replica_setup": false, "tags": {}, "name_prefix": "link",
    "maintenance_database": "postgres", "service_host": null, "service_port": null, "postgres_sslrootcert": null,
    "postgres_sslcert": null, "postgres_sslkey": null, "fence_maintenance_databases": true, "default_extensions": [],
    "collation": "C", "trusted_roles": ["backup_agent"], "monitoring_connection_limit": 5, "monitoring_access": "data",
    "pgbouncer_host": "localhost", "pgbouncer_port": 6432, "pgbouncer_reserve_pool_size": 2,
    "pgbouncer_server_idle_timeout": 600, "pgbouncer_instances": 1, "pgbouncer_version": "1.21", "credential_recipients": [],
    "backup_schedule": "0 2 * * *", "backup_minimum_count": 3, "backup_recipients": [], "backup_on_failure": null
}"#;

fn spec() -> Spec {
    let service = |name: &str| {
        json!({
            "name": name, "description": "", "instances": 1, "database": format!("link_{name}"), "user": format!("link_{name}_user"),
            "connection_limit": 50, "database_connection_limit": 100, "pool_size": 10, "extensions": [], "schemas": [], "tables": [],
            "settings": {}, "access": "owner", "replica": null, "place": {"file": "pgisle.hcl", "line": 1, "column": 1}
        })
    };
    let settings: serde_json::Value = serde_json::from_str(SETTINGS).unwrap();
    let services = json!({"users": service("users"), "chat": service("chat")});
    serde_json::from_value(json!({"settings": settings, "services": services})).unwrap()
}

fn role(login: bool, limit: i32) -> Role {
    Role {
        login,
        superuser: false,
        inherit: true,
        create_role: false,
        create_db: false,
        replication: false,
        bypass_rls: false,
        connection_limit: limit,
        valid_until: None,
        comment: None,
        settings: BTreeMap::new(),
        database_settings: BTreeMap::new(),
        verifier: Readable::Known(None),
    }
}

fn item(grantee: &str, privilege: &str, grantable: bool) -> AclItem {
    let grantee = if grantee == "PUBLIC" { Grantee::Public } else { Grantee::Role(role_name(grantee)) };
    AclItem { grantee, grantor: role_name("link_user"), privilege: privilege.to_owned(), grantable }
}

fn items(texts: &[(&str, &str)]) -> BTreeSet<AclItem> {
    texts.iter().flat_map(|(grantee, privileges)| privileges.split(' ').map(|privilege| item(grantee, privilege, false))).collect()
}

fn database(acl: BTreeSet<AclItem>, limit: i32) -> Database {
    Database {
        owner: role_name("link_user"),
        encoding: "UTF8".to_owned(),
        collate: "C".to_owned(),
        ctype: "C".to_owned(),
        allow_connections: true,
        is_template: false,
        connection_limit: limit,
        acl,
        acl_is_default: false,
        comment: None,
        settings: BTreeMap::new(),
    }
}

fn member(member: &str, of: &str) -> Membership {
    Membership {
        role: role_name(of),
        member: role_name(member),
        grantor: role_name("postgres"),
        admin: false,
        inherit: true,
        set: true,
    }
}

/// A cluster without anything, on PostgreSQL 16 with an administrator who is no superuser.
fn empty() -> Inventory {
    Inventory {
        server: Server {
            version_num: 160_000,
            version: "16.0".to_owned(),
            system_identifier: Readable::Known("1".to_owned()),
            in_recovery: false,
            max_connections: 100,
            superuser_reserved_connections: 3,
            reserved_connections: 0,
            wal_level: "replica".to_owned(),
            default_collation: "C".to_owned(),
        },
        admin: Admin { role: role_name("link_user"), superuser: false, create_role: true, create_db: true, cloud_superuser: false },
        roles: BTreeMap::new(),
        memberships: vec![],
        databases: BTreeMap::new(),
        available_extensions: Readable::Known(BTreeMap::new()),
        locales: Readable::Known(BTreeSet::new()),
        contents: BTreeMap::new(),
        hidden: BTreeMap::new(),
    }
}

/// Two islands as the design wants them.
fn islands() -> Inventory {
    let mut inventory = empty();
    let roles = &mut inventory.roles;
    roles.insert(role_name("postgres"), Role { superuser: true, ..role(true, -1) });
    roles.insert(role_name("link_user"), Role { create_role: true, create_db: true, ..role(true, -1) });
    roles.insert(role_name("link_monitoring"), role(true, 5));
    roles.insert(role_name("backup_agent"), role(true, -1));
    for predefined in ["pg_monitor", "pg_read_all_data", "pg_execute_server_program", "pg_read_all_stats"] {
        roles.insert(role_name(predefined), role(false, -1));
    }
    inventory.memberships.extend([member("link_monitoring", "pg_monitor"), member("pg_monitor", "pg_read_all_stats")]);
    for name in ["users", "chat"] {
        let (login, owner) = (format!("link_{name}_user"), format!("link_{name}_owner"));
        inventory.roles.insert(role_name(&login), role(true, 50));
        inventory.roles.insert(role_name(&owner), role(false, -1));
        inventory.memberships.push(member(&login, &owner));
        inventory.memberships.push(Membership { admin: true, inherit: false, set: true, ..member("link_user", &owner) });
        let acl = items(&[
            ("link_user", "CONNECT CREATE TEMPORARY"),
            (&owner, "CREATE TEMPORARY"),
            (&login, "CONNECT"),
            ("link_monitoring", "CONNECT"),
            ("backup_agent", "CONNECT"),
        ]);
        inventory.databases.insert(database_name(&format!("link_{name}")), database(acl, 100));
        let public = Schema {
            owner: role_name("pg_database_owner"),
            acl: items(&[
                ("pg_database_owner", "CREATE USAGE"),
                ("PUBLIC", "USAGE"),
                (&owner, "CREATE USAGE"),
                ("link_monitoring", "USAGE"),
            ]),
        };
        let default = DefaultAcl {
            role: role_name(&owner),
            schema: None,
            objects: DefaultAclObjects::Tables,
            acl: items(&[(&owner, "SELECT INSERT"), ("link_monitoring", "SELECT")]),
        };
        let contents = Contents {
            schemas: BTreeMap::from([(SchemaName::new("public").unwrap(), public)]),
            extensions: BTreeMap::new(),
            default_acls: vec![default],
            objects_by_owner: BTreeMap::from([(role_name(&owner), 3)]),
            hidden_relations: BTreeSet::new(),
            data_bytes: Some(0),
        };
        inventory.contents.insert(database_name(&format!("link_{name}")), Readable::Known(contents));
    }
    let fenced = items(&[("postgres", "CONNECT CREATE TEMPORARY"), ("link_monitoring", "CONNECT")]);
    for name in ["postgres", "template1"] {
        inventory.databases.insert(database_name(name), Database { owner: role_name("postgres"), ..database(fenced.clone(), -1) });
    }
    inventory
}

fn contents<'i>(inventory: &'i mut Inventory, name: &str) -> &'i mut Contents {
    match inventory.contents.get_mut(&database_name(name)) {
        Some(Readable::Known(contents)) => contents,
        _ => panic!("no contents of {name}"),
    }
}

fn grant(inventory: &mut Inventory, database: &str, grantee: &str, privilege: &str, grantable: bool) {
    inventory.databases.get_mut(&database_name(database)).unwrap().acl.insert(item(grantee, privilege, grantable));
}

/// The proof of two islands with a leak planted: `code severity from → to: path`.
fn proved(plant: impl FnOnce(&mut Inventory)) -> Vec<String> {
    let mut inventory = islands();
    plant(&mut inventory);
    let proof = prove(&spec(), &inventory);
    assert_eq!(proof.unproved, [], "everything could be read");
    let to = |leak: &Leak| leak.to.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
    proof.leaks.iter().map(|leak| format!("{} {} {}: {}", leak.code, leak.severity, to(leak), leak.path_text())).collect()
}

/// What the report has to paste.
fn commands(plant: impl FnOnce(&mut Inventory)) -> Vec<String> {
    let mut inventory = islands();
    plant(&mut inventory);
    prove(&spec(), &inventory).leaks.into_iter().flat_map(|leak| leak.commands).collect()
}

#[test]
fn islands_do_not_leak() {
    assert_eq!(proved(|_| {}), Vec::<String>::new());
}

#[test]
fn privileges_of_public() {
    assert_eq!(
        proved(|it| grant(it, "link_users", "PUBLIC", "CONNECT", false)),
        ["PI0501 error link_users: every login (PUBLIC) → granted CONNECT on database link_users"]
    );
    assert_eq!(
        proved(|it| grant(it, "link_users", "PUBLIC", "TEMPORARY", false)),
        ["PI0503 error link_users: every login (PUBLIC) → granted TEMPORARY on database link_users"]
    );
    assert_eq!(
        proved(|it| grant(it, "template1", "PUBLIC", "CONNECT", false)),
        ["PI0501 error template1: every login (PUBLIC) → granted CONNECT on database template1"]
    );
    let shared = |it: &mut Inventory| {
        it.databases.insert(database_name("link_app"), database(items(&[("PUBLIC", "CONNECT TEMPORARY")]), -1));
    };
    assert_eq!(proved(shared), ["PI0501 warning link_app: every login (PUBLIC) → granted CONNECT, TEMPORARY on database link_app"]);
}

#[test]
fn a_chain_of_memberships() {
    let plant = |it: &mut Inventory| {
        for group in ["reporting", "readers"] {
            it.roles.insert(role_name(group), role(false, -1));
        }
        it.memberships.extend([member("link_chat_user", "reporting"), member("reporting", "readers")]);
        grant(it, "link_users", "readers", "CONNECT", false);
    };
    assert_eq!(
        proved(plant),
        [
            "PI0501 error link_users: link_chat_user → member of reporting → member of readers → granted CONNECT on database link_users"
        ]
    );
    // One finding, and both ends of the way are cut.
    assert_eq!(
        commands(plant),
        [
            "REVOKE \"reporting\" FROM \"link_chat_user\" GRANTED BY \"postgres\" CASCADE;",
            "REVOKE CONNECT ON DATABASE \"link_users\" FROM \"readers\";",
        ]
    );
    // A membership that leads nowhere known is told by itself.
    let nowhere = |it: &mut Inventory| {
        it.roles.insert(role_name("reporting"), role(false, -1));
        it.memberships.push(member("link_chat_user", "reporting"));
    };
    assert_eq!(proved(nowhere), ["PI0504 error *: link_chat_user → member of reporting"]);
    let owner = |it: &mut Inventory| {
        it.roles.insert(role_name("reporting"), role(false, -1));
        it.memberships.extend([member("link_chat_user", "reporting"), member("reporting", "link_users_owner")]);
    };
    assert_eq!(
        proved(owner),
        ["PI0504 error link_users: link_chat_user → member of reporting → member of link_users_owner → owns tables in link_users"]
    );
    // What the island's own role is granted stays: without it the service would be down.
    assert_eq!(
        commands(owner),
        [
            "REVOKE \"reporting\" FROM \"link_chat_user\" GRANTED BY \"postgres\" CASCADE;",
            "REVOKE \"link_users_owner\" FROM \"reporting\" GRANTED BY \"postgres\" CASCADE;",
        ]
    );
}

#[test]
fn options_of_memberships() {
    let with = |inherit, set, admin| {
        move |it: &mut Inventory| {
            it.memberships.push(Membership { inherit, set, admin, ..member("link_chat_user", "link_users_owner") })
        }
    };
    assert_eq!(
        proved(with(false, true, false)),
        ["PI0504 error link_users: link_chat_user → may SET ROLE link_users_owner → owns tables in link_users"]
    );
    assert_eq!(
        proved(with(false, false, true)),
        ["PI0504 error link_users: link_chat_user → may grant link_users_owner → owns tables in link_users"]
    );
    assert_eq!(proved(with(false, false, false)), Vec::<String>::new());
    let admin =
        |it: &mut Inventory| it.memberships.push(Membership { admin: true, ..member("link_users_user", "link_users_owner") });
    assert_eq!(proved(admin), ["PI0506 error link_users: link_users_user → may grant link_users_owner"]);
}

#[test]
fn predefined_roles_and_attributes() {
    assert_eq!(
        proved(|it| it.memberships.push(member("link_chat_user", "pg_read_all_data"))),
        ["PI0509 error *: link_chat_user → member of pg_read_all_data"]
    );
    assert_eq!(
        proved(|it| it.roles.get_mut(&role_name("link_chat_user")).unwrap().create_db = true),
        ["PI0505 error *: link_chat_user → is CREATEDB"]
    );
    // The login may SET ROLE to its owner, so what the owner is counts for the login.
    assert_eq!(
        proved(|it| it.roles.get_mut(&role_name("link_chat_owner")).unwrap().bypass_rls = true),
        ["PI0505 error *: link_chat_user → member of link_chat_owner → is BYPASSRLS"]
    );
    // Whoever can become a superuser has everything else as well.
    let superuser = proved(|it| it.memberships.push(member("link_chat_user", "postgres")));
    assert!(superuser.contains(&"PI0504 error *: link_chat_user → member of postgres → is SUPERUSER".to_owned()), "{superuser:?}");
}

#[test]
fn owners_grant_options_and_limits() {
    assert_eq!(
        proved(|it| it.databases.get_mut(&database_name("link_users")).unwrap().owner = role_name("link_users_user")),
        ["PI0506 error link_users: link_users_user → owns database link_users"]
    );
    assert_eq!(
        proved(|it| grant(it, "link_users", "link_users_user", "CONNECT", true)),
        ["PI0506 error link_users: link_users_user → granted CONNECT on database link_users with grant option"]
    );
    assert_eq!(
        proved(|it| it.roles.get_mut(&role_name("link_users_user")).unwrap().connection_limit = -1),
        ["PI0507 error link_users: link_users_user → has no limit on its connections, wanted 50"]
    );
    assert_eq!(
        proved(|it| it.databases.get_mut(&database_name("link_users")).unwrap().connection_limit = 101),
        ["PI0507 error link_users: link_users_user → database link_users has a limit of 101, wanted 100"]
    );
    assert_eq!(
        proved(|it| it.roles.get_mut(&role_name("link_users_owner")).unwrap().login = true),
        ["PI0506 error link_users: link_users_owner → is LOGIN"]
    );
}

#[test]
fn contents_of_an_island() {
    let public = |it: &mut Inventory| {
        let schema = contents(it, "link_users").schemas.get_mut(&SchemaName::new("public").unwrap()).unwrap();
        schema.acl.insert(item("PUBLIC", "CREATE", false));
    };
    assert_eq!(proved(public), ["PI0503 error link_users: every login (PUBLIC) → granted CREATE on schema public of link_users"]);
    let default = |grantee: &'static str| {
        move |it: &mut Inventory| {
            contents(it, "link_users").default_acls[0].acl.insert(item(grantee, "SELECT", false));
        }
    };
    assert_eq!(
        proved(default("PUBLIC")),
        ["PI0508 error link_users: every login (PUBLIC) → granted SELECT on future tables of link_users_owner in link_users"]
    );
    assert_eq!(
        proved(default("link_chat_owner")),
        [
            "PI0508 error link_users: link_chat_user → member of link_chat_owner → granted SELECT on future tables of link_users_owner in \
          link_users"
        ]
    );
    assert_eq!(
        proved(|it| {
            contents(it, "link_users").objects_by_owner.insert(role_name("link_chat_user"), 2);
        }),
        ["PI0502 error link_users: link_chat_user → owns 2 objects in link_users"]
    );
    let extension = |it: &mut Inventory| {
        let schema = SchemaName::new("public").unwrap();
        let installed = InstalledExtension { version: "1".to_owned(), schema };
        contents(it, "link_users").extensions.insert(ExtensionName::new("dblink").unwrap(), installed);
    };
    assert_eq!(proved(extension), ["PI0512 error link_users: link_users_user → extension dblink is installed in link_users"]);
}

#[test]
fn people_who_are_no_service() {
    let intern = |it: &mut Inventory| {
        it.roles.insert(role_name("intern"), role(true, -1));
        it.memberships.push(member("intern", "link_users_owner"));
        grant(it, "link_users", "intern", "CONNECT", false);
    };
    assert_eq!(
        proved(intern),
        [
            "PI0501 error link_users: intern → granted CONNECT on database link_users",
            "PI0504 error link_users: intern → member of link_users_owner → owns tables in link_users",
        ]
    );
    assert_eq!(proved(|it| it.memberships.push(member("backup_agent", "link_users_owner"))), Vec::<String>::new());
}

#[test]
fn a_service_that_is_down() {
    assert_eq!(
        proved(|it| it.roles.get_mut(&role_name("link_chat_user")).unwrap().login = false),
        ["PI0510 error link_chat: link_chat_user → role link_chat_user may not log in"]
    );
    assert_eq!(
        proved(|it| it.databases.get_mut(&database_name("link_chat")).unwrap().acl.retain(|item| item.privilege != "CONNECT")),
        ["PI0510 error link_chat: link_chat_user → role link_chat_user has no CONNECT on database link_chat"]
    );
}

#[test]
fn what_is_hidden_is_not_proved() {
    let mut inventory = islands();
    inventory.contents.insert(database_name("link_chat"), Readable::Hidden("permission denied".to_owned()));
    inventory.contents.remove(&database_name("link_users"));
    let proof = prove(&spec(), &inventory);
    assert_eq!(proof.leaks, []);
    let unproved: Vec<_> = proof.unproved.iter().map(|unproved| unproved.what.as_str()).collect();
    assert_eq!(unproved, ["contents of database \"link_chat\"", "contents of database \"link_users\""]);
}
