//! A server with a shared database, a service that writes, and what must be true of both whatever is killed.

use std::time::Duration;

use pgisle_testkit::{Builder, Cluster, Config, Homes, Ledger, Watch, Writer};
use serde_json::Value;

use crate::faults::{ends, text};
use crate::program::Place;

pub(super) const SPEC: &str = r#"
environment        = "development"
name_prefix        = "link"
postgres_database  = "link_app"
collation          = "C.UTF-8"
default_extensions = []
enable_pgbouncer   = false
postgres_sslmode   = "disable"
enable_ssl         = false

service "users" {
  tables = ["users"]
}

service "chat" {
  tables = ["chat_rooms", "messages"]
}
"#;

const SHARED: &str = include_str!("shared.sql");

pub(super) const OLD: &str = "link_app";
pub(super) const NEW: &str = "link_chat";

pub(super) const CUTOVER: &[&str] = &["split", "cutover", "chat", "-auto-approve"];
pub(super) const ROLLBACK: &[&str] = &["split", "rollback", "chat", "-auto-approve"];
pub(super) const FINALIZE: &[&str] = &["split", "finalize", "chat", "-auto-approve"];
/// `split finalize` although the service is there by its own login.
pub(super) const FORGET: &[&str] = &["split", "finalize", "chat", "-auto-approve", "-force"];
pub(super) const DROP: &[&str] = &["split", "finalize", "chat", "-auto-approve", "-drop"];

/// `split run` by a strategy.
pub(super) fn run_by(strategy: &'static str) -> &'static [&'static str] {
    match strategy {
        "stream" => &["split", "run", "chat", "-strategy=stream"],
        "copy" => &["split", "run", "chat", "-strategy=copy"],
        "clone" => &["split", "run", "chat", "-strategy=clone"],
        other => panic!("{other}"),
    }
}

/// What a split could leave behind, a line each.
const FURNITURE: &str = "
    SELECT 'slot ' || slot_name FROM pg_replication_slots
    UNION ALL SELECT 'database ' || datname || CASE WHEN datallowconn OR datname = 'template0' THEN '' ELSE ' closed' END FROM pg_database
    UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY 1";

/// The same within a database, with what fires, refers and is valid.
const FURNITURE_WITHIN: &str = "
    SELECT 'publication ' || pubname FROM pg_publication
    UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' OR nspname LIKE 'pgisle%'
    UNION ALL SELECT 'trigger ' || tgrelid::regclass || ' ' || tgname || ' ' || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'key ' || conrelid::regclass || ' ' || conname || ' ' || convalidated::text || ' ' || pg_get_constraintdef(oid)
      FROM pg_constraint WHERE contype = 'f'
    UNION ALL SELECT 'index ' || indexrelid::regclass || ' ' || indisvalid::text FROM pg_index
      WHERE indrelid > 16383 AND indrelid::regclass::text NOT LIKE 'pg_toast%'
    UNION ALL SELECT 'relation ' || oid::regclass || ' ' || relkind::text FROM pg_class WHERE oid > 16383 AND relkind IN ('r', 'v', 'S')
    ORDER BY 1";

/// A server with the shared database, and islands that are empty still.
pub(super) struct Stand {
    pub(super) cluster: Cluster,
    pub(super) place: Place,
    /// What is there without a split.
    before: String,
}

impl Stand {
    pub(super) async fn new(builder: Builder) -> Self {
        Self::at(builder, Place::new(), SPEC).await
    }

    /// In a place of its own, with a file of its own.
    pub(super) async fn at(builder: Builder, place: Place, spec: &str) -> Self {
        let cluster = builder.conf("wal_level", "logical").start().await;
        let place = place
            .variable("PGISLE_VAR_postgres_host", cluster.host())
            .variable("PGISLE_VAR_postgres_port", &cluster.port().to_string())
            .variable("PGISLE_VAR_postgres_username", cluster.superuser())
            .variable("PGPASSWORD", cluster.password());
        place.file("pgisle.hcl", spec);
        let mut stand = Self { cluster, place, before: String::new() };
        stand.begin_again().await;
        stand.before = stand.furniture().await;
        stand
    }

    /// Makes the shared database and the islands anew.
    pub(super) async fn begin_again(&self) {
        for home in [OLD, NEW] {
            self.cluster.psql(&format!("DROP DATABASE IF EXISTS {home} WITH (FORCE)")).await;
        }
        self.cluster.psql(&format!("CREATE DATABASE {OLD} TEMPLATE template0 ENCODING 'UTF8'")).await;
        self.cluster.psql_in(OLD, SHARED).await;
        self.ends(&["apply", "-auto-approve"], 0).await;
    }

    /// Runs pgisle, and insists on how it ends.
    pub(super) async fn ends(&self, arguments: &[&str], code: i32) -> String {
        ends(&self.place, arguments, code).await
    }

    /// The service's own login, in a database.
    fn service(&self, database: &str) -> Config {
        let store: Value = serde_json::from_str(&self.place.read(".pgisle/development/credentials.json")).unwrap();
        let login = &store["services"]["chat"]["active"];
        self.cluster.config(login["role"].as_str().unwrap(), login["password"].as_str().unwrap(), database)
    }

    /// Who else has always written there.
    pub(super) fn other(&self, database: &str) -> Config {
        self.cluster.config(self.cluster.superuser(), self.cluster.password(), database)
    }

    /// Where rows are taken: in the shared database by whoever has always written there, in the new home by the service, which must
    /// have been let in.
    pub(super) fn homes(&self) -> Homes {
        Homes::new(&[self.other(OLD), self.service(NEW)])
    }

    /// Where the service is at home, and how far its split is, in the journal's word; `none` without one. Rows are taken in one place,
    /// and it is the one that `status` names.
    pub(super) async fn home(&self) -> (String, String) {
        let home = self.homes().the_one().await;
        // Whoever stays is kept out of nothing.
        self.cluster.psql_in(OLD, "UPDATE users SET name = 'again' WHERE id = 1").await;
        let Some(status) = self.status().await else { return (home, "none".to_owned()) };
        let state = status["state"].as_str().unwrap().to_owned();
        assert_eq!(status["home"], home.as_str(), "{status:#}");
        assert_eq!(home == NEW, matches!(state.as_str(), "cut" | "finalized"), "{status:#}");
        (home, state)
    }

    /// What `status` says of the service; none when it knows of no split.
    pub(super) async fn status(&self) -> Option<Value> {
        let output = self.place.run(&["split", "status", "chat", "-json"], &[]).await;
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
        assert!(output.status.success(), "{document:#}");
        document["splits"].get(0).cloned()
    }

    /// What is there, apart from rows.
    pub(super) async fn furniture(&self) -> String {
        let mut all = self.cluster.psql(FURNITURE).await;
        for database in [OLD, NEW] {
            all.push_str(&format!("\n-- {database}\n{}", self.cluster.psql_in(database, FURNITURE_WITHIN).await));
        }
        all
    }

    /// The service is at home where it began. Forgets that it was split: everything is as it was.
    pub(super) async fn assert_forgotten(&self, point: &str) {
        match self.home().await {
            (home, state) if home == OLD && state == "none" => {}
            (home, state) if home == OLD && state == "returned" => drop(self.ends(FORGET, 0).await),
            home => panic!("{point}: {home:?}"),
        }
        assert_same(&self.before, &self.furniture().await, point);
    }

    /// Lets services write.
    pub(super) fn traffic(&self) -> Traffic {
        let pause = Duration::from_millis(60);
        // One who gets in everywhere, one whom the service's own database has to let in, and the service's own login throughout.
        let places =
            [[self.other(OLD), self.other(NEW)], [self.other(OLD), self.service(NEW)], [self.service(OLD), self.service(NEW)]];
        self.traffic_of(places.map(|places| Writer::start(places.to_vec(), pause)).into())
    }

    /// The same with these writers.
    pub(super) fn traffic_of(&self, writers: Vec<Writer>) -> Traffic {
        Traffic { writers, watch: self.homes().watch() }
    }
}

/// Compares what is there, and shows the lines that differ.
pub(super) fn assert_same(expected: &str, found: &str, point: &str) {
    let only_in = |one: &str, other: &str| -> Vec<String> {
        one.lines().filter(|line| !other.lines().any(|same| same == *line)).map(str::to_owned).collect()
    };
    assert!(expected == found, "{point}: missing {:#?}, and instead {:#?}", only_in(expected, found), only_in(found, expected));
}

/// Those who write, and one who looks that no two places take rows.
pub(super) struct Traffic {
    writers: Vec<Writer>,
    watch: Watch,
}

impl Traffic {
    /// Ends it: every acknowledged row is in this database, once. Gives what each writer saw.
    pub(super) async fn assert_kept_by(self, stand: &Stand, home: &str) -> Vec<Ledger> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut ledgers = Vec::new();
        for writer in self.writers {
            ledgers.push(writer.stop().await);
        }
        let looks = self.watch.stop().await;
        assert!(looks > 3, "only {looks} looks");
        Ledger::assert_kept(&stand.cluster, home, &ledgers).await;
        assert!(ledgers.iter().all(|ledger| ledger.kept.len() > 10), "{ledgers:?}");
        let behind = "SELECT (SELECT max(receipt) FROM messages) > (SELECT last_value FROM receipts) \
            OR (SELECT max(id) FROM chat_rooms) > (SELECT last_value FROM chat_rooms_id_seq)";
        assert_eq!(stand.cluster.psql_in(home, behind).await, "f", "a sequence is behind");
        stand.ends(&["plan", "-detailed-exitcode"], 0).await;
        let said = stand.ends(&["verify"], 0).await;
        assert!(said.contains("isolated"), "{said}");
        ledgers
    }
}
