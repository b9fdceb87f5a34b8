//! The server's disk fills while a dump is loaded.

use pgisle_testkit::{Cluster, skip};

use super::{Dump, TWO, remains, said};
use crate::apply::Project;
use crate::backup::disk::SmallDisk;

/// More than the small disks have room for.
const LARGE: &str = "CREATE TABLE t AS SELECT g AS n, repeat('x', 1000) AS x FROM generate_series(1, 60000) AS g;";

async fn site(cluster: &Cluster) -> Project {
    let project = Project::new(cluster, TWO);
    project.apply().await;
    cluster.psql_in("link_users", "SET ROLE link_users_owner; CREATE TABLE t AS SELECT 'live' AS n").await;
    project
}

async fn live(cluster: &Cluster) -> String {
    cluster.psql_in("link_users", "SELECT n FROM t").await
}

#[tokio::test]
async fn a_disk_that_fills_is_told_and_is_empty_again_behind_it() {
    let cluster = Cluster::start().await;
    let project = site(&cluster).await;
    let Some(disk) = SmallDisk::under(&cluster, "base", 90).await else { skip!("no file system may be mounted here") };
    let text = said(&Dump::new("large.sql", LARGE).restore(&project).await.unwrap_err());
    assert!(text.contains("PI0823") && text.contains("No space left on device") && text.contains("[53100]"), "{text}");
    assert!(text.contains("untouched") && text.contains("make room"), "{text}");
    assert_eq!(live(&cluster).await, "live");
    // A full disk may keep the server from dropping it, too: then that is told.
    assert!(remains(&cluster).await.is_empty() || text.contains("is still there"), "{text}");
    project.assert_settled().await;
    disk.grow(300).await;
    let restored = Dump::new("large.sql", LARGE).restore(&project).await;
    let restored = restored.unwrap_or_else(|error| panic!("{}", said(&error)));
    assert_eq!(restored.rows, 60_000);
    cluster.psql(&format!("DROP DATABASE {}", restored.replaced)).await;
    assert_eq!(remains(&cluster).await, "");
}

/// A server that cannot write its log any more stops altogether, and does not even start before it has room.
#[tokio::test]
async fn a_disk_that_fills_with_the_servers_log_leaves_the_live_database_and_the_next_run_finishes() {
    let cluster = Cluster::start().await;
    let project = site(&cluster).await;
    let Some(disk) = SmallDisk::under(&cluster, "pg_wal", 40).await else { skip!("no file system may be mounted here") };
    let text = said(&Dump::new("large.sql", LARGE).restore(&project).await.unwrap_err());
    assert!(text.contains("No space left on device") || text.contains("error[PI02"), "{text}");
    assert!(text.contains("untouched") && text.contains("is still there"), "{text}");
    disk.grow(400).await;
    cluster.restart().await;
    assert_eq!(live(&cluster).await, "live");
    let restored = Dump::new("large.sql", LARGE).restore(&project).await;
    let restored = restored.unwrap_or_else(|error| panic!("{}", said(&error)));
    assert_eq!((restored.rows, restored.removed.len()), (60_000, 2));
    cluster.psql(&format!("DROP DATABASE {}", restored.replaced)).await;
    assert_eq!(remains(&cluster).await, "");
    project.assert_settled().await;
}
