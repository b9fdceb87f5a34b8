//! All services at one moment, while a service moves money from one database to another.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgisle_core::credential::{Credential, Credentials};
use pgisle_engine::backup::catalog::Backup;
use pgisle_engine::local::pooler::{self, Pooler, PoolerOptions};
use pgisle_engine::local::{PgBouncer, find_pgbouncers};
use pgisle_engine::pooler::PoolerConsole;
use pgisle_engine::process::Account;
use pgisle_testkit::{Cluster, skip};
use tokio_postgres::{Client, Config, NoTls};

use super::site::{Site, TWO};

/// What both accounts have together, always.
const TOTAL: i64 = 1000;

const ACCOUNT: &str = "CREATE TABLE account (name text, balance bigint); INSERT INTO account VALUES ('savings', 500);
    CREATE TABLE ballast AS SELECT g, repeat('x', 100) AS x FROM generate_series(1, 20000) AS g;";

async fn client(port: u16, credentials: &Credentials, service: &str) -> Client {
    let login = &credentials.services[&super::site::service(service)].active;
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user(login.role.as_str()).password(login.secret.expose());
    config.dbname(format!("link_{service}"));
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Moves money there and back, in a transaction of each database. Both are open together, so that no one else sees them apart for
/// long; the commits are two.
async fn move_money(users: Client, chat: Client, goes_on: Arc<AtomicBool>, moves: Arc<AtomicU32>) {
    let mut amount = 7;
    while goes_on.load(Ordering::Relaxed) {
        users.batch_execute("BEGIN").await.unwrap();
        chat.batch_execute("BEGIN").await.unwrap();
        users.batch_execute(&format!("UPDATE account SET balance = balance - {amount}")).await.unwrap();
        chat.batch_execute(&format!("UPDATE account SET balance = balance + {amount}")).await.unwrap();
        users.batch_execute("COMMIT").await.unwrap();
        chat.batch_execute("COMMIT").await.unwrap();
        amount = -amount;
        moves.fetch_add(1, Ordering::Relaxed);
    }
}

async fn balance(site: &Site, backup: &Backup) -> i64 {
    let mut reader = backup.open(&site.store, &site.identities).await.unwrap();
    let bytes = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes = bytes.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let (_, rest) = text.split_once("savings\t").unwrap();
    rest.lines().next().unwrap().parse().unwrap()
}

async fn start(site: &Site, credentials: &Credentials, program: &PgBouncer, folder: &Path) -> Pooler {
    let console = credentials.pgbouncer.as_ref().unwrap();
    let (host, port) = (site.cluster.host(), site.cluster.port());
    let databases: String = ["users", "chat"].map(|name| format!("link_{name} = host={host} port={port}\n")).concat();
    let ini = format!(
        "[databases]\n{databases}\n[pgbouncer]\nauth_type = scram-sha-256\npool_mode = transaction\nadmin_users = {}\n",
        console.role
    );
    let services = credentials.services.values().flat_map(|service| service.logins());
    let userlist: String =
        services.chain([console]).map(|login| format!("\"{}\" \"{}\"\n", login.role, login.verifier.expose())).collect();
    let (ini_path, userlist_path) = (folder.join("generated.ini"), folder.join("generated.txt"));
    std::fs::write(&ini_path, ini).unwrap();
    std::fs::write(&userlist_path, userlist).unwrap();
    let options = PoolerOptions { ini: &ini_path, userlist: &userlist_path, port: None, settings: Vec::new(), lead: None };
    pooler::start(&folder.join("pooler"), Account::for_servers().unwrap().as_ref(), program, &options).await.unwrap()
}

fn console(port: u16, login: &Credential) -> PoolerConsole {
    PoolerConsole {
        host: "127.0.0.1".to_owned(),
        port,
        user: login.role.to_string(),
        password: login.secret.clone(),
        is_encrypted: false,
    }
}

/// A folder that the servers' account can read.
fn open_folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap()
}

async fn site() -> (Site, Credentials) {
    let site = Site::new(TWO).await;
    for service in ["users", "chat"] {
        site.fill(service, ACCOUNT).await;
    }
    let credentials = site.project.store.load().unwrap();
    (site, credentials)
}

#[tokio::test]
async fn money_that_is_under_way_is_in_the_set_once() {
    let programs = find_pgbouncers().await;
    if programs.is_empty() {
        skip!("PgBouncer is not installed");
    }
    for program in programs {
        let (mut site, credentials) = site().await;
        let folder = open_folder();
        let pooler = start(&site, &credentials, &program, folder.path()).await;
        let login = credentials.pgbouncer.as_ref().unwrap();
        site.consistent = true;
        site.poolers = vec![console(pooler.port, login)];
        let (goes_on, moves) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
        let (users, chat) = (client(pooler.port, &credentials, "users").await, client(pooler.port, &credentials, "chat").await);
        let mover = tokio::spawn(move_money(users, chat, Arc::clone(&goes_on), Arc::clone(&moves)));
        for _ in 0..5 {
            let before = moves.load(Ordering::Relaxed);
            let made = site.create().await;
            let set = made.set.clone().unwrap();
            assert!(set.is_consistent && made.warnings.is_empty(), "{set:?}");
            let backups: Vec<Backup> = made.services.into_iter().map(|one| one.outcome.unwrap()).collect();
            let sum = balance(&site, &backups[0]).await + balance(&site, &backups[1]).await;
            assert_eq!(sum, TOTAL, "PgBouncer {:?}, held back for {:?} ms", program.version, made.pause_ms);
            assert_eq!(backups[0].manifest.snapshot.transactions, backups[1].manifest.snapshot.transactions);
            assert!(moves.load(Ordering::Relaxed) > before, "the services go on while it is dumped");
        }
        goes_on.store(false, Ordering::Relaxed);
        mover.await.unwrap();
        assert!(pooler::stop(&folder.path().join("pooler")).await.unwrap());
    }
}

#[tokio::test]
async fn a_transaction_that_does_not_end_is_not_waited_for_and_the_services_go_on() {
    let Some(program) = find_pgbouncers().await.into_iter().next() else { skip!("PgBouncer is not installed") };
    let (mut site, credentials) = site().await;
    let folder = open_folder();
    let pooler = start(&site, &credentials, &program, folder.path()).await;
    let login = credentials.pgbouncer.as_ref().unwrap();
    site.consistent = true;
    let console = console(pooler.port, login);
    site.poolers = vec![console.clone()];
    let long = client(pooler.port, &credentials, "users").await;
    long.batch_execute("BEGIN; UPDATE account SET balance = balance").await.unwrap();
    let services = [];
    let refused = pgisle_engine::backup::create::create(&site.request(&services), &|_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("PI0809"), "{refused}");
    long.batch_execute("COMMIT").await.unwrap();
    let other = client(pooler.port, &credentials, "chat").await;
    other.batch_execute("UPDATE account SET balance = balance").await.unwrap();
    assert!(site.list().await.backups.is_empty());
    assert!(site.create().await.set.unwrap().is_consistent);
    // One who is not let into the console changes nothing either.
    site.poolers = vec![PoolerConsole { password: pgisle_core::secret::Secret::new("wrong"), ..console }];
    let refused = pgisle_engine::backup::create::create(&site.request(&services), &|_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("PI0809") && !refused.contains("wrong"), "{refused}");
    assert!(pooler::stop(&folder.path().join("pooler")).await.unwrap());
}

#[tokio::test]
async fn with_several_poolers_all_stand_still_at_once() {
    let Some(program) = find_pgbouncers().await.into_iter().next_back() else { skip!("PgBouncer is not installed") };
    let (mut site, credentials) = site().await;
    let folders = [open_folder(), open_folder()];
    let mut poolers = Vec::new();
    for folder in &folders {
        poolers.push(start(&site, &credentials, &program, folder.path()).await);
    }
    let login = credentials.pgbouncer.as_ref().unwrap();
    site.consistent = true;
    site.poolers = poolers.iter().map(|pooler| console(pooler.port, login)).collect();
    let (goes_on, moves) = (Arc::new(AtomicBool::new(true)), [(); 2].map(|()| Arc::new(AtomicU32::new(0))));
    let mut movers = Vec::new();
    for (pooler, moves) in poolers.iter().zip(&moves) {
        let (users, chat) = (client(pooler.port, &credentials, "users").await, client(pooler.port, &credentials, "chat").await);
        movers.push(tokio::spawn(move_money(users, chat, Arc::clone(&goes_on), Arc::clone(moves))));
    }
    for _ in 0..5 {
        let before = moves.each_ref().map(|moves| moves.load(Ordering::Relaxed));
        let made = site.create().await;
        let set = made.set.clone().unwrap();
        assert!(set.is_consistent && made.warnings.is_empty() && made.pause_ms.is_some(), "{set:?}");
        let backups: Vec<Backup> = made.services.into_iter().map(|one| one.outcome.unwrap()).collect();
        let sum = balance(&site, &backups[0]).await + balance(&site, &backups[1]).await;
        assert_eq!(sum, TOTAL, "held back for {:?} ms", made.pause_ms);
        assert_eq!(backups[0].manifest.snapshot.transactions, backups[1].manifest.snapshot.transactions);
        for (moves, before) in moves.iter().zip(before) {
            until(async || moves.load(Ordering::Relaxed) > before).await;
        }
    }
    goes_on.store(false, Ordering::Relaxed);
    for mover in movers {
        mover.await.unwrap();
    }

    // One that does not answer keeps the other from being paused at all; one that does not come to it lets the other go.
    let services = [];
    let gone = PoolerConsole { port: 1, ..console(poolers[0].port, login) };
    site.poolers = vec![console(poolers[0].port, login), gone];
    let refused = pgisle_engine::backup::create::create(&site.request(&services), &|_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("PI0809") && refused.contains("127.0.0.1:1"), "{refused}");
    let first = client(poolers[0].port, &credentials, "users").await;
    first.batch_execute("UPDATE account SET balance = balance").await.unwrap();

    site.poolers = poolers.iter().map(|pooler| console(pooler.port, login)).collect();
    let long = client(poolers[1].port, &credentials, "chat").await;
    long.batch_execute("BEGIN; UPDATE account SET balance = balance").await.unwrap();
    {
        let request = site.request(&services);
        let mut run = Box::pin(pgisle_engine::backup::create::create(&request, &|_| {}));
        let held_up = async {
            until(async || tokio::time::timeout(Duration::from_millis(100), first.batch_execute("SELECT 1")).await.is_err()).await;
        };
        tokio::select! {
            _ = &mut run => panic!("the second one cannot pause"),
            () = held_up => {}
        }
        // Like a kill: the guards see the end of their pipes.
        drop(run);
    }
    let third = client(poolers[0].port, &credentials, "users").await;
    let goes_on = tokio::time::timeout(Duration::from_secs(10), third.batch_execute("UPDATE account SET balance = balance")).await;
    goes_on.expect("the first PgBouncer goes on").unwrap();
    long.batch_execute("COMMIT").await.unwrap();
    assert!(site.create().await.set.unwrap().is_consistent);
    for folder in &folders {
        assert!(pooler::stop(&folder.path().join("pooler")).await.unwrap());
    }
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn without_pgbouncer_it_is_told_whether_it_was_one_moment() {
    let cluster = Cluster::start().await;
    let project = crate::apply::Project::new(&cluster, TWO);
    let mut site = Site::with(cluster, project).await;
    site.consistent = true;
    let quiet = site.create().await;
    assert!(quiet.set.as_ref().unwrap().is_consistent && quiet.pause_ms.is_none() && quiet.warnings.is_empty());
    site.cluster.psql("CREATE TABLE busy (n bigint)").await;
    let writers: Vec<_> = futures_util::future::join_all((0..4).map(async |_| site.cluster.connect().await)).await;
    let writing: Vec<_> = writers
        .into_iter()
        .map(|writer| tokio::spawn(async move { while writer.batch_execute("INSERT INTO busy VALUES (1)").await.is_ok() {} }))
        .collect();
    let made = site.create().await;
    writing.iter().for_each(|task| task.abort());
    let texts: std::collections::BTreeSet<String> =
        made.services.iter().map(|one| one.outcome.as_ref().unwrap().manifest.snapshot.transactions.clone()).collect();
    let set = made.set.unwrap();
    assert_eq!(set.is_consistent, texts.len() == 1, "it says what is so");
    assert_eq!(made.warnings.is_empty(), set.is_consistent);
}
