//! What breaks off in the middle: nothing of it stays, and the next run moves everything.

use super::*;

/// Before the rows are copied, and after it: `$*` are pg_dump's arguments.
const BEFORE_ROWS: &str = "[[ \" $* \" != *\" --data-only \"* ]] ||";

/// It failed for this reason, nothing is left of it, and with the real programs it goes.
async fn assert_goes_on(shop: &Shop, output: &Output, reason: &str) {
    assert_failure(output, reason);
    shop.assert_not_moved().await;
    shop.unwrap_programs();
    let before = shop.content("link_app").await;
    assert_success(&shop.migrate(&[]).await);
    assert_eq!(shop.content("link_users").await, before);
    shop.assert_clean().await;
}

#[tokio::test]
async fn a_dump_that_is_cut_off_is_never_taken() {
    let shop = Shop::new().await;
    // Within the rows of a table, without an error of the dump's own, and then killed: psql takes the end for the end of the rows.
    shop.wrap("pg_dump", &format!("{BEFORE_ROWS} {{ \"$REAL\" \"$@\" | head -c 60000; kill -9 $$; }}\nexec \"$REAL\" \"$@\""));
    let output = shop.migrate(&[]).await;
    assert_failure(&output, "the rows cannot be copied");
    shop.assert_not_moved().await;
    // The same with a good end: the rows are too few.
    shop.wrap("pg_dump", &format!("{BEFORE_ROWS} {{ \"$REAL\" \"$@\" | sed '/^1[0-9]*\\t/d'; exit; }}\nexec \"$REAL\" \"$@\""));
    assert_goes_on(&shop, &shop.migrate(&[]).await, "rows here, 1003 rows in the shared database").await;
}

#[tokio::test]
async fn a_session_that_is_ended_takes_the_load_with_it() {
    let shop = Shop::new().await;
    let kill = "PGDATABASE=postgres \"$PSQL\" -XAtc \"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'pgisle\\_migrate%'\" >/dev/null";
    shop.wrap(
        "pg_dump",
        &format!("{BEFORE_ROWS} {{ \"$REAL\" \"$@\" | head -c 60000; {kill}; exec \"$REAL\" \"$@\"; }}\nexec \"$REAL\" \"$@\""),
    );
    // Whether psql sees it while it sends rows or at the next statement, and whether the server's last words reach it, is a race.
    let output = shop.migrate(&[]).await;
    assert_failure(&output, "connection to server was lost");
    assert_goes_on(&shop, &output, "nothing was moved").await;
}

#[tokio::test]
async fn a_writer_that_slips_in_is_noticed() {
    let shop = Shop::new().await;
    // The session with the locks is gone, and somebody writes.
    let slip = "PGDATABASE=link_app \"$PSQL\" -XAtc \"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'link_app' AND application_name LIKE 'migrate-%' AND pid <> pg_backend_pid()\" -c \"INSERT INTO users (name) VALUES ('slipped in')\" >/dev/null";
    shop.wrap("pg_dump", &format!("{BEFORE_ROWS} {{ \"$REAL\" \"$@\" || exit; {slip}; exit; }}\nexec \"$REAL\" \"$@\""));
    let output = shop.migrate(&[]).await;
    assert_eq!(shop.cluster.psql_in("link_app", "SELECT count(*) FROM users").await, "1004");
    assert_goes_on(&shop, &output, "the session that held the tables still has ended").await;
}

#[tokio::test]
async fn a_number_that_is_taken_meanwhile_is_noticed() {
    let shop = Shop::new().await;
    // No lock keeps anyone from a sequence.
    let take = "PGDATABASE=link_app \"$PSQL\" -XAtc \"SELECT nextval('users_id_seq')\" >/dev/null";
    shop.wrap("pg_dump", &format!("{BEFORE_ROWS} {{ \"$REAL\" \"$@\" || exit; {take}; exit; }}\nexec \"$REAL\" \"$@\""));
    let output = shop.migrate(&[]).await;
    assert_goes_on(&shop, &output, "public.users_id_seq: 5000 t here, 5001 t in the shared database").await;
}

#[tokio::test]
async fn a_row_that_comes_of_itself_is_noticed() {
    let shop = Shop::new().await;
    // Whatever makes rows in the service's database on its own.
    let plant = "CREATE SCHEMA planted; GRANT USAGE ON SCHEMA planted TO PUBLIC; CREATE FUNCTION planted.more() RETURNS event_trigger LANGUAGE plpgsql AS \
                 $$BEGIN INSERT INTO public.events_rest VALUES (-1, '2030-01-01', 'planted') ON CONFLICT DO NOTHING; END$$; \
                 CREATE EVENT TRIGGER planted ON ddl_command_end WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION planted.more(); \
                 GRANT EXECUTE ON FUNCTION planted.more() TO PUBLIC";
    shop.cluster.psql_in("link_users", plant).await;
    let output = shop.migrate(&[]).await;
    assert_failure(&output, "public.events_rest: 288 rows here, 287 rows in the shared database");
    shop.cluster.psql_in("link_users", "DROP EVENT TRIGGER planted; DROP SCHEMA planted CASCADE").await;
    assert_goes_on(&shop, &output, "the copy is not what was to be copied").await;
}

/// The server has taken the copy, and cannot say so any more.
#[tokio::test]
async fn a_connection_that_is_lost_in_the_commit_leaves_no_doubt() {
    let shop = Shop::new().await;
    // Who commits in the service's database waits for a standby that never comes.
    shop.cluster.psql("ALTER DATABASE link_users SET synchronous_commit = 'on'").await;
    shop.cluster.reload_with("synchronous_commit", "local").await;
    shop.cluster.reload_with("synchronous_standby_names", "nobody").await;
    let before = shop.content("link_app").await;
    let end = async {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename LIKE 'pgisle\\_migrate%' AND wait_event = 'SyncRep'";
        for _ in 0..2000 {
            if shop.cluster.psql(end).await == "1" {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    };
    let (output, ended) = tokio::join!(shop.migrate(&["--close"]), end);
    assert!(ended, "{}", said(&output));
    assert_success(&output);
    assert!(said(&output).contains("the connection was lost while the copy was taken, and it was taken"), "{}", said(&output));
    assert_eq!(shop.content("link_users").await, before);
    let late = shop.cluster.try_psql_in("link_app", "INSERT INTO users (name) VALUES ('late')").await.unwrap_err();
    assert!(late.as_db_error().unwrap().message().contains("has moved"), "{late:?}");
    shop.assert_clean().await;
}

/// Runs the script until one of its programs has come to a place, kills it there, and lets the program go on.
async fn killed_at(shop: &Shop, signal: &str, program: &str, place: &str, arguments: &str) -> Output {
    let folder = shop.folder.path().display();
    shop.wrap(
        program,
        &format!("[[ \" $* \" != *\" {place} \"* ]] || {{ touch '{folder}/there'; while [[ -e '{folder}/there' && ! -e '{folder}/go' ]]; do sleep 0.05; done; }}\nexec \"$REAL\" \"$@\""),
    );
    let driver = shop.folder.path().join("driver.sh");
    let text = format!(
        "#!/bin/bash\ncd '{folder}'\nscripts/migrate-users-database.sh -y {arguments} >/dev/null 2>said </dev/null &\nchild=$!\n\
         while [[ ! -e there ]]; do sleep 0.05; kill -0 $child || exit 99; done\nkill -{signal} $child\n\
         wait $child 2>/dev/null\nstatus=$?\ntouch go\ncat said >&2\nexit $status\n"
    );
    fs::write(&driver, text).unwrap();
    fs::set_permissions(&driver, fs::Permissions::from_mode(0o755)).unwrap();
    let output = shop.invocation(&driver).run_to_end().await.unwrap();
    fs::remove_file(shop.folder.path().join("there")).unwrap();
    output
}

/// A killed script leaves its files behind.
fn forget(shop: &Shop) {
    let _ = fs::remove_file(shop.folder.path().join("go"));
    for entry in fs::read_dir(shop.folder.path().join("t m'p")).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
}

const PLACES: [(&str, &str); 4] = [
    ("pg_dump", "--schema-only"),
    ("pg_restore", "--section=pre-data"),
    ("pg_dump", "--data-only"),
    ("pg_restore", "--section=post-data"),
];

#[tokio::test]
async fn killed_anywhere_the_next_run_moves_everything() {
    for (program, place) in PLACES {
        let shop = Shop::new().await;
        let before = shop.content("link_app").await;
        let output = killed_at(&shop, "KILL", program, place, "").await;
        assert_eq!(output.status.code(), Some(137), "{place}: {}", said(&output));
        // At once, while what the killed one had begun is still there.
        forget(&shop);
        shop.unwrap_programs();
        assert_success(&shop.migrate(&[]).await);
        assert_eq!(shop.content("link_users").await, before, "{place}");
        shop.assert_clean().await;
        shop.project.assert_settled().await;
    }
}

#[tokio::test]
async fn told_to_stop_it_clears_up() {
    for (program, place) in PLACES {
        let shop = Shop::new().await;
        let output = killed_at(&shop, "TERM", program, place, "--close").await;
        assert_eq!(output.status.code(), Some(143), "{place}: {}", said(&output));
        assert!(said(&output).contains("nothing was moved"), "{}", said(&output));
        shop.assert_not_moved().await;
        assert_eq!(shop.cluster.psql_in("link_app", "SELECT to_regnamespace('pgisle_split') IS NULL").await, "t");
        shop.cluster.psql_in("link_app", "INSERT INTO users (name) VALUES ('goes on')").await;
    }
}

#[tokio::test]
async fn two_at_once_move_it_once() {
    let shop = Shop::new().await;
    let before = shop.content("link_app").await;
    let (one, other) = tokio::join!(shop.migrate(&[]), shop.migrate(&[]));
    // The one that comes second waits, and finds that what it has looked at is no more.
    let good = [&one, &other].into_iter().filter(|output| output.status.success()).count();
    assert!(good >= 1, "{}\n{}", said(&one), said(&other));
    assert_eq!(shop.content("link_users").await, before);
    shop.assert_clean().await;
    assert_success(&shop.migrate(&[]).await);
}
