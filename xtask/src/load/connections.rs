//! `cargo xtask load connections`: nine services with sixty clients each, without pools and with them, and a noisy neighbour, by
//! `pgisle verify -load` itself on a throw-away cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use pgisle_testkit::Cluster;
use serde_json::{Value, json};

/// Connections that the server has beside those of the clients without pools: a tenth of all is left to others.
const SPARE: u32 = 100;

/// How many times better the victim's 99th percentile is to be in a pool of its own.
const RATIO_MIN: u64 = 100;

/// What is done.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many services.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(2..=50))]
    services: u32,
    /// Clients of each.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=500))]
    clients: u32,
    /// Connections that `PgBouncer` may hold for each service.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pool: u32,
    /// Clients of the noisy neighbour.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=900))]
    noisy: u32,
    /// How long each part runs.
    #[arg(long, default_value = "10s")]
    duration: String,
    /// Which pgisle; one that is built for it when none is given.
    #[arg(long)]
    program: Option<PathBuf>,
    /// JSON instead of tables.
    #[arg(long)]
    json: bool,
}

impl Options {
    fn spec(&self) -> String {
        let (clients, pool) = (self.clients.max(5), self.pool);
        let all = self.services * self.clients;
        let settings = format!(
            "name_prefix = \"load\"\npostgres_database = \"load_app\"\ncollation = \"C.UTF-8\"\ndefault_extensions = []\n\
             postgres_sslmode = \"disable\"\nenable_ssl = false\nenable_backup_automation = false\n\
             user_connection_limit = {clients}\ndatabase_connection_limit = {limit}\n\
             pgbouncer_pool_mode = \"transaction\"\npgbouncer_default_pool_size = {pool}\npgbouncer_reserve_pool_size = 0\n\
             pgbouncer_max_client_conn = {all}\n",
            limit = (clients + 10).max(10),
        );
        (1..=self.services).fold(settings, |spec, number| format!("{spec}service \"s{number}\" {{}}\n"))
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let program = options.program.clone().map_or_else(crate::bench::build, Ok)?;
    // It is run in another folder.
    let program = program.canonicalize().with_context(|| format!("no {}", program.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (calm, full) = runtime.block_on(measure(&program, options))?;
    if options.json {
        println!("{:#}", json!({ "calm": calm, "full": full }));
    } else {
        println!("{}", render(&calm, &full)?);
    }
    check(&calm, &full, options)
}

/// Once with clients that pause, beside which the neighbour is heard, and once with clients that do not.
async fn measure(program: &Path, options: &Options) -> Result<(Value, Value)> {
    let connections = options.services * options.clients * 10 / 9 + SPARE;
    let cluster = Cluster::builder().conf("max_connections", &connections.to_string()).start().await;
    cluster.psql("CREATE DATABASE load_app").await;
    let folder = tempfile::Builder::new().prefix("pgisle-load-").tempdir()?;
    // PgBouncer runs as another account when we are root.
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    fs::write(folder.path().join("pgisle.hcl"), options.spec())?;
    let pgisle = |words: &[&str]| -> Result<Value> {
        let mut command = Command::new(program);
        command.current_dir(folder.path()).args(words).arg("-json").env("PGPASSWORD", cluster.password());
        command.env("PGISLE_VAR_postgres_host", cluster.host()).env("PGISLE_VAR_postgres_port", cluster.port().to_string());
        command.env("PGISLE_VAR_postgres_username", cluster.superuser());
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "pgisle {} failed: {said}{}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_str(&said)?)
    };
    pgisle(&["apply", "-auto-approve"])?;
    let clients = format!("-clients={}", options.clients);
    let duration = format!("-duration={}", options.duration);
    let noisy = format!("-noisy={}", options.noisy);
    eprintln!("clients that pause, and a noisy neighbour …");
    let calm = pgisle(&["verify", "-load", &clients, &duration, &noisy])?["load"].take();
    eprintln!("clients that do not pause …");
    let full = pgisle(&["verify", "-load", &clients, &duration, "-noisy=0", "-pause=0s"])?["load"].take();
    Ok((calm, full))
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("no number: {value}"))
}

/// What is promised of the counts and the ratio.
fn check(calm: &Value, full: &Value, options: &Options) -> Result<()> {
    let (clients, cap) = (u64::from(options.services * options.clients), u64::from(options.services * options.pool));
    for load in [calm, full] {
        let connections = |leg: &str| number(&load[leg]["connections"]);
        ensure!(connections("before")? == clients, "{} connections without pools, not {clients}", connections("before")?);
        ensure!(connections("after")? <= cap, "{} connections with pools of {cap}", connections("after")?);
    }
    let p99 = |way: &str| number(&calm["bulkhead"][way]["latency"]["p99_us"]);
    let ratio = p99("shared")? / p99("own")?.max(1);
    ensure!(ratio >= RATIO_MIN, "the victim's p99 is only {ratio} times better in a pool of its own");
    Ok(())
}

fn render(calm: &Value, full: &Value) -> Result<String> {
    let mut text = String::from(
        "| clients | | connections | a second | p50 ms | p99 ms | max ms | failed |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (what, load) in [("that pause", calm), ("that do not", full)] {
        for (way, leg) in [("without pools", &load["before"]), ("through PgBouncer", &load["after"])] {
            let (clients, connections, all) = (number(&leg["clients"])?, number(&leg["connections"])?, figures(&leg["all"])?);
            let per_second = number(&leg["all"]["per_second"])?;
            text.push_str(&format!("| {clients} {what} | {way} | {connections} | {per_second} | {all} |\n"));
        }
    }
    let bulkhead = &calm["bulkhead"];
    let noisy = number(&bulkhead["noisy_clients"])?;
    text.push_str(&format!(
        "\n| beside {noisy} noisy clients | pool | transactions | p50 ms | p99 ms | max ms | failed |\n|---|---|---|---|---|---|---|\n"
    ));
    for (what, size, met) in [
        ("in one pool with them", &bulkhead["shared_size"], &bulkhead["shared"]),
        ("in a pool of its own", &bulkhead["own_size"], &bulkhead["own"]),
    ] {
        text.push_str(&format!("| {what} | {size} | {} | {} |\n", number(&met["transactions"])?, figures(met)?));
    }
    Ok(text)
}

/// p50, p99, max and what failed.
fn figures(met: &Value) -> Result<String> {
    let time = |name: &str| -> Result<String> {
        let tenths = number(&met["latency"][name])? / 100;
        Ok(format!("{}.{}", tenths / 10, tenths % 10))
    };
    Ok(format!("{} | {} | {} | {}", time("p50_us")?, time("p99_us")?, time("max_us")?, number(&met["failed"])?))
}
