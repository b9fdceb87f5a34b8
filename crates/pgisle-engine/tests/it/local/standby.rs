//! A private cluster with a standby: made once, mended whatever was killed, and never a second server that takes writes.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use pgisle_core::diagnostic::Code;
use pgisle_engine::local::dev::{self, DevCluster, Standby, StandbyState, Status, UpChange, UpOptions};
use pgisle_engine::local::{LocalError, server};

use super::project::{Project, ask, connect, options};

fn wanted() -> UpOptions {
    UpOptions { standby: true, ..options() }
}

async fn up(project: &Project) -> (DevCluster, Standby) {
    let (cluster, _) = dev::up(project.path(), &wanted()).await.unwrap_or_else(|error| panic!("{}", error.diagnostic()));
    let standby = dev::standby(project.path()).await.unwrap().unwrap();
    assert!(matches!(standby.state, StandbyState::Streaming(_)), "{standby:?}");
    (cluster, standby)
}

fn at(cluster: &DevCluster, standby: &Standby) -> DevCluster {
    DevCluster { port: standby.port, data: standby.data.clone(), log: standby.log.clone(), ..cluster.clone() }
}

async fn wait_for(cluster: &DevCluster, query: &str, answer: &str) {
    let client = connect(cluster, false).await;
    for _ in 0..400 {
        if client.query_one(query, &[]).await.is_ok_and(|row| row.get::<_, String>(0) == answer) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never: {query} = {answer}");
}

async fn write_fails(cluster: &DevCluster) {
    let client = connect(cluster, false).await;
    let error = client.batch_execute("CREATE TABLE astray ()").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "25006", "{error}");
}

#[tokio::test]
async fn a_standby_follows_and_a_second_up_leaves_both_alone() {
    for major in [15, 17] {
        if !pgisle_testkit::majors().await.contains(&major) {
            pgisle_testkit::skip!("PostgreSQL {major} is not installed");
        }
        let project = Project::open();
        dev::up(project.path(), &UpOptions { major: Some(major), ..options() }).await.unwrap();
        assert_eq!(dev::standby(project.path()).await.unwrap(), None);
        let (cluster, standby) = up(&project).await;
        connect(&cluster, false).await.batch_execute("CREATE TABLE kept AS SELECT 'yes'::text AS kept").await.unwrap();
        wait_for(&at(&cluster, &standby), "SELECT kept FROM kept", "yes").await;
        write_fails(&at(&cluster, &standby)).await;
        // The password stands in no setting that a monitoring login could read.
        let settings = "SELECT string_agg(setting, ' ') FROM pg_settings";
        let shown = ask(&connect(&at(&cluster, &standby), false).await, settings).await;
        assert!(shown.contains("passfile=") && !shown.contains(cluster.password.expose()), "{shown}");

        let processes = [&cluster.data, &standby.data].map(|data| server::postmaster(data).unwrap().pid);
        assert_eq!(dev::up(project.path(), &wanted()).await.unwrap(), (cluster.clone(), UpChange::None));
        // One that has a standby keeps it, whoever asks.
        assert_eq!(dev::up(project.path(), &options()).await.unwrap(), (cluster.clone(), UpChange::None));
        assert_eq!([&cluster.data, &standby.data].map(|data| server::postmaster(data).unwrap().pid), processes);

        dev::down(project.path(), false).await.unwrap();
        assert!([&cluster.data, &standby.data].iter().all(|data| server::postmaster(data).is_none()));
        let (again, back) = up(&project).await;
        assert_eq!((again, back.port, &back.data), (cluster.clone(), standby.port, &standby.data));
        dev::down(project.path(), true).await.unwrap();
        assert!(!cluster.data.exists() && !standby.data.exists());
        assert_eq!(dev::status(project.path()).await.unwrap(), Status::Absent);
    }
}

#[tokio::test]
async fn what_happens_to_a_standby_is_mended() {
    let project = Project::open();
    let (cluster, standby) = up(&project).await;
    connect(&cluster, false).await.batch_execute("CREATE TABLE kept AS SELECT 'yes'::text AS kept").await.unwrap();
    // Killed, its port taken meanwhile.
    server::kill(&standby.data);
    assert_eq!(dev::standby(project.path()).await.unwrap().unwrap().state, StandbyState::Stopped);
    let _squatter = std::net::TcpListener::bind(("127.0.0.1", standby.port)).unwrap();
    let (_, moved) = up(&project).await;
    assert_ne!(moved.port, standby.port);
    // Its data lost.
    server::kill(&standby.data);
    fs::remove_dir_all(&standby.data).unwrap();
    let (_, copied) = up(&project).await;
    wait_for(&at(&cluster, &copied), "SELECT kept FROM kept", "yes").await;
    // Both killed.
    [&cluster.data, &standby.data].iter().for_each(|data| server::kill(data));
    let (again, _) = up(&project).await;
    assert_eq!(again, cluster);
    // The log that it needs next is gone.
    server::kill(&standby.data);
    let client = connect(&cluster, false).await;
    client.batch_execute("SELECT pg_drop_replication_slot('pgisle_standby')").await.unwrap();
    for _ in 0..3 {
        client
            .batch_execute("CREATE TABLE filler AS SELECT 1; DROP TABLE filler; SELECT pg_switch_wal(); CHECKPOINT")
            .await
            .unwrap();
    }
    up(&project).await;
}

#[tokio::test]
async fn killed_while_a_standby_is_made_the_next_up_ends_it() {
    let project = Project::open();
    let (cluster, _) = dev::up(project.path(), &options()).await.unwrap();
    for delay_ms in [20, 120, 300, 600] {
        let mut first = project.up_with_standby_in_process();
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        first.kill().unwrap();
        first.wait().unwrap();
        let (again, standby) = up(&project).await;
        assert_eq!(again.port, cluster.port);
        let folder = standby.data.parent().unwrap();
        let left: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!left.iter().any(|path| path.display().to_string().contains("unfinished")), "{delay_ms} ms: {left:?}");
        server::kill(&standby.data);
        fs::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test]
async fn a_standby_that_somebody_promoted_is_told_and_nothing_of_it_is_lost() {
    let project = Project::open();
    let (cluster, standby) = up(&project).await;
    let other = connect(&at(&cluster, &standby), false).await;
    other.batch_execute("SELECT pg_promote()").await.unwrap();
    other.batch_execute("CREATE TABLE elsewhere AS SELECT 'only here'::text AS t").await.unwrap();
    for _ in 0..2 {
        let error = dev::up(project.path(), &wanted()).await.unwrap_err();
        assert!(matches!(error, LocalError::TwoPrimaries { .. }), "{error}");
        let diagnostic = error.diagnostic();
        assert_eq!(diagnostic.code, Code::LOCAL_STANDBY);
        assert_eq!(diagnostic.commands, [format!("rm -r \"{}\"", standby.data.display())]);
    }
    assert_eq!(ask(&other, "SELECT t FROM elsewhere").await, "only here");
    // As the hint says.
    server::kill(&standby.data);
    fs::remove_dir_all(&standby.data).unwrap();
    up(&project).await;
}
