//! What cannot be provoked in seconds on a real server: the thresholds.

use super::*;

fn facts() -> ServerFacts {
    ServerFacts {
        version: "17.0".to_owned(),
        is_standby: false,
        upstream: None,
        is_superuser: true,
        tls: None,
        clock_ms: 0,
        max_connections: 100,
        usable_connections: 97,
        wal_level: "replica".to_owned(),
        fsync: true,
        full_page_writes: true,
        pending_restart: Vec::new(),
        data_directory: None,
        databases: Vec::new(),
        logins: Vec::new(),
        held: Vec::new(),
        blockers: Vec::new(),
        slots: Vec::new(),
        archive: ArchiveFacts { is_on: false, is_failing: false, failed_file: None, failures: 0 },
    }
}

#[test]
fn a_transaction_that_is_left_open_counts_after_five_minutes() {
    let blocker = |open_s, is_idle| Blocker { pid: 7, role: "r".to_owned(), database: "d".to_owned(), is_idle, open_s, waiting: 0 };
    let count = |blocker| locks(&ServerFacts { blockers: vec![blocker], ..facts() }).len();
    assert_eq!([count(blocker(299, true)), count(blocker(300, true)), count(blocker(900, false))], [0, 1, 0]);
}

#[test]
fn a_disk_is_tight_by_size_and_by_share() {
    const GB: u64 = 1 << 30;
    let severity = |free_bytes, bytes| {
        space(&Disk { purpose: "the data", folder: "/d".to_owned(), free_bytes, bytes }).map(|finding| finding.severity)
    };
    assert_eq!(severity(20 * GB, 1000 * GB), None, "2 % of a large disk is room enough");
    assert_eq!(severity(GB, 4 * GB), None, "a small disk that is mostly empty");
    assert_eq!(severity(5 * GB, 100 * GB), Some(Severity::Warning));
    assert_eq!(severity(GB / 2, 100 * GB), Some(Severity::Error));
}

#[test]
fn a_slot_that_nobody_reads_counts_from_a_gigabyte_on() {
    let slot =
        |is_active, kept_bytes| ReplicationSlot { name: "s".to_owned(), is_active, status: "extended".to_owned(), kept_bytes };
    let count = |slot| log(&ServerFacts { slots: vec![slot], ..facts() }).len();
    assert_eq!([count(slot(false, 1 << 30)), count(slot(true, 1 << 40)), count(slot(false, 1 << 20))], [1, 0, 0]);
}

#[test]
fn clocks_may_differ_by_five_seconds_and_by_the_time_of_asking() {
    let is_wrong = |server, before, after| clock(server, before, after).1.is_some();
    assert!(!is_wrong(5_000, 0, 0) && !is_wrong(0, 5_000, 9_000) && !is_wrong(65_000, 0, 60_000));
    assert!(is_wrong(5_001, 0, 0) && is_wrong(0, 5_001, 9_000));
}

#[test]
fn a_name_from_the_server_stays_a_name() {
    let held = Held { role: "o'r".to_owned(), database: "d\\".to_owned(), application: String::new(), count: 97, idle: 97 };
    let database = DatabaseFacts { name: "d\\".to_owned(), limit: None, sessions: 97, collation_made: None, collation_now: None };
    let found = connections(&ServerFacts { databases: vec![database], held: vec![held], ..facts() });
    assert!(found[0].commands[0].contains("usename = 'o''r' AND datname = E'd\\\\'"), "{found:?}");
    let place = Place {
        host: "h; rm".to_owned(),
        port: 1,
        is_local: false,
        is_dev: false,
        is_encrypted: false,
        user: "u\"'".to_owned(),
        database: "d".to_owned(),
    };
    let command = |refusal| remedy(Diagnostic::error(crate::diagnostic::Code::BUG, "x"), &refusal, &place).commands[0].clone();
    assert_eq!(command(Refusal::NoSuchHost), "getent hosts 'h; rm'");
    assert_eq!(command(Refusal::MayNotLogIn), r#"sudo -u postgres psql -c 'ALTER ROLE "u""'\''" LOGIN'"#);
}
