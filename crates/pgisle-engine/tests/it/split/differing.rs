//! Two sides that do not hold the same: told row by row, and nothing is lost on the way back.

use pgisle_core::split::Strategy;
use pgisle_engine::split::{self, Brought};

use super::moving::{filled, request};
use super::returning::{majors, told};
use crate::apply::rendered;

/// What somebody does to the new side, before anybody is let in.
const PLANTED: &str = "
    SET session_replication_role = replica;
    DELETE FROM users WHERE id BETWEEN 10 AND 12;
    UPDATE users SET display_name = 'someone else' WHERE id IN (11, 500);
    UPDATE sessions SET device = 'none' WHERE user_id = 3;
    DELETE FROM blocks WHERE blocker_id = 7;
    INSERT INTO blocks VALUES (2000, 1, 'never');";

/// All users but the one that writes.
const OTHERS: &str = "SELECT md5(string_agg(u::text, ',' ORDER BY id)) FROM users AS u WHERE id <> 1";

#[tokio::test]
async fn rows_that_differ_are_named_and_the_way_back_keeps_the_old_ones() {
    let (cluster, project) = filled(majors().await[0]).await;
    let apply = project.request();
    let request = request(&apply, &project, "users");
    split::run(&request, Some(Strategy::Stream), &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    let new = cluster.psql("SELECT datname FROM pg_database WHERE datname LIKE 'link\\_users\\_\\_%'").await;
    let token = cluster.psql_in("link_app", "SELECT token FROM sessions WHERE user_id = 3").await;
    cluster.psql_in(&new, PLANTED).await;
    let before = cluster.psql_in("link_app", OTHERS).await;
    let cut = split::cutover(&request, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    let receipt = cut.receipt.unwrap();
    assert!(!receipt.is_equal);
    let mut ranges: Vec<String> = receipt.ranges.iter().map(ToString::to_string).collect();
    ranges.sort();
    let expected = [
        "public.blocks, blocker_id, blocked_id 2000, 1: 1 that the old side does not have".to_owned(),
        "public.blocks, blocker_id, blocked_id 7, 14: 1 missing".to_owned(),
        format!("public.sessions, token {token}: 1 changed"),
        "public.users, id 10 to 12: 3 missing".to_owned(),
        "public.users, id 500: 1 changed".to_owned(),
    ];
    assert_eq!(ranges, expected);
    let said = rendered(&cut.diagnostics);
    let words = ["PI1010", "public.users, id 10 to 12: 3 missing", "Nothing is lost", "pgisle split rollback users"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    // Whoever looks later reads the same.
    let status = split::status(&project.connect, &project.spec).await.unwrap();
    assert!(rendered(&status[0].diagnostics()).contains("id 500: 1 changed"));
    cluster.psql_in("link_users", "UPDATE users SET display_name = 'new' WHERE id = 1").await;
    let back = split::rollback(&request, false, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!(back.brought, Brought::Changes { changes: 1 });
    assert_eq!(cluster.psql_in("link_app", "SELECT display_name FROM users WHERE id = 1").await, "new");
    let after = cluster.psql_in("link_app", OTHERS).await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn rows_that_differ_are_not_copied_over_the_old_ones_unasked() {
    let (cluster, project) = filled(majors().await[0]).await;
    let apply = project.request();
    let request = request(&apply, &project, "users");
    split::run(&request, Some(Strategy::Copy), &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    split::cutover(&request, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    let unequal = "UPDATE pgisle_split.job SET document = replace(document, '\"is_equal\":true', '\"is_equal\":false')";
    cluster.psql_in("link_app", unequal).await;
    cluster.psql_in("link_users", PLANTED).await;
    let refused = told(&split::rollback(&request, false, &|_| {}).await.unwrap_err());
    assert!(refused.contains("PI1010") && refused.contains("would overwrite rows that differ"), "{refused}");
    assert_eq!(cluster.psql_in("link_app", "SELECT count(*) FROM users WHERE id BETWEEN 10 AND 12").await, "3");
    cluster
        .psql_in(
            "link_users",
            "INSERT INTO users (id, email, display_name) SELECT n, n || '@example.org', 'again' FROM generate_series(10, 12) AS n",
        )
        .await;
    let back = split::rollback(&request, true, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert!(matches!(back.brought, Brought::Copied { .. }), "{:?}", back.brought);
    assert_eq!(cluster.psql_in("link_app", "SELECT count(*) FROM users WHERE display_name = 'again'").await, "3");
}
