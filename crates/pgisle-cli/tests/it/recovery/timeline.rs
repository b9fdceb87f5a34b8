//! Servers that were promoted, or brought back as a whole: the past that was lived at the time is followed.

use pgisle_core::backup::wal::PointInTime;
use pgisle_engine::local::server::write_private;
use pgisle_engine::process::Account;
use pgisle_testkit::Cluster;

use super::site::{Site, archive_command, restore_command};

impl Site {
    /// Brings the service back, and says which timeline was followed.
    fn back_to(&self, at: &str) -> u64 {
        let output = self.place.pgisle(&["restore", "orders", "-at", at, "-auto-approve", "-no-verify", "-json"]);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success(), "{document}");
        document["recovered"]["timeline"].as_u64().unwrap()
    }

    fn undo(&self) {
        self.run(&["restore", "orders", "-undo", "-auto-approve", "-no-verify"]);
    }
}

#[tokio::test]
async fn a_promotion_ends_no_past() {
    let site = Site::new(None).await;
    site.insert("one").await;
    site.back_up().await;
    let first = site.now().await;
    site.insert("two").await;
    site.archive().await;
    site.insert("three").await;
    let second = site.now().await;
    // What was written last is in a segment that is never full. Coming up from an archive begins a new timeline.
    site.cluster.psql("ALTER SYSTEM SET restore_command = 'false'").await;
    site.cluster.stop_server();
    let account = Account::for_servers().unwrap();
    write_private(&site.cluster.data_dir().join("recovery.signal"), "", account.as_ref()).unwrap();
    site.cluster.restart().await;
    // It lets readers in before it is up.
    let waited = std::time::Instant::now();
    while site.cluster.psql("SELECT pg_is_in_recovery()").await == "t" {
        assert!(waited.elapsed().as_secs() < 60, "it does not come up\n{}", site.cluster.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // The server goes on before its first checkpoint of the new timeline is made.
    site.cluster.psql("CHECKPOINT").await;
    assert_eq!(site.cluster.psql("SELECT timeline_id FROM pg_control_checkpoint()").await, "2");
    site.insert("four").await;
    let third = site.now().await;
    site.insert("five").await;
    for (at, rows) in [(&first, "one"), (&second, "one three two"), (&third, "four one three two")] {
        assert_eq!(site.back_to(at), 2);
        assert_eq!(site.rows().await, rows, "at {at}");
        site.undo();
    }
    // From a backup of the new timeline, whose name alone is in it.
    site.back_up().await;
    let fourth = site.now().await;
    site.insert("six").await;
    assert_eq!(site.back_to(&fourth), 2);
    assert_eq!(site.rows().await, "five four one three two");
    site.assert_nothing_left();
}

/// The whole cluster was brought back by hand, with `fetch-wal`. What was undone by that was lived all the same.
#[tokio::test]
async fn what_was_lived_and_undone_can_be_seen_again() {
    let mut site = Site::new(None).await;
    site.insert("one").await;
    site.back_up().await;
    let first = site.now().await;
    site.insert("two").await;
    let second = site.now().await;
    site.archive().await;
    site.insert("three").await;
    site.archive().await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    site.cluster.stop_server();
    let time = PointInTime::parse(&first).unwrap().setting();
    let unpacked = async |data: &std::path::Path| {
        site.run(&["backup", "unpack", data.to_str().unwrap()]);
        write_private(&data.join("recovery.signal"), "", Account::for_servers().unwrap().as_ref()).unwrap();
    };
    let builder = Cluster::builder().conf("archive_mode", "on").conf("archive_command", &archive_command(&site.place));
    let builder = builder.conf("restore_command", &restore_command(&site.place)).conf("recovery_target_time", &time);
    let builder = builder.conf("recovery_target_action", "promote");
    let cluster = builder.start_from(site.cluster.password(), unpacked).await;
    site.place = site.place.variable("PGISLE_VAR_postgres_port", &cluster.port().to_string());
    site.cluster = cluster;
    // It lets readers in before it has come up.
    while site.cluster.psql("SELECT pg_is_in_recovery()").await != "f" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(site.rows().await, "one");
    site.insert("other").await;
    let third = site.now().await;
    site.insert("last").await;
    for (at, timeline, rows) in [(&second, 1, "one two"), (&third, 2, "one other"), (&first, 1, "one")] {
        assert_eq!(site.back_to(at), timeline, "at {at}");
        assert_eq!(site.rows().await, rows, "at {at}");
        site.undo();
    }
}
