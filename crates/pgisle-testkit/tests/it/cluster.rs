//! A cluster's life: start, use, kill, restart, drop.

use std::time::{Duration, Instant};

use pgisle_testkit::Cluster;

#[tokio::test]
async fn every_version_starts_and_answers() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let version = cluster.psql("SHOW server_version_num").await;
        assert_eq!(version.parse::<u32>().unwrap() / 10_000, major);
        assert_eq!(cluster.psql("SELECT 1, NULL, 'a'; SELECT 2").await, "1||a\n2");
        let locale =
            cluster.psql("SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'template1'").await;
        assert_eq!(locale, "UTF8|C.UTF-8");
    }
}

#[tokio::test]
async fn a_second_cluster_takes_less_than_a_second() {
    let _first = Cluster::start().await;
    let start = Instant::now();
    let _second = Cluster::start().await;
    // Half a second on an idle machine is the aim; other tests run at the same time.
    assert!(start.elapsed() < Duration::from_secs(3), "took {:?}", start.elapsed());
}
