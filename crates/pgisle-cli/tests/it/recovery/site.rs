//! A cluster that archives its log by pgisle, with two services.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pgisle_core::backup::wal::setup;
use pgisle_core::spec::Environment;
use pgisle_engine::backup::{BackupStore, S3Environment, wal};
use pgisle_engine::process::Account;
use pgisle_testkit::Cluster;
use serde_json::Value;

use crate::program::Place;

const SPEC: &str = r#"
name_prefix         = "shop"
collation           = "C.UTF-8"
default_extensions  = []
postgres_sslmode    = "disable"
enable_ssl          = false
enable_pgbouncer    = false

service "orders" {}
service "billing" {}
"#;

/// What a server of this project is told.
pub(super) fn archive_command(place: &Place) -> String {
    setup::archive_command(env!("CARGO_BIN_EXE_pgisle"), place.project().to_str().unwrap(), false, &[])
}

/// The same for a recovery of the whole cluster by hand.
pub(super) fn restore_command(place: &Place) -> String {
    archive_command(place).replace("archive-wal %p", "fetch-wal %f %p")
}

pub(super) struct Site {
    pub(super) cluster: Cluster,
    pub(super) place: Place,
    /// Where the archive is.
    pub(super) wal: PathBuf,
}

impl Site {
    pub(super) async fn new(major: Option<u32>) -> Self {
        Self::with(major, "backup_storage_path = \"store\"\n", &[]).await
    }

    /// With more settings, and variables that the server has too.
    pub(super) async fn with(major: Option<u32>, settings: &str, variables: &[(&str, &str)]) -> Self {
        let place = Place::passable();
        place.file("pgisle.hcl", format!("{settings}{SPEC}"));
        let store = place.project().join("store");
        if let Some(account) = Account::for_servers().unwrap() {
            let none = S3Environment::default();
            let store = BackupStore::open(store.to_str().unwrap(), "shop", Environment::Development, &none).unwrap();
            wal::hand_over(&store, &account).unwrap();
        }
        let own = archive_command(&place);
        let words: String = variables.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let mut builder = Cluster::builder().conf("archive_mode", "on").conf("archive_command", &format!("{words}{own}"));
        if let Some(major) = major {
            builder = builder.major(major);
        }
        let cluster = builder.start().await;
        let place = variables.iter().fold(place, |place, (name, value)| place.variable(name, value));
        let place = place
            .variable("PGISLE_VAR_postgres_host", cluster.host())
            .variable("PGISLE_VAR_postgres_port", &cluster.port().to_string())
            .variable("PGISLE_VAR_postgres_username", cluster.superuser())
            .variable("PGPASSWORD", cluster.password());
        let wal = store.join("shop-development/wal");
        let site = Self { cluster, place, wal };
        site.run(&["apply", "-auto-approve"]);
        for service in ["orders", "billing"] {
            site.sql(service, &format!("SET ROLE shop_{service}_owner; CREATE TABLE t (n text)")).await;
        }
        site
    }

    /// Runs statements in a service's database.
    pub(super) async fn sql(&self, service: &str, sql: &str) -> String {
        self.cluster.psql_in(&format!("shop_{service}"), sql).await
    }

    pub(super) async fn insert(&self, text: &str) {
        self.sql("orders", &format!("INSERT INTO t VALUES ('{text}')")).await;
    }

    /// What a service sees, as itself.
    pub(super) async fn rows(&self) -> String {
        let passwords = self.place.pgisle(&["output", "-json", "service_passwords"]).stdout;
        let passwords: Value = serde_json::from_slice(&passwords).unwrap();
        let password = passwords["orders"].as_str().unwrap();
        let client = self.cluster.connect_as("shop_orders_user", password, "shop_orders").await.unwrap();
        let rows = client.query("SELECT n FROM t ORDER BY n", &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join(" ")
    }

    /// The server's time, between two transactions.
    pub(super) async fn now(&self) -> String {
        self.cluster.psql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')").await
    }

    /// Runs pgisle, and insists that all goes well.
    pub(super) fn run(&self, arguments: &[&str]) -> String {
        self.succeeded(arguments, self.place.pgisle(arguments))
    }

    /// The same while the test's other tasks go on.
    pub(super) async fn run_beside(&self, arguments: &[&str]) -> String {
        let output = self.place.run(arguments, &[]).await;
        self.succeeded(arguments, output)
    }

    fn succeeded(&self, arguments: &[&str], output: Output) -> String {
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}\n{}", self.cluster.log());
        text
    }

    /// Backs the cluster up. Times are told by the second, so only the next one is certainly later.
    pub(super) async fn back_up(&self) {
        self.run(&["backup", "create", "-cluster"]);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }

    /// The code of the only error, with all that is said.
    pub(super) fn refused(&self, arguments: &[&str]) -> (String, Value) {
        let output = self.place.pgisle(&[arguments, &["-json"]].concat());
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(!output.status.success(), "{document}");
        let error = document["diagnostics"].as_array().unwrap().iter().find(|one| one["severity"] == "error").unwrap();
        (error["code"].as_str().unwrap().to_owned(), error.clone())
    }

    /// Has the server archive what it has, and waits for that.
    pub(super) async fn archive(&self) -> String {
        self.cluster.psql("SELECT pg_current_xact_id()").await;
        let name = self.cluster.psql("SELECT pg_walfile_name(pg_switch_wal())").await;
        let seal = self.wal.join(&name[..8]).join(format!("{name}.json"));
        let waited = std::time::Instant::now();
        while !seal.exists() {
            assert!(waited.elapsed().as_secs() < 60, "{name} is not archived\n{}", self.cluster.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        name
    }

    /// Where a recovery's private server lives: inside the project, or in a refuge that the server's account can reach.
    pub(super) fn scratch(&self) -> Option<PathBuf> {
        let inside = self.place.project().canonicalize().unwrap().join(".pgisle/development/recover");
        let refuge = pgisle_engine::local::data_refuge(&inside);
        [inside, refuge].into_iter().find(|place| place.exists())
    }

    /// That nothing of a recovery is left: no folder, no server.
    pub(super) fn assert_nothing_left(&self) {
        assert_eq!(self.scratch(), None);
        assert!(!self.place.project().join(".pgisle/development/recover").exists());
    }
}

/// Processes that work below a folder.
pub(super) fn servers(folder: &Path) -> usize {
    processes(folder).len()
}

/// Their numbers.
pub(super) fn processes(folder: &Path) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let here = processes.filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)));
    here.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}

/// A service that writes all the time, one row a transaction.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    pub(super) async fn start(site: &Site) -> Self {
        let client = site.cluster.connect_to("shop_billing").await;
        let (stop, written) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&written));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                client.execute("INSERT INTO t VALUES ('bill')", &[]).await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        });
        Self { stop, written, task }
    }

    /// Ends, and says how many rows were acknowledged.
    pub(super) async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.written.load(Ordering::Relaxed)
    }
}
