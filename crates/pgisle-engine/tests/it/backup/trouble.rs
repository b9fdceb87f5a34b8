//! Programs and servers that die, disks that fill: nothing of it is ever taken for a backup, and the next run goes as usual.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pgisle_testkit::skip;

use super::disk::SmallDisk;
use super::site::{ONE, Site, failure, files};
use super::store::folder_store;

/// A transaction that keeps `pg_dump` from going on.
const HOLD: &str = "BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE";

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(20), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The `pg_dump` that was started for this cluster.
fn dump_process(port: u16) -> Option<i32> {
    let wanted = format!("PGPORT={port}");
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    processes.into_iter().find(|pid| {
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        read("comm") == b"pg_dump\n" && read("environ").split(|&byte| byte == 0).any(|one| one == wanted.as_bytes())
    })
}

async fn held_site() -> (Site, tokio_postgres::Client) {
    let site = Site::new(ONE).await;
    site.fill("users", "CREATE TABLE held AS SELECT generate_series(1, 100) AS n").await;
    let holder = site.cluster.connect_to("link_users").await;
    holder.batch_execute(HOLD).await.unwrap();
    (site, holder)
}

#[tokio::test]
async fn a_pg_dump_that_is_killed_leaves_nothing() {
    let (site, holder) = held_site().await;
    let port = site.cluster.port();
    let killing = async {
        until("pg_dump", async || dump_process(port).is_some()).await;
        let pid = rustix::process::Pid::from_raw(dump_process(port).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    let (made, ()) = tokio::join!(site.create(), killing);
    let text = failure(made);
    assert!(text.contains("PI0805") && text.contains("signal: 9"), "{text}");
    assert_eq!(files(&site.root()), Vec::<PathBuf>::new());
    holder.batch_execute("ROLLBACK").await.unwrap();
    site.backups().await;
}

#[tokio::test]
async fn an_interrupted_run_leaves_neither_its_programs_nor_its_files() {
    let (site, holder) = held_site().await;
    let port = site.cluster.port();
    {
        let services = [];
        let request = site.request(&services);
        let mut run = Box::pin(pgisle_engine::backup::create::create(&request, &|_| {}));
        let waiting = until("pg_dump", async || dump_process(port).is_some());
        tokio::select! {
            _ = &mut run => panic!("it cannot end"),
            () = waiting => {}
        }
        // As Ctrl-C does.
        drop(run);
    }
    until("the end of pg_dump", async || dump_process(port).is_none()).await;
    until("the removal of its file", async || files(&site.root()).is_empty()).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    site.backups().await;
}

#[tokio::test]
async fn a_server_that_is_killed_leaves_nothing() {
    let (site, _holder) = held_site().await;
    let port = site.cluster.port();
    let killing = async {
        until("pg_dump", async || dump_process(port).is_some()).await;
        site.cluster.kill_server();
    };
    let (made, ()) = tokio::join!(site.create(), killing);
    let text = failure(made);
    assert!(text.contains("PI0805") || text.contains("PI0208"), "{text}");
    assert_eq!(files(&site.root()), Vec::<PathBuf>::new());
    site.cluster.restart().await;
    site.backups().await;
}

#[tokio::test]
async fn a_disk_that_fills_leaves_nothing_and_one_that_would_is_not_begun() {
    let Some(disk) = SmallDisk::mount(30).await else { skip!("no file system may be mounted here") };
    let mut site = Site::new(ONE).await;
    site.store = folder_store(disk.path());
    let before = site.backups().await;
    // What was small last time is expected to be small; these bytes cannot be compressed.
    let fill = "CREATE EXTENSION pgcrypto SCHEMA public";
    site.cluster.psql_in("link_users", fill).await;
    site.fill("users", "CREATE TABLE large AS SELECT public.gen_random_bytes(1000) AS x FROM generate_series(1, 40000)").await;
    let text = failure(site.create().await);
    assert!(text.contains("PI0801") && text.contains("No space left"), "{text}");
    let listing = site.list().await;
    assert_eq!((listing.backups, listing.leftovers), (before.clone(), vec![]));
    site.verify(&before[0]).await.unwrap();

    let Some(smaller) = SmallDisk::mount(20).await else { skip!("no second file system may be mounted here") };
    site.store = folder_store(smaller.path());
    let services = [];
    let refused = pgisle_engine::backup::create::create(&site.request(&services), &|_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("PI0806"), "{refused}");
    assert_eq!(files(smaller.path()), Vec::<PathBuf>::new());
}
