//! The live database until, during and after the swap; and putting it back.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use pgisle_core::name::ServiceName;
use pgisle_core::secret::Secret;
use pgisle_engine::backup::restore::{self, RestoreError};
use pgisle_testkit::Cluster;

use super::{Dump, TWO, remains, said};
use crate::apply::Project;

fn users() -> ServiceName {
    ServiceName::parse("users").unwrap()
}

fn password(project: &Project) -> Secret {
    project.store.load().unwrap().services[&users()].active.secret.clone()
}

#[tokio::test]
async fn a_service_that_writes_is_only_interrupted() {
    for is_plain in [false, true] {
        let cluster = Cluster::start().await;
        let project = if is_plain { Project::plain(&cluster, TWO).await } else { Project::new(&cluster, TWO) };
        project.apply().await;
        cluster.psql_in("link_users", "SET ROLE link_users_owner; CREATE TABLE t (n int); INSERT INTO t VALUES (-1)").await;
        let dump = Dump::of_users(&cluster).await;
        let password = password(&project);
        let (stop, acknowledged) = (AtomicBool::new(false), AtomicU32::new(0));
        let writing = async {
            let mut refused = 0;
            while !stop.load(Ordering::SeqCst) {
                let Ok(client) = cluster.connect_as("link_users_user", password.expose(), "link_users").await else {
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                };
                while !stop.load(Ordering::SeqCst) && client.execute("INSERT INTO t VALUES (1)", &[]).await.is_ok() {
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            }
            refused
        };
        let restoring = async {
            let restored = dump.restore(&project).await;
            // The same password lets the service in again, and it writes.
            let before = acknowledged.load(Ordering::SeqCst);
            while restored.is_ok() && acknowledged.load(Ordering::SeqCst) < before + 5 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            stop.store(true, Ordering::SeqCst);
            restored
        };
        let (_refused, restored) = tokio::join!(writing, restoring);
        let restored = restored.unwrap_or_else(|error| panic!("{}", said(&error)));
        assert!(restored.pause < Duration::from_secs(5), "{:?}", restored.pause);
        let fresh: u32 = cluster.psql_in("link_users", "SELECT count(*) FROM t WHERE n = 1").await.parse().unwrap();
        // Nothing that was acknowledged is lost: it is in one of the two.
        let replaced = restored.replaced.as_str();
        cluster.psql(&format!("ALTER DATABASE \"{replaced}\" ALLOW_CONNECTIONS true")).await;
        let old: u32 = cluster.psql_in(replaced, "SELECT count(*) FROM t WHERE n = 1").await.parse().unwrap();
        assert!(fresh >= 5 && old + fresh >= acknowledged.load(Ordering::SeqCst), "{old} and {fresh}");
        project.assert_settled().await;
    }
}

#[tokio::test]
async fn what_was_replaced_is_put_back_and_pruned() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::plain(&cluster, TWO).await;
        project.apply().await;
        let service = project.spec.services[&users()].clone();
        let none = restore::undo(&project.request(), &service, &|_| {}).await.unwrap_err();
        assert!(matches!(none, RestoreError::NothingToUndo(_)), "{none}");
        cluster.psql_in("link_users", "SET ROLE link_users_owner; CREATE TABLE t AS SELECT 'old' AS n").await;
        let restored = Dump::new("new.sql", "CREATE TABLE t AS SELECT 'new' AS n;").restore(&project).await;
        let restored = restored.unwrap_or_else(|error| panic!("{major}: {}", said(&error)));
        assert_eq!(cluster.psql_in("link_users", "SELECT n FROM t").await, "new");

        let undone = restore::undo(&project.request(), &service, &|_| {}).await.unwrap_or_else(|error| panic!("{}", said(&error)));
        assert_eq!(undone.was, restored.replaced);
        assert_eq!(cluster.psql_in("link_users", "SELECT n FROM t").await, "old");
        project.assert_settled().await;
        cluster.connect_as("link_users_user", password(&project).expose(), "link_users").await.unwrap();
        // And once more, for who undid too much.
        restore::undo(&project.request(), &service, &|_| {}).await.unwrap();
        assert_eq!(cluster.psql_in("link_users", "SELECT n FROM t").await, "new");

        let kept = restore::prune(&project.request(), &service, 30, &|_| {}).await.unwrap();
        assert_eq!((kept.dropped.len(), kept.kept.len()), (0, 1));
        let pruned = restore::prune(&project.request(), &service, 0, &|_| {}).await.unwrap();
        assert_eq!((pruned.dropped.len(), pruned.kept.len()), (1, 0));
        assert_eq!(remains(&cluster).await, "", "{major}");
        project.assert_settled().await;
    }
}

#[tokio::test]
async fn whoever_cannot_be_made_to_leave_stops_the_swap_and_nothing_else() {
    let cluster = Cluster::builder().conf("max_prepared_transactions", "5").start().await;
    let project = Project::new(&cluster, TWO);
    project.apply().await;
    cluster.psql_in("link_users", "SET ROLE link_users_owner; CREATE TABLE live (n int)").await;
    let client = cluster.connect_to("link_users").await;
    client.batch_execute("BEGIN; INSERT INTO live VALUES (1); PREPARE TRANSACTION 'stuck'").await.unwrap();
    let error = Dump::new("new.sql", "SELECT 1;").restore(&project).await.unwrap_err();
    assert!(said(&error).contains("1 prepared transactions"), "{}", said(&error));
    assert_eq!(remains(&cluster).await, "");
    cluster.psql_in("link_users", "COMMIT PREPARED 'stuck'").await;
    assert_eq!(cluster.psql_in("link_users", "SELECT n FROM live").await, "1");
}

#[tokio::test]
async fn only_one_restores_at_a_time_and_drills_leave_nothing() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, TWO);
    project.apply().await;
    cluster.psql_in("link_users", "SET ROLE link_users_owner; CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) AS g").await;
    let dump = Dump::of_users(&cluster).await;
    let (one, other) = tokio::join!(dump.restore(&project), dump.restore(&project));
    let refused = [one, other].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1);
    assert!(said(&refused[0]).contains("\"pgisle restore users pid"), "{}", said(&refused[0]));
    let before = remains(&cluster).await;
    let drilled = dump.drill(&project).await.unwrap();
    assert_eq!(drilled.rows, 1000);
    assert_eq!(remains(&cluster).await, before);
    project.assert_settled().await;
}

#[tokio::test]
async fn an_extension_that_only_a_dba_can_make_is_waited_for() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        if !cluster.installation().vector {
            continue;
        }
        let project = Project::plain(&cluster, TWO).await;
        project.apply().await;
        cluster.psql_in("link_users", "CREATE EXTENSION vector SCHEMA public").await;
        cluster.psql_in("link_users", "SET ROLE link_users_owner; CREATE TABLE t AS SELECT '[1,2]'::vector AS v").await;
        let dump = Dump::of_users(&cluster).await;
        let error = dump.restore(&project).await.unwrap_err();
        let RestoreError::Extensions { statements, .. } = &error else { panic!("{}", said(&error)) };
        project.assert_settled().await;
        for statement in statements {
            cluster.psql_in(statement.database.as_ref().unwrap().as_str(), &statement.sql).await;
        }
        let restored = dump.restore(&project).await.unwrap_or_else(|error| panic!("{major}: {}", said(&error)));
        assert_eq!(restored.rows, 1);
        assert_eq!(remains(&cluster).await, restored.replaced.as_str());
    }
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, TWO);
    project.apply().await;
    let error = Dump::new("x.sql", "CREATE EXTENSION nobody_has_this;").restore(&project).await.unwrap_err();
    assert!(said(&error).contains("\"nobody_has_this\"") && said(&error).contains("PI0822"), "{}", said(&error));
}
