//! What is shown of a cluster that was never there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::name::{DatabaseName, RoleName};
use crate::spec::Spec;

const NOW: Moment = Moment::from_unix_s(1_700_000_000);

fn link() -> Spec {
    serde_json::from_str(include_str!("../../testdata/link.json")).unwrap_or_else(|error| panic!("{error}"))
}

fn sessions(database: &str, role: &str, state: SessionState, count: u32) -> SessionSample {
    let (database, role) = (DatabaseName::observed(database.to_owned()), RoleName::observed(role.to_owned()));
    SessionSample { database, role, state, count, oldest_transaction_s: Some(400) }
}

fn database(commits: u64) -> DatabaseSample {
    DatabaseSample {
        bytes: Some(8_000_000),
        connection_limit: Some(100),
        frozen_age: 40,
        counters: Counters { commits, blocks_hit: commits * 9, blocks_read: commits, ..Counters::default() },
    }
}

fn sample(commits: u64) -> ServerSample {
    let names = ["link_users", "link_chat", "link_ai", "link_search", "link_discovery"];
    ServerSample {
        version: "17.2".to_owned(),
        max_connections: 100,
        usable_connections: 97,
        databases: names.iter().map(|name| (DatabaseName::observed((*name).to_owned()), database(commits))).collect(),
        login_limits: names.iter().map(|name| (RoleName::observed(format!("{name}_user")), Some(50))).collect(),
        sessions: vec![
            sessions("link_users", "link_users_user", SessionState::Active, 38),
            sessions("link_users", "link_users_user", SessionState::IdleInTransaction, 4),
            sessions("postgres", "link_user", SessionState::Idle, 2),
        ],
        receivers: vec![ReceiverSample {
            name: "replica-1".to_owned(),
            state: "streaming".to_owned(),
            sync_state: "async".to_owned(),
            behind_bytes: Some(4_096),
            behind_ms: Some(61_000),
        }],
        slots: vec![SlotSample { name: "lost".to_owned(), is_active: false, is_lost: true, kept_bytes: 0 }],
        ..ServerSample::default()
    }
}

fn watched() -> Watched {
    let mut server = Part::new(5);
    server.update(NOW, Ok(sample(1_000)));
    let mut backups = Part::new(60);
    backups.update(NOW, Ok(BTreeMap::new()));
    let mut pools = Part::new(5);
    pools.update(
        NOW,
        Ok(vec![PoolSample {
            pooler: "127.0.0.1:6432".to_owned(),
            alias: "link_users".to_owned(),
            database: "link_users".to_owned(),
            user: "link_users_user".to_owned(),
            mode: "transaction".to_owned(),
            clients_active: 20,
            clients_waiting: 7,
            longest_wait_ms: 2_500,
            servers_active: 10,
            servers_idle: 0,
            size: Some(12),
        }]),
    );
    let states = link().services.keys().map(|service| (service.clone(), State::Ready)).collect();
    let mut standing = Part::new(60);
    standing.update(NOW, Ok(Standing { states, ..Standing::default() }));
    let before = Some((Moment::from_unix_s(NOW.unix_s() - 5), sample(900)));
    Watched { server, before, pools: Some(pools), backups, standing }
}

fn said(board: &Board) -> Vec<String> {
    let service = |alert: &Alert| alert.service.as_ref().map(|service| format!("{service}: ")).unwrap_or_default();
    board.alerts.iter().map(|alert| format!("{} {}{}", alert.severity, service(alert), alert.text)).collect()
}

#[test]
fn what_is_wrong_is_told_the_worst_first() {
    let board = board(&link(), &watched(), NOW);
    let told = said(&board);
    let expected = [
        "error replication slot lost is lost",
        "warning users: link_users_user holds 42 of its 50 connections",
        "warning users: 7 clients wait for a connection in 127.0.0.1:6432, the first for 2500 ms",
        "warning users: a transaction has been open for 400 s and does nothing",
        "warning replica-1 is 0 MB and 61 s behind",
    ];
    assert_eq!(told[..5], expected, "{told:#?}");
    assert!(told[5..].iter().all(|line| line.ends_with("it has no proved backup")) && told.len() == 10, "{told:#?}");
    let users = board.services.iter().find(|row| row.service.as_str() == "users");
    assert_eq!(
        users.map(|row| (row.connections, row.strain, row.rates.map(|rates| rates.commits))),
        Some((42, Strain::Near, Some(20.0)))
    );
    assert_eq!(users.and_then(|row| row.rates).and_then(|rates| rates.hit_ratio), Some(0.9));
    assert_eq!(board.other_connections, 2);
}

#[test]
fn a_recovery_that_was_proved_long_ago_is_to_be_practised_again() {
    let told = |days: u64| {
        let ago = |seconds: u64| Some(Moment::from_unix_s(NOW.unix_s() - seconds));
        let sample = BackupSample { newest: ago(60), proved: ago(60), bytes: 1, recovered: ago(days * 86_400) };
        let mut watched = watched();
        let users = link().services.keys().find(|service| service.as_str() == "users").cloned();
        watched.backups.update(NOW, Ok(users.map(|users| (users, sample)).into_iter().collect()));
        let board = board(&link(), &watched, NOW);
        said(&board).into_iter().filter(|line| line.contains("users: for")).collect::<Vec<_>>()
    };
    assert_eq!(told(34), Vec::<String>::new());
    assert_eq!(told(35), ["warning users: for 35 days it has not been proved that it can be brought back to a time"]);
}

#[test]
fn statistics_that_were_reset_give_no_negative_rate() {
    let mut watched = watched();
    watched.before = Some((Moment::from_unix_s(NOW.unix_s() - 5), sample(5_000)));
    let board = board(&link(), &watched, NOW);
    assert!(board.services.iter().all(|row| row.rates.is_some_and(|rates| rates.commits == 200.0)), "{:?}", board.services);
}

#[test]
fn what_does_not_hold_is_neither_judged_nor_measured() {
    let mut watched = watched();
    watched.server.update(NOW, Err("it is gone".to_owned()));
    watched.standing.update(NOW, Err("it is gone".to_owned()));
    let now = Moment::from_unix_s(NOW.unix_s() + 3);
    let board = board(&link(), &watched, now);
    assert_eq!(said(&board)[0], "error PostgreSQL cannot be seen: it is gone");
    assert!(!said(&board).iter().any(|line| line.contains("holds 42")), "{:#?}", said(&board));
    // What was seen is there still, and says how old it is.
    assert_eq!(board.server.as_ref().map(|server| server.connections), Some(44));
    assert_eq!(board.freshness["server"].age_s, Some(3));
    let text = metrics(&board);
    assert!(text.contains("pgisle_up{part=\"server\"} 0\n") && text.contains("pgisle_up{part=\"pools\"} 1\n"), "{text}");
    assert!(!text.contains("pgisle_service_connections{") && text.contains("pgisle_pool_clients{"), "{text}");
}

#[test]
fn two_missed_looks_make_a_value_old() {
    let watched = watched();
    let at = |seconds: u64| Moment::from_unix_s(NOW.unix_s() + seconds);
    assert!(watched.server.fresh(at(16)).is_some() && watched.server.fresh(at(17)).is_none());
    assert!(board(&link(), &watched, at(17)).alerts.iter().any(|alert| alert.kind == AlertKind::ServerDown));
}

#[test]
fn names_cannot_break_out_of_a_label() {
    let mut watched = watched();
    let mut odd = sample(1);
    odd.receivers[0].name = "a\"b\\c\nd".to_owned();
    watched.server.update(NOW, Ok(odd));
    let text = metrics(&board(&link(), &watched, NOW));
    assert!(text.contains("pgisle_replication_behind_bytes{receiver=\"a\\\"b\\\\c\\nd\"} 4096\n"), "{text}");
}

#[test]
fn the_metrics_are_these() {
    insta::assert_snapshot!(metrics(&board(&link(), &watched(), NOW)));
}

#[test]
fn a_week_of_looks_is_remembered_coarsely() {
    let mut history = History::new(5);
    let mut watched = watched();
    let users = link().services.keys().find(|name| name.as_str() == "users").cloned();
    let key = SeriesKey { service: users, series: Series::Connections };
    for tick in 0..(8 * 24 * 720) {
        let now = Moment::from_unix_s(NOW.unix_s() + tick * 5);
        // The server is gone for the last day.
        if tick < 7 * 24 * 720 {
            watched.server.update(now, Ok(sample(tick)));
        }
        if tick % 360 == 0 || !(1_000..=8 * 24 * 720 - 1_000).contains(&tick) {
            history.record(&board(&link(), &watched, now));
        }
    }
    assert!(history.points(&key, Range::Hour).is_empty(), "an hour ago there was nothing to see");
    assert!(history.points(&key, Range::Day).len() <= 1_441);
    let week = history.points(&key, Range::Week);
    assert!(!week.is_empty() && week.len() <= 1_009, "{}", week.len());
    assert!(week.iter().all(|point| point.mean() == 42.0 && point.max == 42.0));
}

#[test]
fn the_generated_rules_and_the_dashboard_name_metrics_that_there_are() {
    let spec = link();
    let told = metrics(&board(&spec, &watched(), NOW));
    let known: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let artifacts = crate::artifact::generate(
        &spec,
        &crate::artifact::Endpoint::of(&spec.settings),
        &crate::credential::Credentials::default(),
    );
    for path in ["prometheus/alerts.yml", "grafana/dashboard.json"] {
        let artifact = artifacts.iter().find(|artifact| artifact.path == path).and_then(|artifact| artifact.content.as_ref());
        let text = artifact.map(|text| text.expose().to_owned()).unwrap_or_default();
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        let named: Vec<&str> = words.filter(|word| word.starts_with("pgisle_")).collect();
        assert!(named.len() > 10, "{path}: {named:?}");
        for name in named {
            assert!(known.contains(&name), "{path} names {name}");
        }
    }
}

proptest! {
    /// Whatever the clock does, the memory is bounded, its times rise, and no value is above the highest.
    #[test]
    fn history_is_bounded(steps in proptest::collection::vec((-20_000_i64..40_000, 0_u32..500), 1..200)) {
        let mut history = History::new(1);
        let mut watched = watched();
        let mut at = NOW.unix_s();
        for (step, count) in steps {
            at = at.saturating_add_signed(step);
            let now = Moment::from_unix_s(at);
            let mut seen = sample(1);
            seen.sessions = vec![sessions("link_users", "link_users_user", SessionState::Active, count)];
            watched.server.update(now, Ok(seen));
            history.record(&board(&link(), &watched, now));
        }
        for key in history.keys() {
            for (range, most) in Range::ALL.into_iter().zip([3_601, 1_441, 1_009]) {
                let points = history.points(key, range);
                prop_assert!(points.len() <= most);
                prop_assert!(points.windows(2).all(|pair| pair[0].at < pair[1].at));
                prop_assert!(points.iter().all(|point| point.mean() <= point.max + 1e-9));
            }
        }
    }
}
