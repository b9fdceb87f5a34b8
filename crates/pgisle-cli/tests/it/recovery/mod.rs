//! `restore SERVICE -at TIME`: one service goes back, and the others go on.

mod drill;
mod killed;
mod refused;
mod remote;
mod site;
mod timeline;
mod told;
mod trouble;

use pgisle_testkit::majors;
use serde_json::Value;

use site::{Site, Writer};

/// On every major version: what was there before the time is there, what came after is not, and the other service has lost nothing.
#[tokio::test]
async fn one_service_goes_back_and_the_others_go_on() {
    for major in majors().await {
        let site = Site::new(Some(major)).await;
        site.insert("first").await;
        site.back_up().await;
        let writer = Writer::start(&site).await;
        site.insert("before").await;
        let open = site.cluster.connect_to("shop_orders").await;
        open.batch_execute("BEGIN; INSERT INTO t VALUES ('uncommitted'); LOCK t IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let at = site.now().await;
        open.batch_execute("COMMIT").await.unwrap();
        site.sql("orders", "INSERT INTO t VALUES ('after'); DELETE FROM t WHERE n = 'before'").await;
        let text = site.run_beside(&["restore", "orders", "-at", &at, "-auto-approve"]).await;
        assert_eq!(site.rows().await, "before first", "{major}: {text}");
        assert!(text.contains("Reached ") && text.contains("Isolation is proved"), "{text}");
        let written = writer.end().await;
        assert_eq!(site.sql("billing", "SELECT count(*) FROM t").await, written.to_string());
        assert!(written > 10, "{written}");
        site.assert_nothing_left();
    }
}

/// Now is a time, too: what the server has not archived yet is archived for it. And the restore is undone as any other.
#[tokio::test]
async fn what_was_written_a_moment_ago_is_reached() {
    let site = Site::new(None).await;
    site.insert("first").await;
    site.back_up().await;
    site.insert("second").await;
    let then = site.now().await;
    site.sql("orders", "DELETE FROM t").await;
    site.run(&["restore", "orders", "-at", &then, "-auto-approve", "-no-verify"]);
    assert_eq!(site.rows().await, "first second");
    site.run(&["restore", "orders", "-undo", "-auto-approve", "-no-verify"]);
    assert_eq!(site.rows().await, "");
    site.insert("third").await;
    let now = site.now().await;
    let output = site.place.pgisle(&["restore", "orders", "-at", &now, "-auto-approve", "-no-verify", "-json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(site.rows().await, "third", "{document}");
    let recovered = &document["recovered"];
    let last = recovered["last_transaction"].as_str().unwrap();
    assert!(last < now.replace(' ', "T").as_str() && last > then.replace(' ', "T").as_str(), "{recovered}, {then}, {now}");
    assert!(recovered["wal_files"].as_u64().unwrap() > 0 && recovered["timeline"] == 1, "{recovered}");
    site.assert_nothing_left();
}
