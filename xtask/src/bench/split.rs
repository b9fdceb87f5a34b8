//! `cargo xtask bench split`: what it costs to move the largest service out of a shared database, beside the ways that people have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pgisle_engine::local::find_program;
use pgisle_testkit::Cluster;
use serde_json::{Value, json};

use super::meter::{Cost, measure, measure_and_mark};
use super::site::{self, Site};

/// The shared database, and the file that says whose its tables are.
const LINK_APP: &str = include_str!("../../../examples/link/link_app.sql");
const LINK: &str = include_str!("../../../examples/link/pgisle.hcl");
const ROWS: &str = include_str!("split.sql");

/// Bytes of the database for each message, indexes and all else included, measured: what `-megabytes` is divided by.
const MESSAGE_BYTES: u64 = 330;

/// The tables of the chat.
const TABLES: [&str; 5] = ["chat_rooms", "messages", "room_members", "message_reads", "direct_conversations"];

/// What the tables of the chat need and `pg_dump -t` leaves out.
const NEEDED: &str = "
    CREATE TYPE room_kind AS ENUM ('direct', 'group', 'public');
    CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
    CREATE TABLE users (id bigint PRIMARY KEY)";

/// The load under which a cutover is rehearsed, transactions a second.
const LOAD_PER_SECOND: u32 = 400;

/// How often it is looked whether the home has moved.
const HOME_LOOK_EVERY: Duration = Duration::from_millis(10);

/// How often it is rehearsed.
const REHEARSALS: usize = 5;

/// What is measured. The order is the one of the table.
const SUBJECTS: [Subject; 5] = [Subject::Clone, Subject::Stream, Subject::Copy, Subject::Pgcopydb, Subject::Dump];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Clone,
    Stream,
    Copy,
    Pgcopydb,
    Dump,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Clone => "`pgisle split`, clone",
            Self::Stream => "`pgisle split`, stream",
            Self::Copy => "`pgisle split`, copy",
            Self::Pgcopydb => "`pgcopydb clone`, two jobs",
            Self::Dump => "`pg_dump \\| psql`",
        }
    }

    fn strategy(self) -> Option<&'static str> {
        match self {
            Self::Clone => Some("clone"),
            Self::Stream => Some("stream"),
            Self::Copy => Some("copy"),
            Self::Pgcopydb | Self::Dump => None,
        }
    }
}

/// How much, and how often.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// About how much data, MB.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    megabytes: u64,
    /// Of so many measurements the least counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// The least cost of a subject.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// Until the service's data is where it is to be.
    home: Cost,
    /// With the comparison of both sides, where there is one.
    compared: Option<Cost>,
    wal_bytes: u64,
    /// How long the service could not write, seconds.
    pause_s: f64,
}

impl Outcome {
    fn least(self, other: Self) -> Self {
        Self {
            home: self.home.least(other.home),
            compared: self.compared.zip(other.compared).map(|(one, other)| one.least(other)),
            wal_bytes: self.wal_bytes.min(other.wal_bytes),
            pause_s: self.pause_s.min(other.pause_s),
        }
    }
}

/// All that was found out.
struct Figures {
    version: String,
    shared_bytes: u64,
    chat_bytes: u64,
    results: Vec<(Subject, Outcome)>,
    /// The rehearsed pauses of `stream` under load, milliseconds, sorted.
    rehearsed_ms: Vec<u64>,
    /// What the load was, transactions a second.
    load_per_second: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let program = site::build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figures = runtime.block_on(figures(&program, options))?;
    if options.json {
        println!("{:#}", document(&figures, options.rounds));
    } else {
        println!("{}", render(&figures));
    }
    Ok(())
}

async fn figures(program: &Path, options: &Options) -> Result<Figures> {
    let majors =
        pgisle_testkit::installations().await.iter().filter(|found| found.vector && found.contrib).map(|found| found.major);
    let major = majors.max().context("no PostgreSQL with pgvector and contrib: scripts/components.sh test")?;
    let builder = Cluster::builder().major(major).conf("wal_level", "logical").conf("max_wal_size", "4GB");
    // Nothing but the server is measured.
    let site = Site::with(builder, &format!("enable_pgbouncer = false\n{LINK}")).await?;
    fill(&site, options).await?;
    let number = async |sql: &'static str| anyhow::Ok(site.cluster.psql_in("pristine", sql).await.parse::<u64>()?);
    let shared_bytes = number("SELECT pg_database_size('pristine')").await?;
    let chat_bytes =
        number("SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname IN ('chat_rooms', 'messages', 'room_members', 'message_reads', 'direct_conversations')")
            .await?;
    eprintln!("{} MB, the chat {} MB", shared_bytes / 1_000_000, chat_bytes / 1_000_000);
    let mut results: Vec<(Subject, Outcome)> = Vec::new();
    for _ in 0..options.rounds {
        for subject in SUBJECTS {
            let Some(outcome) = measure_one(&site, program, subject).await? else { continue };
            eprintln!(
                "{}: {:.2} s, {:.2} CPU s, pause {:.3} s",
                subject.name(),
                outcome.home.wall_s,
                outcome.home.cpu_s(),
                outcome.pause_s
            );
            match results.iter_mut().find(|(known, _)| *known == subject) {
                Some((_, least)) => *least = least.least(outcome),
                None => results.push((subject, outcome)),
            }
        }
    }
    let (rehearsed_ms, load_per_second) = rehearse(&site, program).await?;
    let version = site.cluster.installation().version.clone();
    Ok(Figures { version, shared_bytes, chat_bytes, results, rehearsed_ms, load_per_second })
}

/// Makes the database that every measurement begins with a copy of.
async fn fill(site: &Site, options: &Options) -> Result<()> {
    let rows = options.megabytes * 1_000_000 / MESSAGE_BYTES;
    site.cluster.try_psql_in("postgres", "CREATE DATABASE pristine TEMPLATE template0 ENCODING 'UTF8'").await?;
    site.cluster.try_psql_in("pristine", LINK_APP).await?;
    site.cluster.try_psql_in("pristine", &ROWS.replace("ROWS", &rows.to_string())).await?;
    site.cluster.try_psql_in("pristine", "VACUUM ANALYZE").await?;
    Ok(())
}

/// Puts everything back to where a split begins.
async fn begin(site: &Site, program: &Path) -> Result<()> {
    let (cluster, postmaster) = (&site.cluster, site.postmaster()?);
    let drop_slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
    cluster.try_psql_in("postgres", drop_slots).await?;
    for database in ["link_app", "link_chat", "target"] {
        cluster.try_psql_in("postgres", &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
    }
    cluster.try_psql_in("postgres", "CREATE DATABASE link_app TEMPLATE pristine STRATEGY FILE_COPY").await?;
    measure(postmaster, vec![vec![site.pgisle(program, &["apply", "-auto-approve"])]])?;
    cluster.try_psql_in("postgres", "CREATE DATABASE target TEMPLATE template0").await?;
    cluster.try_psql_in("postgres", "CHECKPOINT").await?;
    Ok(())
}

async fn log_end(site: &Site) -> Result<u64> {
    Ok(site.cluster.psql("SELECT (pg_current_wal_insert_lsn() - '0/0')::int8").await.parse()?)
}

async fn measure_one(site: &Site, program: &Path, subject: Subject) -> Result<Option<Outcome>> {
    begin(site, program).await?;
    let (before, postmaster) = (log_end(site).await?, site.postmaster()?);
    let (home, compared) = match subject {
        Subject::Dump => {
            site.cluster.try_psql_in("target", NEEDED).await?;
            (measure(postmaster, vec![vec![dump(site)]])?, None)
        }
        Subject::Pgcopydb => {
            let Some(clone) = pgcopydb(site)? else {
                eprintln!("SKIPPED: there is no pgcopydb (scripts/components.sh test)");
                return Ok(None);
            };
            let home = measure(postmaster, vec![vec![clone]])?;
            (home, Some(home.and(measure(postmaster, vec![comparing(site)])?)))
        }
        Subject::Clone | Subject::Stream | Subject::Copy => {
            let strategy = format!("-strategy={}", subject.strategy().unwrap_or_default());
            let run = site.pgisle(program, &["split", "run", "chat", &strategy]);
            let cutover = site.pgisle(program, &["split", "cutover", "chat", "-auto-approve", "-pause=10m"]);
            let (all, home) =
                measure_and_mark(postmaster, vec![vec![run], vec![cutover]], |have_ended| home_moves(site, have_ended))?;
            (home.context("nobody saw the home move")?, Some(all))
        }
    };
    let wal_bytes = log_end(site).await? - before;
    let database = if subject.strategy().is_some() { "link_chat" } else { "target" };
    let (old, new) = (messages(site, "link_app").await?, messages(site, database).await?);
    ensure!(old == new, "{} moved {new} messages of {old}", subject.name());
    let pause_s = match subject.strategy() {
        Some(_) => {
            let pause = "SELECT document::json ->> 'pause_ms' FROM pgisle_split.job WHERE service = 'chat'";
            site.cluster.psql_in("link_app", pause).await.parse::<f64>()? / 1000.0
        }
        // Whoever writes meanwhile writes to what is being left.
        None => home.wall_s,
    };
    Ok(Some(Outcome { home, compared, wal_bytes, pause_s }))
}

/// Waits until the service's database is another one than it was; false when it is the same to the end.
fn home_moves(site: &Site, have_ended: &AtomicBool) -> Result<bool> {
    const NUMBER: &str = "SELECT oid FROM pg_database WHERE datname = 'link_chat'";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = site.cluster.connect_to("postgres").await;
        let number = async || anyhow::Ok(client.query_opt(NUMBER, &[]).await?.map(|row| row.get::<_, u32>(0)));
        let first = number().await?;
        while !have_ended.load(Ordering::Relaxed) {
            if number().await?.is_some_and(|number| first != Some(number)) {
                return Ok(true);
            }
            tokio::time::sleep(HOME_LOOK_EVERY).await;
        }
        Ok(false)
    })
}

fn with_server(site: &Site, mut command: Command) -> Command {
    // Each calls programs of the server's version.
    let programs = site.cluster.installation().program("psql");
    let folder = programs.parent().map(Path::to_owned).unwrap_or_default();
    let path =
        std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())));
    command.env("PATH", path.unwrap_or_default());
    site.as_superuser(&mut command);
    command
}

fn dump(site: &Site) -> Command {
    let mut command = Command::new("bash");
    let tables: Vec<String> = TABLES.iter().map(|table| format!("-t public.{table}")).collect();
    // The keys that refer to the users cannot be made in another database: psql goes on without them.
    let script = format!("pg_dump {} link_app | psql -X -q target", tables.join(" "));
    command.args(["-uo", "pipefail", "-c", &script]);
    with_server(site, command)
}

/// pgcopydb with as many jobs as there are processors, and large tables in several parts: none when it is not there.
fn pgcopydb(site: &Site) -> Result<Option<Command>> {
    let Some(program) = find_program("pgcopydb") else { return Ok(None) };
    let filters = site.folder().join("filters.ini");
    let tables: Vec<String> = TABLES.iter().map(|table| format!("public.{table}\n")).collect();
    fs::write(&filters, format!("[include-only-table]\n{}", tables.concat()))?;
    let folder: PathBuf = site.folder().join("pgcopydb");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut command = Command::new(program);
    command.args(["clone", "--table-jobs", "2", "--index-jobs", "2", "--split-tables-larger-than", "500 MB"]);
    command.args(["--skip-extensions", "--skip-large-objects", "--no-owner", "--no-acl", "--source", "dbname=link_app"]);
    command.args(["--target", "dbname=target"]).arg("--filters").arg(filters).arg("--dir").arg(folder);
    Ok(Some(with_server(site, command)))
}

/// What `pgcopydb compare data` asks of each table, on both sides at once. It takes no filters, so it cannot be asked about a part of a
/// database itself.
fn comparing(site: &Site) -> Vec<Command> {
    let query = |table: &&str| {
        format!(
            "SELECT count(1), md5(format('%s-%s', sum(hashtext({table}::text)::bigint), count(1)))::uuid FROM ONLY public.{table} AS {table};"
        )
    };
    let queries: String = TABLES.iter().map(query).collect();
    let side = |database: &str| {
        let mut command = Command::new("psql");
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", &queries]);
        with_server(site, command)
    };
    vec![side("link_app"), side("target")]
}

/// Rehearses the cutover of `stream` under load.
async fn rehearse(site: &Site, program: &Path) -> Result<(Vec<u64>, u64)> {
    begin(site, program).await?;
    let load = Load::start(site).await?;
    let run = site.pgisle(program, &["split", "run", "chat", "-strategy=stream"]);
    measure(site.postmaster()?, vec![vec![run]])?;
    let mut pauses = Vec::new();
    for _ in 0..REHEARSALS {
        let output = site.pgisle(program, &["split", "cutover", "chat", "-rehearse", "-json"]).output()?;
        ensure!(output.status.success(), "the rehearsal failed: {}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let pause = report["rehearsed"]["pause_ms"].as_u64().context("the rehearsal tells no pause")?;
        eprintln!("rehearsed: {pause} ms");
        pauses.push(pause);
    }
    pauses.sort_unstable();
    Ok((pauses, load.stop(site).await?))
}

/// Writers with connections of their own: pgbench, at a steady rate.
struct Load {
    pgbench: Child,
    since: Instant,
    rows_before: u64,
}

impl Load {
    async fn start(site: &Site) -> Result<Self> {
        let script = site.folder().join("load.sql");
        let insert = "INSERT INTO messages (room_id, sender_id, body) VALUES (1 + (random() * 999)::int, 1, 'some words');";
        fs::write(&script, insert)?;
        let mut command = Command::new(site.cluster.installation().program("pgbench"));
        command
            .args(["-n", "-c", "4", "-j", "1", "-T", "3600", "-R", &LOAD_PER_SECOND.to_string(), "-f"])
            .arg(script)
            .arg("link_app");
        let rows_before = messages(site, "link_app").await?;
        let pgbench =
            with_server(site, command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start pgbench")?;
        Ok(Self { pgbench, since: Instant::now(), rows_before })
    }

    /// Gives how many transactions there were in a second.
    async fn stop(mut self, site: &Site) -> Result<u64> {
        let rows = messages(site, "link_app").await? - self.rows_before;
        let per_second = rows * 1000 / u64::try_from(self.since.elapsed().as_millis())?.max(1);
        ensure!(self.pgbench.try_wait()?.is_none(), "pgbench has ended by itself");
        Ok(per_second)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let (_killed, _ended) = (self.pgbench.kill(), self.pgbench.wait());
    }
}

async fn messages(site: &Site, database: &str) -> Result<u64> {
    Ok(site.cluster.psql_in(database, "SELECT count(*) FROM messages").await.parse()?)
}

fn document(figures: &Figures, rounds: u16) -> Value {
    let Figures { version, shared_bytes, chat_bytes, results, rehearsed_ms, load_per_second } = figures;
    let cost = |cost: &Cost| json!({ "wall_s": cost.wall_s, "client_cpu_s": cost.client_cpu_s, "server_cpu_s": cost.server_cpu_s });
    let result = |(subject, outcome): &(Subject, Outcome)| {
        json!({
            "subject": subject.name(), "home": cost(&outcome.home), "compared": outcome.compared.as_ref().map(cost),
            "wal_bytes": outcome.wal_bytes, "pause_s": outcome.pause_s,
        })
    };
    let results: Vec<Value> = results.iter().map(result).collect();
    json!({
        "postgresql": version, "shared_bytes": shared_bytes, "chat_bytes": chat_bytes, "rounds": rounds, "results": results,
        "rehearsed_ms": rehearsed_ms, "load_per_second": load_per_second,
    })
}

/// A Markdown table. A ratio is the figure of the line by that of pgcopydb.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn render(figures: &Figures) -> String {
    let Figures { version, shared_bytes, chat_bytes, results, rehearsed_ms, load_per_second } = figures;
    let mut text = format!(
        "The chat's {} MB of a shared database of {} MB, PostgreSQL {version}\n\n| | at home after s | ratio | CPU s | ratio | of it server | and compared after s | ratio | CPU s | ratio | of it server | MB of log | pause s |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        chat_bytes / 1_000_000,
        shared_bytes / 1_000_000
    );
    let theirs = results.iter().find(|(subject, _)| *subject == Subject::Pgcopydb).map(|(_, outcome)| *outcome);
    let figures = |own: Option<Cost>, theirs: Option<Cost>| {
        let Some(own) = own else { return "- | | - | | -".to_owned() };
        let ratio = |own: f64, theirs: Option<f64>| theirs.map(|theirs| format!("{:.2}", own / theirs)).unwrap_or_default();
        let (wall, cpu) = (ratio(own.wall_s, theirs.map(|theirs| theirs.wall_s)), ratio(own.cpu_s(), theirs.map(Cost::cpu_s)));
        format!("{:.1} | {wall} | {:.1} | {cpu} | {:.1}", own.wall_s, own.cpu_s(), own.server_cpu_s)
    };
    for (subject, outcome) in results {
        text.push_str(&format!(
            "| {} | {} | {} | {} | {:.2} |\n",
            subject.name(),
            figures(Some(outcome.home), theirs.map(|theirs| theirs.home)),
            figures(outcome.compared, theirs.and_then(|theirs| theirs.compared)),
            outcome.wal_bytes / 1_000_000,
            outcome.pause_s,
        ));
    }
    let pauses: Vec<f64> = rehearsed_ms.iter().map(|ms| *ms as f64).collect();
    let median = pauses.get(pauses.len() / 2).copied().unwrap_or_default();
    text.push_str(&format!(
        "\nRehearsed pause of stream at {load_per_second} transactions a second: {median} ms (median of {}; {rehearsed_ms:?})\n",
        pauses.len()
    ));
    text
}
