//! Services that move as a copy of the whole shared database's files.

use std::time::Duration;

use pgisle_core::diagnostic::Code;
use pgisle_core::split::{JobState, Strategy};
use pgisle_engine::event::Event;
use pgisle_engine::split::{self, Request};
use pgisle_testkit::{Cluster, Ledger, Writer};

use super::ledger::writer_by_login;
use super::moving::{ROWS, filled, request};
use super::{LINK, LINK_APP};
use crate::apply::{Project, rendered};

/// Much that is not the service's.
const LITTER: &str = include_str!("clone.sql");

/// Everything in a database that belongs to no extension and not to the server.
const EVERYTHING: &str = "
    SELECT o.type || ' ' || o.identity FROM (
        SELECT 'pg_class'::regclass AS classid, oid FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
            AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE oid >= 16384
        UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE oid >= 16384 AND typtype IN ('e', 'd', 'r')
        UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oid >= 16384
        UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config WHERE oid >= 16384
        UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation WHERE oid >= 16384
        UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_'
        UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
        UNION ALL SELECT 'pg_publication'::regclass, oid FROM pg_publication
        UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
        UNION ALL SELECT 'pg_user_mapping'::regclass, oid FROM pg_user_mapping
        UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension
        UNION ALL SELECT 'pg_largeobject'::regclass, oid FROM pg_largeobject_metadata
    ) AS c, pg_identify_object(c.classid, c.oid, 0) AS o
    WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = c.classid AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1";

/// Whatever in a database somebody else than the owner role owns or may use.
const FOREIGN: &str = "
    SELECT c.oid::regclass::text || ' ' || pg_get_userbyid(c.relowner) FROM pg_class c
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND c.relnamespace = 'public'::regnamespace
        AND pg_get_userbyid(c.relowner) <> 'link_chat_owner'
    UNION ALL SELECT c.oid::regclass::text || ' to ' || e.grantee::regrole FROM pg_class c, aclexplode(c.relacl) e
        WHERE c.relnamespace = 'public'::regnamespace AND pg_get_userbyid(e.grantee) !~ '^link_(chat_|monitoring$)'
    UNION ALL SELECT a.attrelid::regclass || '.' || a.attname FROM pg_attribute a WHERE a.attacl IS NOT NULL AND a.attacl <> '{}'
        AND a.attrelid >= 16384
    UNION ALL SELECT p.oid::regprocedure::text || ' ' || pg_get_userbyid(p.proowner) FROM pg_proc p WHERE p.oid >= 16384
        AND p.pronamespace = 'public'::regnamespace AND pg_get_userbyid(p.proowner) <> 'link_chat_owner'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
    UNION ALL SELECT 'type ' || t.typname FROM pg_type t WHERE t.typtype = 'e' AND pg_get_userbyid(t.typowner) <> 'link_chat_owner'
        AND t.oid >= 16384
    UNION ALL SELECT 'large object ' || l.oid FROM pg_largeobject_metadata l WHERE pg_get_userbyid(l.lomowner) <> 'link_chat_owner'
    UNION ALL SELECT 'default for ' || pg_get_userbyid(e.grantee) FROM pg_default_acl d, aclexplode(d.defaclacl) e
        WHERE e.grantee <> 0 AND pg_get_userbyid(e.grantee) = 'stranger'
    UNION ALL SELECT 'schema to ' || pg_get_userbyid(e.grantee) FROM pg_namespace n, aclexplode(n.nspacl) e
        WHERE n.nspname = 'public' AND e.grantee <> 0 AND pg_get_userbyid(e.grantee) IN ('stranger', 'former')";

async fn cut(request: &Request<'_>) -> split::CutOver {
    split::cutover(request, &|_| {}).await.unwrap_or_else(|error| panic!("{}", rendered(&[error.diagnostic()])))
}

async fn begin(request: &Request<'_>) {
    split::run(request, Some(Strategy::Clone), &|_| {}).await.unwrap_or_else(|error| panic!("{}", rendered(&[error.diagnostic()])));
}

/// They come by the service's own login, which is let into the shared database, and into the new home once it has been looked at.
fn writers(cluster: &Cluster, project: &Project, count: usize) -> Vec<Writer> {
    (0..count).map(|_| writer_by_login(cluster, project, Duration::from_millis(5))).collect()
}

fn assert_equal(cut: &split::CutOver) {
    let receipt = cut.receipt.as_ref().unwrap();
    assert!(receipt.is_equal, "{:?}", receipt.differences);
}

async fn stop(writers: Vec<Writer>) -> Vec<Ledger> {
    let mut ledgers = Vec::new();
    for writer in writers {
        ledgers.push(writer.stop().await);
    }
    ledgers
}

/// The databases, and the logins of splits.
async fn remains(cluster: &Cluster) -> String {
    cluster
        .psql(
            "SELECT datname FROM pg_database WHERE datname LIKE '%\\_\\_%' UNION ALL \
             SELECT rolname FROM pg_roles WHERE rolname LIKE '%\\_\\_split' ORDER BY 1",
        )
        .await
}

async fn full_majors() -> Vec<u32> {
    let found = pgisle_testkit::installations().await;
    let majors = pgisle_testkit::majors().await;
    majors.into_iter().filter(|major| found.iter().any(|one| one.major == *major && one.vector && one.contrib)).collect()
}

#[tokio::test]
async fn a_clone_holds_the_service_and_nothing_else() {
    for major in full_majors().await {
        let (cluster, project) = filled(major).await;
        cluster.psql_in("link_app", LITTER).await;
        let apply = project.request();
        let request = request(&apply, &project, "chat");
        let before = cluster.psql_in("link_app", EVERYTHING).await;
        begin(&request).await;
        let writers = writers(&cluster, &project, 4);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let cut = cut(&request).await;
        assert_equal(&cut);
        assert_eq!(cut.job.state, JobState::Cut);
        assert!(cut.diagnostics.is_empty(), "{}", rendered(&cut.diagnostics));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let ledgers = stop(writers).await;
        Ledger::assert_kept(&cluster, "link_chat", &ledgers).await;
        assert!(ledgers.iter().all(|ledger| ledger.kept.len() > 10), "{ledgers:?}");
        let there = cluster.psql_in("link_chat", EVERYTHING).await;
        assert_of_chat(&there);
        assert_eq!(cluster.psql_in("link_chat", FOREIGN).await, "");
        let said = "SELECT obj_description('messages'::regclass), (SELECT count(*) FROM pg_policy), (SELECT count(*) FROM pg_statistic_ext)";
        assert_eq!(cluster.psql_in("link_chat", said).await, "what people say|1|1");
        assert_eq!(cluster.psql_in("link_chat", "SELECT lo_get(picture) FROM chat_rooms WHERE id = 3").await, "\\x01");
        // The shared database is as it was, and its tables that stay are written to.
        let journal = |line: &&str| !line.contains("pgisle_split");
        let after = cluster.psql_in("link_app", EVERYTHING).await;
        assert_eq!(after.lines().filter(journal).collect::<Vec<_>>(), before.lines().collect::<Vec<_>>());
        cluster.psql_in("link_app", "DELETE FROM users WHERE id = 2; INSERT INTO payroll (salary) VALUES (1)").await;
        let refused = cluster.try_psql_in("link_app", "DELETE FROM messages WHERE id = 1").await;
        assert!(refused.unwrap_err().as_db_error().unwrap().message().contains("has moved to database \"link_chat\""));
        assert_eq!(remains(&cluster).await, "");
        project.assert_settled().await;
    }
}

/// What the service has, in full: a name more or less is a failure.
fn assert_of_chat(there: &str) {
    let expected = [
        "extension \"uuid-ossp\"",
        "extension vector",
        "function public.can_message(bigint,bigint)",
        "function public.touch_updated_at()",
        "large object 60001",
        "sequence public.chat_rooms_id_seq",
        "sequence public.messages_id_seq",
        "table public.chat_rooms",
        "table public.direct_conversations",
        "table public.message_reads",
        "table public.messages",
        "table public.room_members",
        "type public.room_kind",
        "view public.recent",
    ];
    let there: Vec<&str> = there.lines().filter(|line| *line != "extension plpgsql").collect();
    assert_eq!(there, expected);
}

#[tokio::test]
async fn a_rehearsal_and_an_attempt_that_takes_too_long_leave_nothing() {
    let Some(major) = full_majors().await.first().copied() else { return };
    let (cluster, project) = filled(major).await;
    let apply = project.request();
    let request = request(&apply, &project, "chat");
    begin(&request).await;
    let writers = writers(&cluster, &project, 2);
    let rehearsed = split::rehearse(&request, &|_| {}).await.unwrap_or_else(|error| panic!("{}", rendered(&[error.diagnostic()])));
    assert!(rehearsed.pause > Duration::ZERO && rehearsed.pause < request.pause_max, "{:?}", rehearsed.pause);
    assert_eq!(remains(&cluster).await, "");
    let hasty = Request { pause_max: Duration::from_millis(20), ..request };
    let refused = split::cutover(&hasty, &|_| {}).await.unwrap_err().diagnostic();
    assert_eq!(refused.code, Code::SPLIT_PAUSE, "{}", rendered(std::slice::from_ref(&refused)));
    assert_eq!(remains(&cluster).await, "");
    cluster.psql_in("link_app", "INSERT INTO messages (room_id, sender_id, body) VALUES (1, 1, 'on')").await;
    let cut = cut(&request).await;
    assert_equal(&cut);
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ledger::assert_kept(&cluster, "link_chat", &stop(writers).await).await;
}

/// One who owns the shared database and what is in it, and is no superuser.
#[tokio::test]
async fn a_plain_administrator_clones_what_it_owns() {
    for major in full_majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::plain(&cluster, LINK).await;
        cluster.psql("CREATE DATABASE link_app TEMPLATE template0 ENCODING 'UTF8' OWNER platform").await;
        cluster.psql_in("link_app", r#"CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION vector; CREATE EXTENSION pgcrypto"#).await;
        cluster.psql_in("link_app", "GRANT ALL ON SCHEMA public TO platform; CREATE ROLE stranger LOGIN").await;
        let password = project.connect.password().unwrap().expose().to_owned();
        let client = cluster.connect_as("platform", &password, "link_app").await.unwrap();
        client.batch_execute(LINK_APP).await.unwrap();
        client.batch_execute(ROWS).await.unwrap();
        client
            .batch_execute("GRANT SELECT ON messages TO stranger; CREATE SCHEMA private; CREATE TABLE private.keys (id int)")
            .await
            .unwrap();
        project.apply_with_dba(&cluster).await;
        let apply = project.request();
        let request = request(&apply, &project, "chat");
        begin(&request).await;
        // Still connected, and idle.
        let cut = cut(&request).await;
        assert_equal(&cut);
        client.batch_execute("SELECT 1").await.unwrap_err();
        assert_eq!(cluster.psql_in("link_chat", FOREIGN).await, "");
        assert_eq!(cluster.psql_in("link_chat", "SELECT count(*) FROM messages").await, "20000");
        assert_eq!(cluster.psql_in("link_chat", "SELECT to_regclass('private.keys'), to_regclass('users')").await, "|");
        assert_eq!(remains(&cluster).await, "");
    }
}

/// A run that ends anywhere lets everyone go on by itself, or has moved the home.
#[tokio::test]
async fn an_attempt_that_breaks_off_holds_nobody_up() {
    let Some(major) = full_majors().await.first().copied() else { return };
    let (cluster, project) = filled(major).await;
    // Whoever was broken off may still be on its way out.
    let apply = pgisle_engine::apply::Request { lock_timeout: Duration::from_secs(10), ..project.request() };
    let request = request(&apply, &project, "chat");
    begin(&request).await;
    let writers = writers(&cluster, &project, 2);
    let mut number = 0;
    let cut = loop {
        number += 1;
        let after = Duration::from_millis(60 * number);
        if let Ok(cut) = tokio::time::timeout(after, split::cutover(&request, &|_| {})).await {
            break cut.unwrap_or_else(|error| panic!("{}", rendered(&[error.diagnostic()])));
        }
        let home = split::read_jobs(&project.connect, &project.spec.settings.postgres_database).await.unwrap();
        if home.iter().any(|job| job.state == JobState::Cut) {
            return finish(&cluster, writers).await;
        }
        // Nobody has repaired anything.
        let write = "INSERT INTO messages (room_id, sender_id, body) VALUES (1, 1, 'between')";
        let mut wrote = cluster.try_psql_in("link_app", write).await;
        for _ in 0..20 {
            if wrote.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            wrote = cluster.try_psql_in("link_app", write).await;
        }
        wrote.unwrap();
    };
    assert!(number > 2, "{number}");
    assert_equal(&cut);
    finish(&cluster, writers).await;
}

async fn finish(cluster: &Cluster, writers: Vec<Writer>) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ledger::assert_kept(cluster, "link_chat", &stop(writers).await).await;
}

/// What cannot be done is told before anyone is disturbed, or leaves everyone where they were.
#[tokio::test]
async fn what_stands_in_the_way_of_a_clone_is_named() {
    let Some(major) = full_majors().await.last().copied() else { return };
    let cluster = Cluster::builder().major(major).conf("max_prepared_transactions", "5").start().await;
    let project = Project::plain(&cluster, LINK).await;
    cluster.psql("CREATE DATABASE link_app TEMPLATE template0 ENCODING 'UTF8' OWNER platform").await;
    cluster
        .psql_in("link_app", r#"CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION vector; GRANT ALL ON SCHEMA public TO platform"#)
        .await;
    let password = project.connect.password().unwrap().expose().to_owned();
    let client = cluster.connect_as("platform", &password, "link_app").await.unwrap();
    client.batch_execute(LINK_APP).await.unwrap();
    client.batch_execute(ROWS).await.unwrap();
    project.apply_with_dba(&cluster).await;
    let apply = project.request();
    let request = request(&apply, &project, "chat");
    let told = |error: split::SplitError| rendered(&[error.diagnostic()]);

    cluster.psql_in("link_app", "CREATE TABLE theirs (id int)").await;
    let refused = told(split::run(&request, Some(Strategy::Clone), &|_| {}).await.unwrap_err());
    let owner = format!("It may not act as the owner of table public.theirs of \"{}\".", cluster.superuser());
    assert!(refused.contains("PI1012") && refused.contains(&owner), "{refused}");
    cluster.psql_in("link_app", "DROP TABLE theirs").await;
    begin(&request).await;

    cluster.psql_in("link_app", "BEGIN; UPDATE users SET id = id WHERE id = 1; PREPARE TRANSACTION 'left'").await;
    let refused = told(split::cutover(&request, &|_| {}).await.unwrap_err());
    assert!(refused.contains("has 1 prepared transactions"), "{refused}");
    cluster.psql_in("link_app", "ROLLBACK PREPARED 'left'").await;
    client.batch_execute("SELECT 1").await.unwrap();

    // A superuser's session, which this administrator cannot end.
    let superuser = cluster.connect_as(cluster.superuser(), cluster.password(), "link_app").await.unwrap();
    let hasty = Request { pause_max: Duration::from_secs(2), ..request };
    let refused = told(split::cutover(&hasty, &|_| {}).await.unwrap_err());
    let there = format!("1 of \"{}\"", cluster.superuser());
    assert!(refused.contains("could not be cloned within 2000 ms") && refused.contains(&there), "{refused}");
    superuser.batch_execute("INSERT INTO messages (room_id, sender_id, body) VALUES (1, 1, 'on')").await.unwrap();
    assert_eq!(remains(&cluster).await, "");
    drop(superuser);

    cluster.psql_in("link_app", "CREATE TYPE mood AS ENUM ('fine'); ALTER TYPE mood OWNER TO platform").await;
    cluster
        .psql_in(
            "link_app",
            "CREATE FUNCTION feel() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION feel() OWNER TO platform",
        )
        .await;
    let cut = cut(&request).await;
    assert_equal(&cut);
    assert_eq!(cluster.psql_in("link_chat", "SELECT to_regtype('mood'), to_regproc('feel')").await, "|");
}

/// Whoever changes definitions writes no rows, and the fence does not see it.
#[tokio::test]
async fn a_definition_that_changes_at_the_last_moment_is_copied_or_refused() {
    let Some(major) = full_majors().await.first().copied() else { return };
    let (cluster, project) = filled(major).await;
    let apply = project.request();
    let request = request(&apply, &project, "chat");
    begin(&request).await;
    let attempt = async |ddl: &'static str| {
        let admin = cluster.config(cluster.superuser(), cluster.password(), "link_app");
        let events = |event: Event<'_>| {
            if matches!(event, Event::Restoring(doing) if doing.starts_with("copying")) {
                let admin = admin.clone();
                std::thread::spawn(move || elsewhere(admin, ddl)).join().unwrap();
            }
        };
        split::cutover(&request, &events).await
    };
    let refused = attempt("CREATE TABLE more_messages () INHERITS (messages)").await.unwrap_err();
    let refused = rendered(&[refused.diagnostic()]);
    assert!(refused.contains("part of a table that moves depends on what stays"), "{refused}");
    assert_eq!(remains(&cluster).await, "");
    cluster
        .psql_in("link_app", "DROP TABLE more_messages; INSERT INTO messages (room_id, sender_id, body) VALUES (1, 1, 'on')")
        .await;
    let cut = attempt("ALTER TABLE messages ADD COLUMN mood text DEFAULT 'fine'")
        .await
        .unwrap_or_else(|error| panic!("{}", rendered(&[error.diagnostic()])));
    assert!(cut.diagnostics.is_empty(), "{}", rendered(&cut.diagnostics));
    assert_equal(&cut);
    assert_eq!(cluster.psql_in("link_chat", "SELECT mood, count(*) FROM messages GROUP BY 1").await, "fine|20001");
}

/// Runs a statement while this test's own runtime stands still.
fn elsewhere(admin: tokio_postgres::Config, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = admin.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
    });
}
