//! The content of a live database is that of its dump.

use std::collections::BTreeMap;

use pgisle_core::backup::archive;
use pgisle_engine::backup::content::{Columns, Reading, content};
use pgisle_testkit::Cluster;

use super::{NASTY, pg_dump};
use crate::postgres::{database, login, role, superuser};

#[tokio::test]
async fn a_live_database_holds_what_its_dump_holds() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        cluster.psql("CREATE ROLE auditor").await;
        cluster.psql("CREATE DATABASE nasty TEMPLATE template0 ENCODING 'UTF8'").await;
        cluster.psql_in("nasty", NASTY).await;
        let dumped = archive::read(pg_dump(&cluster, "nasty", &["-Fc", "-Z0"]).await.as_slice()).unwrap().content;
        let connect = superuser(&cluster).to_database(&database("nasty"));
        for parallelism in [1, 4] {
            let reading = Reading {
                connect: &connect,
                act_as: None,
                snapshot: None,
                columns: &Columns::new(),
                parallelism,
                only: None,
                binary: None,
            };
            let found = content(&reading, &|_| {}).await.unwrap();
            assert_eq!(dumped.differences(&found), Vec::<String>::new(), "{major} with {parallelism}");
        }
        assert_eq!((dumped.large_objects.count, dumped.tables.len()), (2, 11), "{major}");
    }
}

#[tokio::test]
async fn an_older_snapshot_and_another_role_can_be_read_as() {
    let cluster = Cluster::start().await;
    cluster.psql("CREATE ROLE keeper; CREATE ROLE reader LOGIN NOINHERIT PASSWORD 'x'; GRANT keeper TO reader").await;
    cluster.psql("CREATE DATABASE shop TEMPLATE template0").await;
    cluster.psql_in("shop", "CREATE TABLE t (a int, b int); ALTER TABLE t OWNER TO keeper; INSERT INTO t VALUES (1, 2)").await;
    cluster.psql_in("shop", "ALTER TABLE t ENABLE ROW LEVEL SECURITY").await;
    let holder = cluster.connect_to("shop").await;
    holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let snapshot: String = holder.query_one("SELECT pg_export_snapshot()", &[]).await.unwrap().get(0);
    cluster.psql_in("shop", "INSERT INTO t VALUES (3, 4)").await;

    let (connect, keeper, columns) =
        (login(&cluster, "reader", "x").to_database(&database("shop")), role("keeper"), BTreeMap::new());
    let now = Reading {
        connect: &connect,
        act_as: Some(&keeper),
        snapshot: None,
        columns: &columns,
        parallelism: 2,
        only: None,
        binary: None,
    };
    let then = Reading { snapshot: Some(&snapshot), ..now };
    assert_eq!(content(&now, &|_| {}).await.unwrap().rows(), 2);
    let before = content(&then, &|_| {}).await.unwrap();
    assert_eq!(before.rows(), 1);
    // The columns come as they are asked for.
    let order = Columns::from([(("public".to_owned(), "t".to_owned()), vec!["b".to_owned(), "a".to_owned()])]);
    let turned = content(&Reading { columns: &order, ..then }, &|_| {}).await.unwrap();
    assert_eq!(before.differences(&turned).len(), 1);
    // Not as itself: it has no rights of its own, and that is no empty table.
    assert!(content(&Reading { act_as: None, ..now }, &|_| {}).await.is_err());
}
