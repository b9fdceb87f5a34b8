//! A project with a private cluster and PgBouncer in front of it, as `pgisle dev up` makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio_postgres::{Config, NoTls};

/// The shared database, and the file that says whose its tables are.
const LINK_APP: &str = include_str!("../../../examples/link/link_app.sql");
const LINK: &str = include_str!("../../../examples/link/pgisle.hcl");
const ROWS: &str = include_str!("../bench/split.sql");

/// Bytes of the database for each message, indexes and all else included, measured: what the size is divided by.
const MESSAGE_BYTES: u64 = 330;

/// The project. Its cluster ends with the last of its clones.
#[derive(Clone)]
pub(super) struct Place(Arc<Project>);

struct Project {
    program: PathBuf,
    folder: TempDir,
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ended = command(&self.program, self.folder.path()).args(["dev", "down", "-destroy"]).output();
    }
}

fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("PGISLE_DEV", "1");
    command
}

impl Place {
    pub(super) fn new(program: PathBuf) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("pgisle-load-").tempdir()?;
        // In pool mode session PgBouncer has nothing that it could pause.
        fs::write(folder.path().join("pgisle.hcl"), format!("pgbouncer_pool_mode = \"transaction\"\n{LINK}"))?;
        Ok(Self(Arc::new(Project { program, folder })))
    }

    fn folder(&self) -> &Path {
        self.0.folder.path()
    }

    /// Runs a command, which must succeed, and gives its document.
    pub(super) fn pgisle(&self, words: &[&str]) -> Result<Value> {
        let output = command(&self.0.program, self.folder()).args(words).arg("-json").output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "pgisle {} failed: {said}{}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_str(&said).unwrap_or_default())
    }

    /// Starts the cluster, and makes a shared database of about that size, and the islands. Gives its bytes.
    pub(super) async fn fill(&self, megabytes: u64) -> Result<u64> {
        self.pgisle(&["dev", "up"])?;
        let rows = (megabytes * 1_000_000 / MESSAGE_BYTES).max(1000);
        let (client, connection) = self.admin("link_app").connect(NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(LINK_APP).await?;
        client.batch_execute(&ROWS.replace("ROWS", &rows.to_string())).await?;
        // By what the writers find their own messages again, and the server those that answer one that goes: without these, each
        // message that is deleted would be a look at all of them, and that is what would be measured.
        client.batch_execute("CREATE INDEX messages_body ON messages USING hash (body)").await?;
        client.batch_execute("CREATE INDEX messages_reply_to ON messages (reply_to)").await?;
        client.batch_execute("VACUUM ANALYZE").await?;
        let bytes: i64 = client.query_one("SELECT pg_database_size(current_database())", &[]).await?.get(0);
        drop(client);
        self.pgisle(&["apply", "-auto-approve"])?;
        Ok(u64::try_from(bytes)?)
    }

    /// Drops what reads the old tables and would be in the way of their end.
    pub(super) async fn drop_readers(&self) -> Result<()> {
        let (client, connection) = self.admin("link_app").connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client.batch_execute("DROP VIEW room_overview").await?)
    }

    /// The administrator, without PgBouncer.
    pub(super) fn admin(&self, database: &str) -> Config {
        let read = || -> Result<Config> {
            let state: Value = serde_json::from_slice(&fs::read(self.folder().join(".pgisle/dev/dev.json"))?)?;
            let text = |name: &str| state[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
            let mut config = Config::new();
            config.host(text("host")?).port(u16::try_from(state["port"].as_u64().unwrap_or_default())?);
            config.user(text("admin")?).password(text("password")?).dbname(database);
            Ok(config)
        };
        // Whoever connects with it will say that it leads nowhere.
        read().unwrap_or_default()
    }

    /// A service's own address, through PgBouncer, as its env file has it.
    pub(super) fn pooled(&self, service: &str) -> Result<Config> {
        let path = self.folder().join(format!("generated/development/.env/.env.{service}"));
        let text = fs::read_to_string(&path)?;
        let url = text.lines().find_map(|line| line.strip_prefix("DATABASE_POOL_URL=")).context("no address of PgBouncer")?;
        Ok(url.trim_matches('\'').parse()?)
    }
}
