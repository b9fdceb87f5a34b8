//! The server's disk fills while a service moves.

use pgisle_core::split::{JobState, Strategy};
use pgisle_engine::split;
use pgisle_testkit::{Cluster, Ledger, skip};

use super::ledger::{home, writer};
use super::moving::{filled, request};
use super::returning::{majors, told};
use crate::backup::disk::SmallDisk;

/// Some 40 MB.
const LARGE: &str = "INSERT INTO messages (room_id, sender_id, body) \
    SELECT 1 + n % 300, 1 + n % 2000, repeat(md5(n::text), 20) FROM generate_series(1, 60000) AS n";

/// Room for what is there, and not for as much again.
async fn small_disk(cluster: &Cluster) -> Option<SmallDisk> {
    cluster.psql("CHECKPOINT").await;
    let there: u32 =
        cluster.psql("SELECT sum(pg_database_size(oid)) / 1048576 FROM pg_database").await.split('.').next()?.parse().ok()?;
    SmallDisk::under(cluster, "base", there + 25).await
}

#[tokio::test]
async fn a_disk_that_fills_is_told_and_the_service_goes_on_where_it_is() {
    for strategy in [Strategy::Stream, Strategy::Copy] {
        let (cluster, project) = filled(majors().await[0]).await;
        cluster.psql_in("link_app", LARGE).await;
        let apply = project.request();
        let request = request(&apply, &project, "chat");
        let Some(disk) = small_disk(&cluster).await else { skip!("no file system may be mounted here") };
        let ran = split::run(&request, Some(strategy), &|_| {}).await;
        let error = match ran {
            Err(error) => error,
            Ok(_) => split::cutover(&request, &|_| {}).await.unwrap_err(),
        };
        let text = told(&error);
        assert!(text.contains("PI1011") && text.contains("No space left on device") && text.contains("hint: "), "{text}");
        assert_eq!(home(&cluster).await, "link_app", "{text}");
        // It gives the room back, and with more of it, it moves.
        split::rollback(&request, false, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
        assert_eq!(cluster.psql("SELECT count(*) FROM pg_database WHERE datname LIKE '%\\_\\_%'").await, "0");
        disk.grow(400).await;
        let writer = writer(&cluster, std::time::Duration::from_millis(10));
        split::run(&request, Some(strategy), &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
        let cut = split::cutover(&request, &|_| {}).await.unwrap_or_else(|error| panic!("{}", told(&error)));
        assert_eq!(cut.job.state, JobState::Cut);
        assert!(cut.receipt.unwrap().is_equal);
        Ledger::assert_kept(&cluster, "link_chat", &[writer.stop().await]).await;
    }
}
