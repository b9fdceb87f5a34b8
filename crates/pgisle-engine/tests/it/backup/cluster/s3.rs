//! The same on a server that speaks S3.

use pgisle_engine::backup::{BackupError, cluster};
use pgisle_testkit::skip;

use super::super::s3::open;
use super::super::site::{ONE, Site, files};
use super::{create, list, revive};

#[tokio::test]
async fn a_cluster_comes_back_from_s3() {
    let Some(server) = pgisle_testkit::S3Server::start().await else { skip!("s3s-fs is not installed") };
    let mut site = Site::new(ONE).await;
    site.fill("users", "CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) AS g").await;
    site.store = open(&server);
    let backup = create(&site).await;
    assert_eq!(list(&site).await.backups.as_slice(), std::slice::from_ref(&backup));
    let revived = revive(&site, &backup).await;
    assert_eq!(revived.psql_in("link_users", "SELECT sum(g) FROM t").await, "500500");
    // The server keeps plain files, so a disk that forgets a bit can be played.
    let data = files(server.folder()).into_iter().find(|path| path.ends_with("base.tar.zst")).unwrap();
    let mut bytes = std::fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    let result = cluster::verify(&site.store, &backup, &site.identities, &|_| {}).await;
    assert!(matches!(result, Err(BackupError::Damaged { .. })), "{result:?}");
    assert_eq!(list(&site).await.newest_proved(), None);
}
