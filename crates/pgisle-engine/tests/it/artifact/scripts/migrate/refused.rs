//! What keeps the script from moving anything: told before harm is done.

use pgisle_engine::process::Output;

use super::*;

/// It failed for this reason, and nothing has happened.
async fn assert_refused(shop: &Shop, output: &Output, reason: &str) {
    assert_failure(output, reason);
    assert!(said(output).contains("nothing was moved; link_app and link_users are as they were"), "{}", said(output));
    shop.assert_not_moved().await;
}

#[tokio::test]
async fn it_says_who_is_connected() {
    let shop = Shop::new().await;
    shop.cluster.psql("GRANT CONNECT ON DATABASE link_app TO link_users_user").await;
    let credential = shop.project.store.load().unwrap().services[&service_name("users")].active.clone();
    let own = shop.cluster.connect_as(credential.role.as_str(), credential.secret.expose(), "link_app").await.unwrap();
    for arguments in [&[][..], &["--others"], &["--dry-run"]] {
        let output = shop.migrate(arguments).await;
        assert_failure(&output, "service users is connected to link_app: link_users_user, application");
        shop.assert_not_moved().await;
    }
    drop(own);
    let other = shop.cluster.connect_to("link_app").await;
    other.batch_execute("SET application_name = 'another'").await.unwrap();
    let output = shop.migrate(&[]).await;
    assert_refused(&shop, &output, "application \"another\", server process").await;
    assert_failure(&output, "sessions that are not the service's may stay with --others");
    // One that reads is in nobody's way.
    other.batch_execute("BEGIN; SELECT count(*) FROM users").await.unwrap();
    assert_success(&shop.migrate(&["--others"]).await);
}

#[tokio::test]
async fn tools_that_are_too_old_are_told_before_anything_is_locked() {
    let shop = Shop::new().await;
    shop.wrap("pg_dump", "echo 'pg_dump (PostgreSQL) 14.11 (Debian 14.11-1)'");
    let major = pgisle_testkit::majors().await[0];
    for arguments in [&[][..], &["--dry-run"]] {
        let output = shop.migrate(arguments).await;
        let told =
            format!("pg_dump is of PostgreSQL 14 and the server of {major}: put the client tools of PostgreSQL {major} first");
        assert_failure(&output, &told);
        shop.assert_not_moved().await;
    }
}

#[tokio::test]
async fn who_writes_holds_it_up_and_is_named() {
    let shop = Shop::new().await;
    let other = shop.cluster.connect_to("link_app").await;
    other.batch_execute("SET application_name = 'slow'; BEGIN; UPDATE events SET what = 'x'").await.unwrap();
    let output = shop.migrate(&["--others"]).await;
    assert_refused(&shop, &output, "the tables are being written to by").await;
    assert_failure(&output, "application \"slow\"");
    assert_failure(&output, "lock timeout");
}

/// What waits to write while the tables are copied would write to the old ones as soon as they are let go.
#[tokio::test]
async fn who_waits_to_write_is_seen_before_the_end() {
    let shop = Shop::new().await;
    // Goes on once somebody waits.
    shop.wrap(
        "pg_dump",
        "if [[ \" $* \" == *\" --data-only \"* ]]; then\n  for _ in {1..600}; do\n    \
         [[ $(PGDATABASE=link_app \"$PSQL\" -XAtc \"SELECT count(*) FROM pg_locks WHERE NOT granted\") == 0 ]] || break\n    sleep 0.1\n  done\nfi\nexec \"$REAL\" \"$@\"",
    );
    for arguments in [&["--others"][..], &["--others", "--close"]] {
        let other = shop.cluster.connect_to("link_app").await;
        other.batch_execute("SET application_name = 'straggler'").await.unwrap();
        let write = async {
            let held = "SELECT count(*) FROM pg_locks WHERE granted AND mode = 'ShareLock' AND relation = 'users'::regclass";
            while shop.cluster.psql_in("link_app", held).await == "0" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other.batch_execute("INSERT INTO users (name) VALUES ('late')").await
        };
        let (output, written) = tokio::join!(shop.migrate(arguments), write);
        if arguments.len() == 1 {
            assert_refused(&shop, &output, "somebody waits to write to the tables, so service users is not stopped").await;
            assert_failure(&output, "application \"straggler\"");
            written.unwrap();
        } else {
            assert_success(&output);
            let error = written.unwrap_err();
            assert!(error.as_db_error().unwrap().message().contains("has moved to database"), "{error:?}");
            assert_eq!(shop.content("link_users").await, shop.content("link_app").await);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_moved_is_named() {
    let mut shop = Shop::new().await;
    let cases = [
        ("users", "SELECT 1", "SELECT 1", &["users", "nowhere"][..], "there is no table nowhere in this database"),
        ("users", "SELECT 1", "SELECT 1", &["users", "newest"], "newest is no table"),
        ("users", "SELECT 1", "SELECT 1", &["users", "events_a"], "events_a is a part of"),
        (
            "users",
            "CREATE SCHEMA other CREATE TABLE users (a int)",
            "DROP SCHEMA other CASCADE",
            &["users"],
            "users is in several schemas (other.users, public.users)",
        ),
        (
            "users",
            "SELECT lo_from_bytea(4711, 'x'); ALTER TABLE users ADD picture oid",
            "SELECT lo_unlink(4711); ALTER TABLE users DROP picture",
            &["users"],
            "column picture of public.users may point to large objects",
        ),
        (
            "users",
            "ALTER TABLE users ADD room rooms",
            "ALTER TABLE users DROP room",
            &["users"],
            "users has a column that is a row of public.rooms, which stays",
        ),
        (
            "users",
            "CREATE COLLATION mine FROM \"C\"; ALTER TABLE users ADD c text COLLATE mine",
            "ALTER TABLE users DROP c; DROP COLLATION mine",
            &["users"],
            "it needs collation public.mine, which this script cannot move",
        ),
        (
            "users",
            "CREATE EXTENSION citext; ALTER TABLE users ADD c citext",
            "ALTER TABLE users DROP c; DROP EXTENSION citext",
            &["users"],
            "CREATE EXTENSION citext SCHEMA public;",
        ),
        ("users", "CREATE TABLE \"li\nne\" (a int)", "DROP TABLE \"li\nne\"", &["users", "li\nne"], "has a control character"),
        (
            "users",
            "CREATE SCHEMA pgisle_split CREATE TABLE job (service text); INSERT INTO pgisle_split.job VALUES ('users')",
            "DROP SCHEMA pgisle_split CASCADE",
            &["users"],
            "pgisle is splitting this service out of link_app",
        ),
    ];
    for (service, before, after, tables, reason) in cases {
        shop.cluster.psql_in("link_app", before).await;
        let users = shop.project.spec.services.get_mut(&service_name(service)).unwrap();
        users.tables = tables.iter().map(|&table| table.to_owned()).collect();
        shop.write_scripts();
        let output = shop.migrate(&[]).await;
        assert_refused(&shop, &output, reason).await;
        shop.cluster.psql_in("link_app", after).await;
    }
}

#[tokio::test]
async fn what_is_in_the_service_database_is_never_overwritten() {
    let shop = Shop::new().await;
    shop.cluster.psql_in("link_users", "SET ROLE link_users_owner; CREATE TABLE users (id int)").await;
    assert_failure(&shop.migrate(&[]).await, "database link_users has some of the tables and not all: public.users");
    shop.cluster.psql_in("link_users", "DROP TABLE users; SET ROLE link_users_owner; CREATE TYPE mood AS ENUM ('x')").await;
    let output = shop.migrate(&[]).await;
    assert_failure(&output, "type \"mood\" already exists");
    shop.cluster.psql_in("link_users", "DROP TYPE mood").await;
    shop.assert_not_moved().await;
    shop.cluster.psql("ALTER DATABASE link_users RENAME TO elsewhere").await;
    assert_failure(&shop.migrate(&[]).await, "database link_users or its owner role link_users_owner does not exist");
}

#[tokio::test]
async fn looking_changes_nothing() {
    let shop = Shop::new().await;
    let output = shop.migrate(&["--dry-run"]).await;
    assert_success(&output);
    let shown = output.text();
    for line in [
        "  table          public.users\n",
        "  sequence       public.\"free number\"\n",
        "  type           public.pair\n",
        "  partitioned    public.events\n",
    ] {
        assert!(shown.contains(line), "{line:?} in {shown}");
    }
    assert!(!shown.contains("public.rooms") && !shown.contains("untouched"), "{shown}");
    shop.assert_not_moved().await;
    let unsure = shop.script("users").run_to_end().await.unwrap();
    assert_refused(&shop, &unsure, "not confirmed").await;
    let help = shop.script("users").argument("--help").run_to_end().await.unwrap();
    assert!(help.status.success() && help.text().contains("--dry-run"), "{}", help.text());
    let wrong = shop.script("users").argument("--clos").run_to_end().await.unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
}

#[tokio::test]
async fn a_wrong_password_is_told_and_shown_nowhere() {
    let shop = Shop::new().await;
    let wrong = shop.script("users").argument("-y").environment("PGPASSFILE", "/nonexistent");
    let output = wrong.environment("PGPASSWORD", "not this one").run_to_end().await.unwrap();
    assert_refused(&shop, &output, "password authentication failed").await;
    assert_failure(&output, "the password comes from ~/.pgpass");
    assert!(!said(&output).contains("not this one"));
    // And with the right one in the environment it goes.
    let right = shop.script("users").argument("-y").environment("PGPASSFILE", "/nonexistent");
    assert_success(&right.environment("PGPASSWORD", shop.cluster.password()).run_to_end().await.unwrap());
    assert!(!shop.cluster.log().contains(shop.cluster.password()));
}

#[tokio::test]
async fn tables_of_several_owners_need_a_superuser() {
    let cluster = Cluster::start().await;
    let mut project = Project::plain(&cluster, TWO).await;
    let password = "of platform";
    cluster.psql(&format!("ALTER ROLE platform PASSWORD '{password}'; CREATE ROLE other")).await;
    project.connect = login(&cluster, "platform", password);
    let shop = Shop::filled(cluster, project, "platform", password).await;
    shop.cluster.psql_in("link_app", "ALTER TABLE secrets OWNER TO other").await;
    assert_refused(&shop, &shop.migrate(&[]).await, "the tables have several owners (other platform)").await;
    // One other owner, whose rights the administrator may take.
    let give = "DO $$DECLARE t regclass; BEGIN FOR t IN SELECT oid FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm') \
                AND pg_get_userbyid(relowner) = 'platform' LOOP EXECUTE format('ALTER TABLE %s OWNER TO other', t); END LOOP; END$$; \
                GRANT other TO platform; GRANT USAGE ON SCHEMA \"Odd \"\"schema\" TO other";
    shop.cluster.psql_in("link_app", give).await;
    shop.cluster
        .psql_in("link_app", "ALTER SEQUENCE \"free number\" OWNER TO other; GRANT ALL ON SEQUENCE untouched TO other")
        .await;
    let before = shop.content("link_app").await;
    assert_success(&shop.migrate(&["--close"]).await);
    assert_eq!(shop.content("link_users").await, before);
}
