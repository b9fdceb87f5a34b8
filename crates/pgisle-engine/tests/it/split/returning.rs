//! Services that come back, and splits that end.

use std::sync::Mutex;
use std::time::Duration;

use pgisle_core::split::{JobState, Strategy};
use pgisle_engine::event::Event;
use pgisle_engine::split::{self, Brought, Finalizing, Outcome, Request, SplitError};
use pgisle_testkit::{Cluster, Ledger, Writer};

use super::ledger::{home, writer, writer_of_service};
use super::moving::{filled, filled_on, request};
use crate::apply::{Project, rendered};

const NOW: Finalizing = Finalizing { keep_days: 0, drop: true, force: false };
const LATER: Finalizing = Finalizing { keep_days: 7, drop: false, force: false };

pub(super) fn told(error: &SplitError) -> String {
    rendered(&[error.diagnostic()])
}

/// Majors with everything that the shared database needs.
pub(super) async fn majors() -> Vec<u32> {
    let full = |major: &u32| {
        let major = *major;
        async move { pgisle_testkit::installations().await.iter().any(|found| found.major == major && found.vector && found.contrib) }
    };
    let mut all = Vec::new();
    for major in pgisle_testkit::majors().await {
        if full(&major).await {
            all.push(major);
        }
    }
    all
}

async fn there(request: &Request<'_>, strategy: Strategy) {
    split::run(request, Some(strategy), &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    let cut = split::cutover(request, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    let receipt = cut.receipt.unwrap();
    assert!(receipt.is_equal, "{:?}", receipt.differences);
}

async fn back(request: &Request<'_>) -> split::RolledBack {
    let back = split::rollback(request, false, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!(back.job.state, JobState::Returned);
    back
}

async fn stop(writers: Vec<Writer>) -> Vec<Ledger> {
    let mut ledgers = Vec::new();
    for writer in writers {
        ledgers.push(writer.stop().await);
    }
    ledgers
}

/// What fires, what refers, and what stands guard, as it was before the split.
async fn furniture(cluster: &Cluster) -> String {
    cluster
        .psql_in(
            "link_app",
            "SELECT 'trigger ' || tgrelid::regclass || ' ' || tgname || ' ' || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal \
             UNION ALL SELECT 'key ' || conrelid::regclass || ' ' || conname || ' ' || convalidated::text || ' ' || pg_get_constraintdef(oid) \
             FROM pg_constraint WHERE contype = 'f' ORDER BY 1",
        )
        .await
}

/// Rows can be written to one of both places, and the other says so.
async fn assert_one_home(cluster: &Cluster, home: &str) {
    const WRITE: &str = "BEGIN; INSERT INTO messages (room_id, sender_id, body) VALUES (1, 1, 'probe'); ROLLBACK";
    for database in ["link_app", "link_chat"] {
        let wrote = cluster.try_psql_in(database, WRITE).await;
        assert_eq!(wrote.is_ok(), database == home, "{database}: {wrote:?}");
    }
}

async fn there_and_back(major: u32, strategy: Strategy) {
    let (cluster, project) = filled(major).await;
    let apply = project.request();
    let request = request(&apply, &project, "chat");
    let before = furniture(&cluster).await;
    let writers: Vec<Writer> = (0..4).map(|_| writer_of_service(&cluster, &project, Duration::from_millis(5))).collect();
    there(&request, strategy).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let first = back(&request).await;
    let warned = strategy != Strategy::Stream;
    assert_eq!(!first.diagnostics.is_empty(), warned, "{}", rendered(&first.diagnostics));
    match first.brought {
        Brought::Changes { changes } => assert!(strategy == Strategy::Stream && changes > 10, "{changes}"),
        Brought::Copied { bytes } => assert!(strategy != Strategy::Stream && bytes > 100_000, "{bytes}"),
        brought => panic!("{brought:?}"),
    }
    assert!(first.pause.unwrap() < Duration::from_secs(5), "{:?}", first.pause);
    let left = first.left.unwrap();
    assert_eq!(cluster.psql(&format!("SELECT datallowconn FROM pg_database WHERE datname = '{left}'")).await, "f");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(furniture(&cluster).await, before);
    assert_one_home(&cluster, "link_app").await;
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_replication_slots").await, "0");
    project.assert_settled().await;
    // Once more is nothing.
    assert_eq!(back(&request).await.brought, Brought::NeverLeft);
    // And there again, for good.
    there(&request, strategy).await;
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_database WHERE datname LIKE '%\\_\\_%'").await, "0");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ledgers = stop(writers).await;
    let expected = |error: &String| {
        ["has moved to", "is moving to", "terminating connection", "does not exist", "no connection", "connection closed"]
            .iter()
            .any(|words| error.contains(words))
    };
    let strange: Vec<&String> = ledgers.iter().flat_map(|ledger| &ledger.errors).filter(|error| !expected(error)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    Ledger::assert_kept(&cluster, "link_chat", &ledgers).await;
    assert!(ledgers.iter().all(|ledger| ledger.kept.len() > 10), "{ledgers:?}");
    let ended = split::finalize(&request, LATER, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert!(matches!(ended.outcome, Outcome::Aside { .. }), "{:?}", ended.outcome);
    assert_one_home(&cluster, "link_chat").await;
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_replication_slots").await, "0");
    project.assert_settled().await;
}

#[tokio::test]
async fn a_service_goes_there_and_back_while_it_writes() {
    for major in majors().await {
        for strategy in [Strategy::Stream, Strategy::Copy, Strategy::Clone] {
            there_and_back(major, strategy).await;
        }
    }
}

#[tokio::test]
async fn before_the_cutover_a_rollback_takes_the_copy_away() {
    let (cluster, project) = filled(majors().await[0]).await;
    let apply = project.request();
    let request = request(&apply, &project, "chat");
    assert!(told(&split::rollback(&request, false, &|_| {}).await.unwrap_err()).contains("is not being split"));
    let before = furniture(&cluster).await;
    let writers = vec![writer(&cluster, Duration::from_millis(5))];
    for strategy in [Strategy::Stream, Strategy::Copy, Strategy::Clone] {
        split::run(&request, Some(strategy), &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
        assert_ne!(furniture(&cluster).await, before);
        for _ in 0..2 {
            let back = back(&request).await;
            assert_eq!((back.brought, back.pause), (Brought::NeverLeft, None));
        }
        assert_eq!(furniture(&cluster).await, before);
        assert_eq!(cluster.psql("SELECT count(*) FROM pg_replication_slots").await, "0");
        assert_eq!(cluster.psql_in("link_app", "SELECT count(*) FROM pg_publication").await, "0");
        assert_eq!(cluster.psql("SELECT count(*) FROM pg_database WHERE datname LIKE '%\\_\\_%'").await, "0");
        assert_eq!(cluster.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE '%\\_\\_split'").await, "0");
    }
    // Who writes has noticed nothing.
    let ledgers = stop(writers).await;
    assert!(ledgers[0].errors.is_empty() && ledgers[0].kept.len() > 10, "{ledgers:?}");
    Ledger::assert_kept(&cluster, "link_app", &ledgers).await;
    // What is over can be forgotten, with all that told of it.
    let ended = split::finalize(&request, LATER, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!(ended.outcome, Outcome::Forgotten);
    assert_eq!(cluster.psql_in("link_app", "SELECT count(*) FROM pg_namespace WHERE nspname = 'pgisle_split'").await, "0");
    assert_one_home(&cluster, "link_app").await;
    project.assert_settled().await;
}

#[tokio::test]
async fn without_a_slot_the_old_tables_are_opened_or_filled_again() {
    let builder = Cluster::builder().major(majors().await[0]).conf("wal_level", "replica");
    let (cluster, project) = filled_on(builder).await;
    let apply = project.request();
    let request = request(&apply, &project, "chat");
    there(&request, Strategy::Copy).await;
    let same = back(&request).await;
    assert_eq!(same.brought, Brought::Unchanged);
    assert!(rendered(&same.diagnostics).contains("cannot be followed back"), "{}", rendered(&same.diagnostics));
    there(&request, Strategy::Copy).await;
    cluster.psql_in("link_chat", "INSERT INTO messages (room_id, sender_id, body) VALUES (2, 2, 'writer new')").await;
    cluster.psql_in("link_chat", "DELETE FROM chat_rooms WHERE id = 7").await;
    let counts =
        "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM chat_rooms), (SELECT max(updated_at) FROM chat_rooms)";
    let there = cluster.psql_in("link_chat", counts).await;
    assert!(matches!(back(&request).await.brought, Brought::Copied { .. }));
    assert_eq!(cluster.psql_in("link_app", counts).await, there);
    Ledger::assert_kept(&cluster, "link_app", &[]).await;
    assert_one_home(&cluster, "link_app").await;
}

#[tokio::test]
async fn a_lost_slot_costs_time_and_no_rows() {
    let builder = Cluster::builder().major(majors().await[0]).conf("wal_level", "logical").conf("max_slot_wal_keep_size", "1MB");
    let (cluster, project) = filled_on(builder.conf("min_wal_size", "32MB").conf("max_wal_size", "32MB")).await;
    let apply = project.request();
    let request = request(&apply, &project, "chat");
    there(&request, Strategy::Stream).await;
    cluster.psql_in("link_chat", "INSERT INTO messages (room_id, sender_id, body) VALUES (2, 2, 'writer new')").await;
    for _ in 0..4 {
        cluster.psql("CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 30000)").await;
        cluster.psql("DROP TABLE filler").await;
        cluster.psql("SELECT pg_switch_wal()").await;
        cluster.psql("CHECKPOINT").await;
    }
    let status = split::status(&project.connect, &project.spec).await.unwrap();
    assert!(status[0].way_back.as_ref().unwrap().is_lost, "{status:?}");
    assert!(rendered(&status[0].diagnostics()).contains("is lost"));
    let back = back(&request).await;
    assert!(matches!(back.brought, Brought::Copied { .. }), "{:?}", back.brought);
    assert_eq!(cluster.psql_in("link_app", "SELECT count(*) FROM messages WHERE body = 'writer new'").await, "1");
    Ledger::assert_kept(&cluster, "link_app", &[]).await;
}

#[tokio::test]
async fn what_was_changed_in_the_new_home_is_not_thrown_away() {
    let (cluster, project) = filled(majors().await[0]).await;
    let apply = project.request();
    let request = request(&apply, &project, "chat");
    there(&request, Strategy::Stream).await;
    cluster
        .psql_in("link_chat", "ALTER TABLE messages ADD COLUMN edited boolean; CREATE TABLE reactions (id int PRIMARY KEY)")
        .await;
    let refused = told(&split::rollback(&request, false, &|_| {}).await.unwrap_err());
    assert!(refused.contains("public.messages has column edited boolean in the new home only"), "{refused}");
    assert!(refused.contains("table public.reactions was made in the new home"), "{refused}");
    assert_one_home(&cluster, "link_chat").await;
    cluster.psql_in("link_chat", "DROP TABLE reactions; UPDATE messages SET edited = true WHERE id = 5").await;
    cluster.psql_in("link_app", "ALTER TABLE messages ADD COLUMN edited boolean").await;
    back(&request).await;
    assert_eq!(cluster.psql_in("link_app", "SELECT id FROM messages WHERE edited").await, "5");
    assert_one_home(&cluster, "link_app").await;
}

/// A transaction that someone begins in the middle of something else.
#[derive(Default)]
struct Sleeper {
    at_work: Mutex<Option<(tokio::runtime::Runtime, tokio_postgres::Client)>>,
}

impl Sleeper {
    fn begin(&self, mut config: tokio_postgres::Config, sql: &'static str) {
        let begun = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let client = runtime.block_on(async {
                let (client, connection) = config.application_name("sleeper").connect(tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                client.batch_execute("BEGIN").await.unwrap();
                client.batch_execute(sql).await.unwrap();
                client
            });
            (runtime, client)
        });
        *self.at_work.lock().unwrap() = Some(begun.join().unwrap());
    }

    fn commit(&self) {
        let (runtime, client) = self.at_work.lock().unwrap().take().unwrap();
        std::thread::spawn(move || runtime.block_on(client.batch_execute("COMMIT")).unwrap()).join().unwrap();
    }
}

#[tokio::test]
async fn a_rollback_that_is_held_up_leaves_the_home_where_it_is() {
    let (cluster, project) = filled(majors().await[0]).await;
    let apply = project.request();
    let request = Request { pause_max: Duration::from_millis(300), ..request(&apply, &project, "chat") };
    there(&request, Strategy::Stream).await;
    const SLOW: &str = "INSERT INTO messages (room_id, sender_id, body) VALUES (2, 2, 'writer slow')";
    // One that was there before the fence.
    let writer = cluster.connect_to("link_chat").await;
    writer.batch_execute("BEGIN; UPDATE messages SET body = body WHERE id = 1").await.unwrap();
    let held = told(&split::rollback(&request, false, &|_| {}).await.unwrap_err());
    assert!(held.contains("cannot put the fence on table") && held.contains("did not end"), "{held}");
    writer.batch_execute("ROLLBACK").await.unwrap();
    assert_one_home(&cluster, "link_chat").await;
    // One that came when the fence stood, and stays.
    let sleeper = Sleeper::default();
    let config = cluster.config(cluster.superuser(), cluster.password(), "link_chat");
    let events = |event: Event<'_>| {
        if matches!(event, Event::Restoring("holding writers off")) {
            sleeper.begin(config.clone(), SLOW);
        }
    };
    let held = told(&split::rollback(&request, false, &events).await.unwrap_err());
    assert!(held.contains("could not be held off within 300 ms") && held.contains("(\"sleeper\")"), "{held}");
    sleeper.commit();
    assert_one_home(&cluster, "link_chat").await;
    // A user who went meanwhile: the messages are kept, and the foreign key is told.
    cluster.psql_in("link_app", "DELETE FROM users WHERE id = 2").await;
    let back = back(&request).await;
    let text = rendered(&back.diagnostics);
    assert!(text.contains("foreign key \"messages_sender_id_fkey\"") && text.contains("does not hold for all rows"), "{text}");
    assert!(!text.contains("(2)"), "{text}");
    assert_eq!(cluster.psql_in("link_app", "SELECT count(*) FROM messages WHERE body = 'writer slow'").await, "1");
    let orphan = cluster.try_psql_in("link_app", "INSERT INTO messages (room_id, sender_id, body) VALUES (1, 2, 'x')").await;
    assert!(orphan.unwrap_err().as_db_error().unwrap().message().contains("foreign key constraint"));
}

#[tokio::test]
async fn the_gate_follows_the_transaction_that_decides() {
    for major in majors().await {
        let (cluster, project) = filled(major).await;
        let apply = project.request();
        split::run(&request(&apply, &project, "chat"), Some(Strategy::Copy), &|_| {}).await.unwrap();
        // In another database of the same server.
        let decider = cluster.connect_to("postgres").await;
        let write = async || {
            let wrote = cluster.try_psql_in("link_app", "UPDATE messages SET body = body WHERE id = 1").await;
            wrote.map_or_else(|error| error.as_db_error().unwrap().message().to_owned(), |_| "written".to_owned())
        };
        for (end, then) in [("ROLLBACK", "written"), ("COMMIT", "has moved to database \"link_chat\"")] {
            decider.batch_execute("BEGIN").await.unwrap();
            let number: String = decider.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap().get(0);
            cluster.psql_in("link_app", &format!("SELECT setval('pgisle_split.gate_chat', {number})")).await;
            assert!(write().await.contains("is moving to database \"link_chat\""));
            decider.batch_execute(end).await.unwrap();
            let wrote = write().await;
            assert!(wrote.contains(then), "{major} {end}: {wrote}");
        }
    }
}

#[tokio::test]
async fn stragglers_are_told_of_and_old_tables_go_in_the_end() {
    for major in majors().await {
        let (cluster, project) = filled(major).await;
        let apply = project.request();
        let request = request(&apply, &project, "chat");
        there(&request, Strategy::Stream).await;
        let mut config = cluster.config(cluster.superuser(), cluster.password(), "link_app");
        let (late, connection) = config.application_name("old worker").connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..3 {
            assert!(late.execute("UPDATE messages SET body = body WHERE id = 1", &[]).await.is_err());
        }
        let all = split::status(&project.connect, &project.spec).await.unwrap();
        let [status] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((status.state, status.is_equal, status.late_attempts), (JobState::Cut, Some(true), 3));
        assert_eq!((status.home.as_str(), status.late.len()), ("link_chat", 1));
        let who = &status.late[0];
        assert_eq!(
            (who.role.as_str(), who.application.as_str(), who.address.as_str()),
            (cluster.superuser(), "old worker", "127.0.0.1")
        );
        assert_eq!((who.attempts, who.sessions), (3, 1));
        assert!(status.way_back.as_ref().is_some_and(|slot| !slot.is_lost));
        assert!(rendered(&status.diagnostics()).contains("(\"old worker\") from 127.0.0.1, 3 times"));
        let json = serde_json::to_value(status).unwrap();
        assert_eq!((&json["state"], &json["late"][0]["attempts"]), (&"cut".into(), &3.into()));
        // The end, in two steps.
        let first = split::finalize(&request, LATER, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
        assert!(rendered(&first.diagnostics).contains("someone connected"), "{}", rendered(&first.diagnostics));
        assert!(told(&split::rollback(&request, false, &|_| {}).await.unwrap_err()).contains("cannot be rolled back"));
        let aside = first.aside.iter().find(|one| one.name == "messages").unwrap();
        let date = first.job.clock.cut.unwrap().compact();
        assert_eq!(aside.full_name(), format!("public.messages__moved_{}", &date[..8]));
        assert!(first.aside.iter().any(|one| one.name == "messages_id_seq"));
        let open = "SELECT count(*) FROM pg_class c, aclexplode(relacl) a WHERE relname LIKE '%\\_\\_moved\\_%'";
        assert_eq!(cluster.psql_in("link_app", open).await, "0");
        let kept = split::finalize(&request, LATER, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
        assert!(matches!(kept.outcome, Outcome::Kept { .. }), "{:?}", kept.outcome);
        let write = format!("DELETE FROM {} WHERE id = 1", aside.aside);
        assert!(cluster.try_psql_in("link_app", &write).await.is_err());
        let used = told(&split::finalize(&request, NOW, &|_| {}).await.unwrap_err());
        assert!(used.contains("1 attempts were turned away"), "{used}");
        let force = Finalizing { force: true, ..NOW };
        let needed = told(&split::finalize(&request, force, &|_| {}).await.unwrap_err());
        assert!(needed.contains("view public.room_overview depends on table public."), "{needed}");
        assert!(cluster.psql_in("link_app", &format!("SELECT count(*) > 0 FROM {}", aside.aside)).await == "t");
        cluster.psql_in("link_app", "DROP VIEW room_overview").await;
        let gone = split::finalize(&request, force, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
        assert_eq!(gone.outcome, Outcome::Dropped);
        let left = "SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_\\_moved\\_%'";
        assert_eq!(cluster.psql_in("link_app", left).await, "0");
        assert_eq!(cluster.psql_in("link_app", "SELECT count(*) FROM pg_namespace WHERE nspname = 'pgisle_split'").await, "0");
        assert_eq!(split::status(&project.connect, &project.spec).await.unwrap(), Vec::new());
        assert_one_home(&cluster, "link_chat").await;
    }
}

#[tokio::test]
async fn an_unequal_receipt_is_not_finalized_by_accident() {
    let (cluster, project) = filled(majors().await[0]).await;
    let apply = project.request();
    let request = request(&apply, &project, "chat");
    there(&request, Strategy::Copy).await;
    cluster
        .psql_in("link_app", "UPDATE pgisle_split.job SET document = replace(document, '\"is_equal\":true', '\"is_equal\":false')")
        .await;
    let refused = told(&split::finalize(&request, LATER, &|_| {}).await.unwrap_err());
    assert!(refused.contains("cannot be finalized") && refused.contains("did not hold the same"), "{refused}");
    let ended = split::finalize(&request, Finalizing { force: true, ..LATER }, &|_| {}).await.unwrap();
    assert!(matches!(ended.outcome, Outcome::Aside { .. }));
}

#[tokio::test]
async fn a_plain_administrator_gets_back_too() {
    let builder = Cluster::builder().major(majors().await[0]).conf("wal_level", "logical");
    let (cluster, _) = super::link(builder).await;
    cluster.psql_in("link_app", super::moving::ROWS).await;
    let plain = Project::plain(&cluster, super::LINK).await;
    for sql in ["CREATE ROLE app_owner", "GRANT app_owner TO platform", "ALTER DATABASE link_app OWNER TO platform"] {
        cluster.psql(sql).await;
    }
    cluster
        .psql_in(
            "link_app",
            "DO $$ DECLARE one record; BEGIN FOR one IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace \
             AND relkind IN ('r', 'p', 'v') LOOP EXECUTE format('ALTER TABLE %s OWNER TO app_owner', one.name); END LOOP; \
             FOR one IN SELECT oid::regclass AS name FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i')) \
             LOOP EXECUTE format('ALTER SEQUENCE %s OWNER TO app_owner', one.name); END LOOP; END $$; \
             GRANT USAGE, CREATE ON SCHEMA public TO app_owner",
        )
        .await;
    plain.apply_with_dba(&cluster).await;
    let apply = plain.request();
    let request = request(&apply, &plain, "chat");
    there(&request, Strategy::Copy).await;
    cluster.psql_in("link_chat", "INSERT INTO messages (room_id, sender_id, body) VALUES (2, 2, 'writer new')").await;
    assert!(matches!(back(&request).await.brought, Brought::Copied { .. }));
    assert_eq!(cluster.psql_in("link_app", "SELECT count(*) FROM messages WHERE body = 'writer new'").await, "1");
    Ledger::assert_kept(&cluster, "link_app", &[]).await;
    there(&request, Strategy::Copy).await;
    split::finalize(&request, LATER, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    cluster.psql_in("link_app", "DROP VIEW room_overview").await;
    let gone = split::finalize(&request, NOW, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!(gone.outcome, Outcome::Dropped);
}

/// The sessions are gone from one moment to the next, as when pgisle is killed.
async fn cut_off_again_and_again(major: u32, strategy: Strategy) {
    let (cluster, project) = filled(major).await;
    let before = furniture(&cluster).await;
    let apply = project.request();
    let request = request(&apply, &project, "chat");
    let writers: Vec<Writer> = (0..2).map(|_| writer_of_service(&cluster, &project, Duration::from_millis(5))).collect();
    there(&request, strategy).await;
    let (mut delay, mut homes) = (Duration::from_millis(20), Vec::new());
    let back = loop {
        let rollback = tokio::time::timeout(delay, Box::pin(split::rollback(&request, false, &|_| {}))).await;
        match rollback {
            Ok(Ok(back)) => break back,
            // The sessions of the one before may be there for a moment.
            Ok(Err(error)) if told(&error).contains("PI0401") => tokio::time::sleep(Duration::from_millis(100)).await,
            Ok(Err(error)) => panic!("{}", told(&error)),
            Err(_) => homes.push(home(&cluster).await),
        }
        // Each time a little further.
        delay += delay / 8;
    };
    assert!(homes.len() > 5 && homes.is_sorted_by(|one, next| one >= next), "{homes:?}");
    assert_eq!(back.job.state, JobState::Returned);
    assert_eq!(furniture(&cluster).await, before);
    assert_one_home(&cluster, "link_app").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ledger::assert_kept(&cluster, "link_app", &stop(writers).await).await;
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_replication_slots").await, "0");
    project.assert_settled().await;
}

#[tokio::test]
async fn a_rollback_that_is_cut_off_goes_on() {
    for strategy in [Strategy::Stream, Strategy::Copy] {
        cut_off_again_and_again(majors().await[0], strategy).await;
    }
}
