//! What holds of the budget of every file, whatever numbers stand in it.

use pgisle_core::budget::{Suggestion, Summary, summary};
use pgisle_core::inventory::Inventory;
use pgisle_core::spec::{Access, ConnectionLimit, LayerKind, PoolMode, SPEC_FILE, Service, Sources, Spec, load};
use proptest::prelude::*;

/// Mostly numbers of real files, and now and then the largest that there are.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0_u32..60, 1 => 0_u32..2000, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

fn base() -> Spec {
    let mut sources = Sources::new();
    sources.push(LayerKind::SpecFile, SPEC_FILE, "service \"a\" {\n}\nservice \"b\" {\n}\nservice \"c\" {\n}\n");
    load(&sources).spec.expect("the file is right")
}

prop_compose! {
    fn service_numbers()(instances in number(), pool_size in number(), limit in number(), tables in any::<bool>(), split in any::<bool>())
        -> (u32, u32, u32, bool, bool) {
        (instances, pool_size, limit, tables, split)
    }
}

prop_compose! {
    fn spec()(
        services in prop::collection::vec(service_numbers(), 0..=3),
        (pgbouncer, mode) in (any::<bool>(), prop::sample::select(vec![PoolMode::Session, PoolMode::Transaction, PoolMode::Statement])),
        (default_pool_size, reserve, processes, monitoring) in (number(), number(), prop_oneof![0_u32..=8, number()], number()),
    ) -> Spec {
        let mut spec = base();
        while spec.services.len() > services.len() {
            spec.services.pop_last();
        }
        for (service, (instances, pool_size, limit, tables, split)) in spec.services.values_mut().zip(services) {
            (service.instances, service.pool_size) = (instances, pool_size);
            (service.connection_limit, service.database_connection_limit) = (ConnectionLimit(limit), ConnectionLimit(limit));
            service.tables = if tables { vec!["t".to_owned()] } else { Vec::new() };
            service.access = if split { Access::Split } else { Access::Owner };
        }
        spec.settings.enable_pgbouncer = pgbouncer;
        spec.settings.pgbouncer_pool_mode = mode;
        spec.settings.pgbouncer_default_pool_size = default_pool_size;
        spec.settings.pgbouncer_reserve_pool_size = reserve;
        spec.settings.pgbouncer_instances = processes;
        spec.settings.monitoring_connection_limit = ConnectionLimit(monitoring);
        spec
    }
}

fn inventory((max_connections, superusers, reserved): (u32, u32, u32)) -> Inventory {
    let text = format!(
        r#"{{"server": {{"version_num": 160000, "version": "16.0", "system_identifier": {{"known": "1"}}, "in_recovery": false,
            "max_connections": {max_connections}, "superuser_reserved_connections": {superusers}, "reserved_connections": {reserved},
            "wal_level": "replica", "default_collation": "C"}},
            "admin": {{"role": "link_user", "superuser": false, "create_role": true, "create_db": true, "cloud_superuser": false}},
            "roles": {{}}, "memberships": [], "databases": {{}}, "available_extensions": {{"known": {{}}}}, "locales": {{"known": []}},
            "contents": {{}}}}"#
    );
    serde_json::from_str(&text).expect("an inventory")
}

fn of(spec: &Spec, parallelism: u32) -> Summary {
    summary(spec, None, parallelism)
}

/// Every way in which a file can ask for more.
const MORE: &[fn(&mut Spec)] = &[
    |spec| each(spec, |service| service.instances = service.instances.saturating_add(1)),
    |spec| each(spec, |service| service.pool_size = service.pool_size.saturating_add(3)),
    |spec| each(spec, |service| service.connection_limit.0 = service.connection_limit.0.saturating_add(7)),
    |spec| spec.settings.pgbouncer_default_pool_size = spec.settings.pgbouncer_default_pool_size.saturating_add(2),
    |spec| spec.settings.pgbouncer_reserve_pool_size = spec.settings.pgbouncer_reserve_pool_size.saturating_add(2),
    |spec| spec.settings.monitoring_connection_limit.0 = spec.settings.monitoring_connection_limit.0.saturating_add(1),
    |spec| each(spec, |service| service.tables = vec!["t".to_owned()]),
    |spec| each(spec, |service| service.access = Access::Split),
];

fn each(spec: &mut Spec, change: impl Fn(&mut Service)) {
    spec.services.values_mut().for_each(change);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// No sum overflows, which a debug build would make a panic, and what is said agrees with what was added up.
    #[test]
    fn sums_hold_for_all_numbers(spec in spec(), server in (number(), number(), number()), parallelism in number()) {
        let inventory = inventory(server);
        let summary = summary(&spec, Some(&inventory), parallelism);
        prop_assert!(summary.peak.total >= summary.steady);
        let parts: u128 = summary.services.iter().map(|service| u128::from(service.steady)).sum();
        let parts = parts + u128::from(summary.monitoring_connections);
        prop_assert_eq!(summary.steady, u64::try_from(parts).unwrap_or(u64::MAX));
        for service in &summary.services {
            prop_assert!(service.steady <= service.connections, "PgBouncer opens what nobody asks for: {:?}", service);
        }
        let server = summary.server.clone().expect("it was asked");
        prop_assert_eq!(summary.fits(), summary.steady <= u64::from(server.usable_connections));
        let finding = summary.diagnostic(&spec);
        prop_assert_eq!(finding.is_some(), server.headroom < 0 || server.peak_headroom < 0);
    }

    #[test]
    fn who_asks_for_more_never_needs_less(spec in spec(), parallelism in 1_u32..64) {
        let before = of(&spec, parallelism);
        prop_assert!(of(&spec, parallelism + 1).peak.total >= before.peak.total);
        for more in MORE {
            let mut spec = spec.clone();
            more(&mut spec);
            let after = of(&spec, parallelism);
            prop_assert!(after.steady >= before.steady, "{:?}\n{:?}", before, after);
            prop_assert!(after.peak.total >= before.peak.total, "{:?}\n{:?}", before, after);
        }
    }

    /// Each suggestion, made and added up again, fits, and the next smaller change would not.
    #[test]
    fn what_is_suggested_fits(spec in spec(), server in (number(), 0_u32..5, 0_u32..5)) {
        let inventory = inventory(server);
        let before = summary(&spec, Some(&inventory), 4);
        prop_assert_eq!(before.suggestions.is_empty() || !before.fits(), true);
        for suggestion in &before.suggestions {
            let after = |suggestion: Suggestion| {
                let (mut spec, mut inventory) = (spec.clone(), inventory.clone());
                suggestion.apply(&mut spec, &mut inventory.server);
                summary(&spec, Some(&inventory), 4)
            };
            prop_assert!(after(*suggestion).fits(), "{:?}", suggestion);
            let smaller = match *suggestion {
                Suggestion::MaxConnections(number) => Suggestion::MaxConnections(number - 1),
                Suggestion::PoolSize(size) => Suggestion::PoolSize(size + 1),
                Suggestion::PgbouncerInstances(_) | Suggestion::TransactionMode | Suggestion::PgbouncerInTransactionMode => continue,
            };
            prop_assert!(!after(smaller).fits(), "{:?} is enough", smaller);
        }
    }

    /// A server that can be large enough is always one way, and pools of one are the other where they can be small enough.
    #[test]
    fn there_is_a_way_where_one_can_be(spec in spec(), max_connections in 4_u32..300) {
        let before = summary(&spec, Some(&inventory((max_connections, 3, 0))), 4);
        let is_there = |what: fn(&Suggestion) -> bool| before.suggestions.iter().any(what);
        if !before.fits() && before.steady.saturating_add(3) <= 262_143 {
            prop_assert!(is_there(|one| matches!(one, Suggestion::MaxConnections(_))));
        }
        let mut ones = spec.clone();
        Suggestion::PoolSize(1).apply(&mut ones, &mut inventory((max_connections, 3, 0)).server);
        if !before.fits() && of(&ones, 4).steady <= u64::from(max_connections - 3) {
            prop_assert!(is_there(|one| matches!(one, Suggestion::PoolSize(_))));
        }
    }
}
