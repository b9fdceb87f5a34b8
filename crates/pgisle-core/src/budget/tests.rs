#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::diagnostic::{Code, Place, Severity};
use crate::inventory::{Admin, Database, Readable};
use crate::name::RoleName;
use crate::spec::{ConnectionLimit, HostPort, PoolMode, Replica, ReplicaMode};

/// As many as pgisle works on unasked.
const AT_ONCE: u32 = PARALLELISM as u32;

/// The brief's five services: 3 + 2 + 2 + 1 + 1 instances, pools of ten, PgBouncer in session mode with a reserve of two.
fn link() -> Spec {
    serde_json::from_str(include_str!("../../testdata/link.json")).unwrap()
}

fn with(change: impl FnOnce(&mut Settings)) -> Spec {
    let mut spec = link();
    change(&mut spec.settings);
    spec
}

fn service<'s>(spec: &'s mut Spec, name: &str) -> &'s mut Service {
    spec.services.get_mut(&ServiceName::parse(name).unwrap()).unwrap()
}

fn inventory(max_connections: u32) -> Inventory {
    let role = RoleName::new("link_user").unwrap();
    Inventory {
        server: Server {
            version_num: 160_000,
            version: "16.0".to_owned(),
            system_identifier: Readable::Known("1".to_owned()),
            in_recovery: false,
            max_connections,
            superuser_reserved_connections: 3,
            reserved_connections: 0,
            wal_level: "replica".to_owned(),
            default_collation: "C".to_owned(),
        },
        admin: Admin { role, superuser: false, create_role: true, create_db: true, cloud_superuser: false },
        roles: BTreeMap::new(),
        memberships: Vec::new(),
        databases: BTreeMap::new(),
        available_extensions: Readable::Known(BTreeMap::new()),
        locales: Readable::Known(BTreeSet::new()),
        contents: BTreeMap::new(),
        hidden: BTreeMap::new(),
    }
}

fn with_shared_database(mut inventory: Inventory) -> Inventory {
    let database = Database {
        owner: RoleName::new("link_user").unwrap(),
        encoding: "UTF8".to_owned(),
        collate: "C".to_owned(),
        ctype: "C".to_owned(),
        allow_connections: true,
        is_template: false,
        connection_limit: -1,
        acl: BTreeSet::new(),
        acl_is_default: true,
        comment: None,
        settings: BTreeMap::new(),
    };
    inventory.databases.insert(DatabaseName::new("link_app").unwrap(), database);
    inventory
}

fn on(spec: &Spec, max_connections: u32) -> Summary {
    summary(spec, Some(&inventory(max_connections)), AT_ONCE)
}

#[test]
fn the_brief_adds_up() {
    let summary = summary(&link(), None, AT_ONCE);
    assert_eq!((summary.instances, summary.connections, summary.connections_without_pools), (9, 90, 500));
    assert_eq!((summary.pgbouncer_connections, summary.monitoring_connections), (Some(100), 5));
    assert_eq!(summary.steady, 95);
    assert!(summary.fits() && summary.diagnostic(&link()).is_none() && summary.suggestions.is_empty());
}

/// A server as PostgreSQL makes it has 100 connections, and the brief's services fit into it.
#[test]
fn the_brief_fits_into_a_server_as_it_comes() {
    let summary = on(&link(), 100);
    let server = summary.server.clone().unwrap();
    assert_eq!((server.usable_connections, server.headroom), (97, 2));
    // Ten reserves, six snapshots and dumps each, the two locks, and eight sessions of an apply.
    let Peak { deployment, split, migrations, backup, pgisle, total, parallelism } = summary.peak;
    assert_eq!((deployment, split, migrations, backup, pgisle, parallelism), (10, 0, 0, 10, 9, 4));
    assert_eq!((total, server.peak_headroom, server.max_connections_for_peak), (124, -27, 127));
    let warning = on(&link(), 100).diagnostic(&link()).unwrap();
    assert_eq!((warning.code, warning.severity), (Code::PLAN_BUDGET, Severity::Warning));
    assert!(on(&link(), 127).diagnostic(&link()).is_none());
}

/// Success, says the brief, is fewer than 100 connections while every service runs three instances or more.
#[test]
fn three_instances_of_each_take_fewer_than_100_by_transaction() {
    let mut spec = with(|settings| settings.pgbouncer_pool_mode = PoolMode::Transaction);
    spec.services.values_mut().for_each(|service| service.instances = 3);
    assert_eq!(on(&spec, 100).steady, 5 * 12 + 5);
    spec.services.values_mut().for_each(|service| service.instances = 30);
    assert_eq!(on(&spec, 100).steady, 5 * 12 + 5, "instances do not count any more");
}

#[test]
fn one_more_instance_costs_its_pool_unless_connections_are_shared() {
    let cost = |spec: &Spec| -> Vec<u64> {
        summary(spec, None, AT_ONCE).services.iter().map(|service| service.one_more_instance).collect()
    };
    assert_eq!(cost(&link()), [10; 5]);
    assert_eq!(cost(&with(|settings| settings.enable_pgbouncer = false)), [10; 5]);
    // ai, chat, discovery, search, users: those with one instance have ten clients for a pool that may hold twelve.
    assert_eq!(cost(&with(|settings| settings.pgbouncer_pool_mode = PoolMode::Transaction)), [0, 0, 2, 2, 0]);
}

#[test]
fn without_pgbouncer_a_deployment_costs_a_pool_of_each() {
    let mut spec = with(|settings| settings.enable_pgbouncer = false);
    assert_eq!(on(&spec, 100).peak.deployment, 50);
    service(&mut spec, "search").instances = 0;
    assert_eq!((on(&spec, 100).peak.deployment, on(&spec, 100).steady), (40, 85));
}

#[test]
fn a_split_counts_while_there_is_a_shared_database() {
    let mut spec = link();
    spec.services.values_mut().for_each(|service| service.tables = Vec::new());
    service(&mut spec, "chat").tables = vec!["messages".to_owned()];
    assert_eq!((on(&spec, 200).peak.split, on(&spec, 200).peak.pgisle), (0, 9));
    let peak = summary(&spec, Some(&with_shared_database(inventory(200))), AT_ONCE).peak;
    assert_eq!((peak.split, peak.pgisle), (20, 12));
}

#[test]
fn migrators_and_parallelism_count_at_the_peak() {
    let mut spec = link();
    service(&mut spec, "ai").access = Access::Split;
    let peak = summary(&spec, Some(&inventory(200)), 1).peak;
    assert_eq!((peak.migrations, peak.backup, peak.pgisle), (1, 1 + 5 + 1, 5));
}

/// PgBouncer's pools are shared out among its processes, rounded up, and each has a reserve.
#[test]
fn every_process_of_pgbouncer_counts() {
    let mut spec = with(|settings| {
        settings.pgbouncer_pool_mode = PoolMode::Transaction;
        settings.pgbouncer_instances = 4;
    });
    spec.services.values_mut().for_each(|service| service.instances = 10);
    assert_eq!(on(&spec, 100).steady, 5 * 4 * (3 + 2) + 5);
    assert!(on(&spec, 100).suggestions.contains(&Suggestion::PgbouncerInstances(3)), "{:?}", on(&spec, 100).suggestions);
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let spec = with(|settings| settings.enable_pgbouncer = false);
    let summary = on(&spec, 60);
    assert!(!summary.fits());
    let wanted = [Suggestion::MaxConnections(98), Suggestion::PoolSize(5)];
    assert_eq!(summary.suggestions[..2], wanted);
    // 56 by transaction and 5 of monitoring are more than 57.
    assert_eq!(summary.suggestions.len(), 2);
    assert_eq!(on(&spec, 64).suggestions.last(), Some(&Suggestion::PgbouncerInTransactionMode));
    let mode = on(&link(), 64).suggestions;
    assert_eq!(mode.last(), Some(&Suggestion::TransactionMode));
}

#[test]
fn the_finding_names_the_place_that_takes_most() {
    let mut spec = link();
    let place = Place { file: "pgisle.hcl".to_owned(), line: 7, column: 3 };
    service(&mut spec, "chat").pool_size = 20;
    service(&mut spec, "chat").pool_place = Some(place.clone());
    let error = on(&spec, 100).diagnostic(&spec).unwrap();
    assert_eq!(
        (error.severity, error.place.as_ref(), error.subject.as_deref()),
        (Severity::Error, Some(&place), Some("service \"chat\""))
    );
    insta::assert_snapshot!(error.to_string(), @r#"
    error[PI0306]: full pools need 115 connections, and the server has 97
      --> pgisle.hcl:7:3  service "chat"
      detail: The server would see 40 of chat, 30 of users, 20 of ai, 10 of discovery, 10 of search, and 5 of monitoring. Its max_connections is 100, and 3 of them are reserved.
      hint: Each of these alone makes it fit: max_connections = 118 on the server, which takes a restart; no pool_size and no pgbouncer_default_pool_size above 11; pgbouncer_pool_mode = "transaction".
    "#);
    let warning = on(&link(), 100).diagnostic(&link()).unwrap();
    insta::assert_snapshot!(warning.to_string(), @r#"
    warning[PI0306]: full pools fit, and at the peak 124 connections are needed where the server has 97
      --> service "users"
      detail: To the 95 of full pools may come 10 for a rolling deployment, 10 for a backup, 9 for pgisle itself with -parallelism=4, all at the same time.
      hint: Let them not meet, have pgisle need fewer with -parallelism=1, or set max_connections = 127 on the server.
    "#);
}

#[test]
fn a_server_that_keeps_all_for_superusers_has_nothing() {
    let mut tiny = inventory(3);
    tiny.server.reserved_connections = 5;
    let summary = summary(&link(), Some(&tiny), AT_ONCE);
    assert_eq!(summary.suggestions, [Suggestion::MaxConnections(103)], "monitoring alone is more than nothing");
}

#[test]
fn a_login_that_may_hold_less_bounds_pgbouncers_pool() {
    let mut spec = link();
    service(&mut spec, "users").connection_limit = ConnectionLimit(11);
    let users = summary(&spec, None, AT_ONCE).services.last().cloned().unwrap();
    assert_eq!((users.connections, users.steady, users.deployment, users.one_more_instance), (30, 11, 0, 0));
}

#[test]
fn readers_come_off_the_standbys_connections_and_not_off_this_servers() {
    let standby = HostPort::parse("replica-1").unwrap();
    let mut spec = with(|settings| settings.enable_replica_setup = true);
    service(&mut spec, "users").replica = Some(Replica { mode: ReplicaMode::Shared, region: None });
    // Nothing is known of where they are.
    assert_eq!(on(&spec, 200).standby_connections, None);
    let without = on(&spec, 200).steady;
    spec.settings.postgres_replica_hosts = vec![standby];
    let summary = on(&spec, 200);
    let users = summary.services.iter().find(|service| service.service.as_str() == "users").unwrap();
    assert_eq!((summary.standby_connections, summary.steady), (Some(users.steady), without));
}
