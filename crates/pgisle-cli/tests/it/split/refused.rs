//! What must be told before it does harm: the code, the message and what to do, and everything is as it was.

use std::time::{Duration, Instant};

use pgisle_testkit::Cluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::points::{Harm, Point};
use super::stand::{CUTOVER, NEW, OLD, ROLLBACK, Stand, run_by};
use crate::faults::server::{continued, stopped_by};

const STAGE: &str = "PGISLE_FAULT_STOP_AT";

/// Rows that take a moment to copy.
const MANY: &str = "INSERT INTO messages (room_id, sender_id, body) \
    SELECT 1 + n % 60, 1 + n % 50, repeat(md5(n::text), 20) FROM generate_series(1, 100000) AS n";

/// Nothing has moved, and a rollback leaves nothing.
async fn assert_unharmed(stand: &Stand, point: &str) {
    assert_eq!(stand.home().await.0, OLD, "{point}");
    stand.ends(ROLLBACK, 0).await;
    stand.assert_forgotten(point).await;
}

fn assert_told(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
}

/// What nobody can split out is told before anything is made.
#[tokio::test]
async fn what_cannot_be_split_out_is_told_before_anything_is_made() {
    let stand = Stand::new(Cluster::builder()).await;
    let spec = stand.place.read("pgisle.hcl");
    let before = stand.furniture().await;
    for (sql, undo, tables, words) in [
        (
            "ALTER TABLE messages DROP CONSTRAINT messages_pkey",
            "ALTER TABLE messages ADD PRIMARY KEY (id)",
            "",
            &["error[PI1002]", "public.messages", "primary key or REPLICA IDENTITY", "hint:"][..],
        ),
        (
            "CREATE SCHEMA old; CREATE TABLE old.messages (id int)",
            "DROP SCHEMA old CASCADE",
            "",
            &["error[PI1001]", "\"messages\" is in 2 schemas", "There are old.messages and public.messages.", "hint:"],
        ),
        (
            "SELECT 1",
            "SELECT 1",
            "\"mesages\"",
            &["error[PI1001]", "\"mesages\" is not in database \"link_app\"", "hint: Take it out of the service's tables."],
        ),
    ] {
        stand.cluster.psql_in(OLD, sql).await;
        if !tables.is_empty() {
            stand.place.file("pgisle.hcl", spec.replace("\"messages\"", tables));
        }
        let said = stand.ends(run_by("stream"), 1).await;
        assert_told(&said, words);
        stand.place.file("pgisle.hcl", &spec);
        stand.cluster.psql_in(OLD, undo).await;
        super::stand::assert_same(&before, &stand.furniture().await, sql);
    }
}

/// A table that no service claims refers to one that moves: it stays, is told, and does not hold up anyone.
#[tokio::test]
async fn a_table_that_nobody_claims_is_told_and_stays() {
    let stand = Stand::new(Cluster::builder()).await;
    stand.cluster.psql_in(OLD, "CREATE TABLE nobodys (id bigint PRIMARY KEY REFERENCES messages)").await;
    stand.cluster.psql_in(OLD, "INSERT INTO nobodys SELECT 1").await;
    let plan = stand.ends(&["split", "plan", "chat"], 0).await;
    assert_told(&plan, &["public.nobodys"]);
    stand.ends(run_by("copy"), 0).await;
    stand.ends(CUTOVER, 0).await;
    stand.cluster.psql_in(OLD, "INSERT INTO nobodys VALUES (-1)").await;
    let said = stand.ends(ROLLBACK, 0).await;
    assert_told(&said, &["nobodys_id_fkey", "does not hold for all rows", "VALIDATE CONSTRAINT"]);
    assert_eq!(stand.cluster.psql_in(OLD, "SELECT count(*) FROM nobodys").await, "2");
}

#[tokio::test]
async fn a_source_that_fails_in_the_middle_of_the_rows_leaves_nothing_of_them() {
    let stand = Stand::new(Cluster::builder()).await;
    stand.cluster.psql_in(OLD, MANY).await;
    for strategy in ["stream", "copy"] {
        let arguments = if strategy == "copy" {
            stand.ends(run_by("copy"), 0).await;
            CUTOVER
        } else {
            run_by("stream")
        };
        let mut child = stand.place.start(arguments, &[]);
        let copying = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
            WHERE query LIKE 'COPY \"public\".\"messages\"%TO STDOUT%' AND state = 'active'";
        while stand.cluster.psql(copying).await == "0" {
            assert!(child.try_wait().unwrap().is_none(), "it was over");
        }
        let output = child.wait_with_output().await.unwrap();
        let said = crate::faults::text(&output);
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert_told(&said, &["error[PI0208]: cannot read table \"public\".\"messages\"", "the same command goes on"]);
        assert_unharmed(&stand, strategy).await;
    }
}

/// Takes connections for a server, and cuts each off that has carried so many bytes of answers.
async fn cut_off_after(server: u16, bytes_max: usize) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
            tokio::spawn(async move {
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                let answers = async {
                    let (mut buffer, mut carried) = (vec![0; 1 << 16], 0);
                    while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
                        carried += count;
                        if carried > bytes_max || to_client.write_all(&buffer[..count]).await.is_err() {
                            break;
                        }
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                    () = answers => {}
                }
            });
        }
    });
    (port, task)
}

/// The stream just ends, between two bytes, and nobody says why.
#[tokio::test]
async fn a_stream_that_is_cut_off_is_not_taken_for_all_rows() {
    let mut stand = Stand::new(Cluster::builder()).await;
    stand.cluster.psql_in(OLD, MANY).await;
    let (port, task) = cut_off_after(stand.cluster.port(), 8 << 20).await;
    for strategy in ["stream", "copy"] {
        let arguments = if strategy == "copy" {
            stand.ends(run_by("copy"), 0).await;
            CUTOVER
        } else {
            run_by("stream")
        };
        stand.place = stand.place.variable("PGISLE_VAR_postgres_port", &port.to_string());
        let said = stand.ends(arguments, 69).await;
        assert_told(&said, &["error[PI0208]: cannot read table \"public\".\"messages\"", "the same command goes on"]);
        stand.place = stand.place.variable("PGISLE_VAR_postgres_port", &stand.cluster.port().to_string());
        assert_unharmed(&stand, strategy).await;
    }
    task.abort();
}

/// A slot waits for all that have written, in whatever database.
#[tokio::test]
async fn a_transaction_elsewhere_is_named_and_not_waited_for_for_ever() {
    let stand = Stand::new(Cluster::builder()).await;
    let writer = stand.cluster.connect_to("postgres").await;
    writer.batch_execute("SET application_name = 'report'; BEGIN; CREATE TABLE unfinished ()").await.unwrap();
    let waits = [run_by("stream"), &["-lock-timeout=1s"]].concat();
    let said = stand.ends(&waits, 1).await;
    assert_told(
        &said,
        &[
            "error[PI1003]: open transactions hold up replication slot",
            "\"report\"",
            "database \"postgres\"",
            "Wait for them to end",
        ],
    );
    assert_eq!(stand.home().await, (OLD.to_owned(), "begun".to_owned()));
    assert_eq!(stand.cluster.psql("SELECT count(*) FROM pg_replication_slots").await, "0");
    // The same for the slot of the way back, before anybody waits.
    writer.batch_execute("COMMIT").await.unwrap();
    stand.ends(run_by("stream"), 0).await;
    writer.batch_execute("BEGIN; DROP TABLE unfinished").await.unwrap();
    let said = stand.ends(&[CUTOVER, &["-lock-timeout=1s"]].concat(), 1).await;
    assert_told(&said, &["error[PI1003]", "\"report\""]);
    writer.batch_execute("COMMIT").await.unwrap();
    assert_unharmed(&stand, "a transaction elsewhere").await;
}

/// The server takes away the log that a slot needs.
async fn lose_log(stand: &Stand) {
    for _ in 0..4 {
        stand.cluster.psql("CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 30000)").await;
        stand.cluster.psql("DROP TABLE filler").await;
        stand.cluster.psql("SELECT pg_switch_wal()").await;
        stand.cluster.psql("CHECKPOINT").await;
    }
    assert_ne!(stand.cluster.psql("SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost'").await, "0");
}

#[tokio::test]
async fn a_slot_that_is_lost_is_told_and_nothing_moves() {
    let builder =
        Cluster::builder().conf("max_slot_wal_keep_size", "1MB").conf("min_wal_size", "32MB").conf("max_wal_size", "32MB");
    let stand = Stand::new(builder).await;
    for (arguments, stage) in
        [(run_by("stream"), "split.slot"), (run_by("stream"), "split.copied"), (CUTOVER, ""), (CUTOVER, "split.held")]
    {
        if arguments == CUTOVER {
            stand.ends(run_by("stream"), 0).await;
        }
        let said = if stage.is_empty() {
            lose_log(&stand).await;
            let status = stand.status().await.unwrap();
            assert_eq!(status["follows"]["is_lost"], true, "{status:#}");
            stand.ends(arguments, 1).await
        } else {
            let child = stopped_by(&stand.place, arguments, STAGE, stage).await.unwrap();
            lose_log(&stand).await;
            let (code, said) = continued(child).await;
            assert_eq!(code, Some(1), "{stage}: {said}");
            said
        };
        assert_told(&said, &["error[PI1009]", "max_slot_wal_keep_size", "pgisle split rollback"]);
        assert_unharmed(&stand, stage).await;
    }
}

#[tokio::test]
async fn tables_that_are_changed_while_they_move_are_not_cut_over() {
    let stand = Stand::new(Cluster::builder()).await;
    for (sql, undo) in [
        ("ALTER TABLE messages ADD COLUMN edited boolean DEFAULT false", "ALTER TABLE messages DROP COLUMN edited"),
        ("CREATE INDEX messages_body ON messages (md5(body))", "DROP INDEX messages_body"),
        ("ALTER TABLE messages ALTER COLUMN body SET DEFAULT 'nothing'", "ALTER TABLE messages ALTER COLUMN body DROP DEFAULT"),
    ] {
        stand.ends(run_by("stream"), 0).await;
        stand.cluster.psql_in(OLD, sql).await;
        let said = stand.ends(CUTOVER, 1).await;
        assert_told(
            &said,
            &["error[PI1006]: what moves for service \"chat\" has changed since the split began", "pgisle split run chat"],
        );
        assert_eq!(stand.home().await.0, OLD, "{sql}");
        // As it says: begun again, it moves with all that.
        stand.ends(run_by("stream"), 0).await;
        stand.ends(CUTOVER, 0).await;
        stand.ends(ROLLBACK, 0).await;
        stand.cluster.psql_in(OLD, undo).await;
        stand.assert_forgotten(sql).await;
    }
    // Between the last look at the definitions and the moment from which on they cannot change.
    for strategy in ["stream", "copy"] {
        stand.ends(run_by(strategy), 0).await;
        let child = stopped_by(&stand.place, CUTOVER, STAGE, "split.ready").await.unwrap();
        stand.cluster.psql_in(OLD, "ALTER TABLE messages ADD COLUMN edited boolean DEFAULT false").await;
        let (code, said) = continued(child).await;
        assert_eq!(code, Some(1), "{said}");
        assert_told(&said, &["error[PI1006]", "public.messages has column edited boolean in the shared database only"]);
        stand.cluster.psql_in(OLD, "ALTER TABLE messages DROP COLUMN edited").await;
        assert_unharmed(&stand, strategy).await;
    }
}

#[tokio::test]
async fn a_change_that_is_held_open_is_named() {
    let stand = Stand::new(Cluster::builder()).await;
    let other = stand.cluster.connect_to(OLD).await;
    let hold = "SET application_name = 'migration'; BEGIN; ALTER TABLE messages ADD COLUMN edited boolean";
    for (strategy, arguments) in [("stream", run_by("stream")), ("copy", run_by("copy")), ("stream", CUTOVER), ("copy", CUTOVER)] {
        if arguments == CUTOVER {
            stand.ends(run_by(strategy), 0).await;
        }
        other.batch_execute(hold).await.unwrap();
        let begun = Instant::now();
        let said = stand.ends(&[arguments, &["-pause=1s"]].concat(), 1).await;
        assert!(begun.elapsed() < Duration::from_secs(30), "{said}");
        assert_told(&said, &["error[PI1008]", "\"migration\"", "try again"]);
        other.batch_execute("ROLLBACK").await.unwrap();
        assert_unharmed(&stand, strategy).await;
    }
}

/// What is left of a cutover that is refused while it holds the tables keeps nobody up.
#[tokio::test]
async fn the_new_homes_fence_does_not_outlast_its_run() {
    let stand = Stand::new(Cluster::builder()).await;
    stand.ends(run_by("stream"), 0).await;
    assert!(Point::Stage("split.cut").strikes(&stand, CUTOVER, Harm::Itself).await);
    // Nobody has come to clear up, and still the service writes, and whoever else may.
    assert_eq!(stand.home().await, (NEW.to_owned(), "cut".to_owned()));
    stand.cluster.psql_in(NEW, "INSERT INTO messages (room_id, sender_id, body) VALUES (1, 1, 'at once')").await;
    stand.ends(CUTOVER, 0).await;
    assert_eq!(stand.cluster.psql_in(NEW, "SELECT count(*) FROM pg_trigger WHERE tgname = 'pgisle_split_fence'").await, "0");
}
