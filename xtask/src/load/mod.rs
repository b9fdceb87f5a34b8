//! `cargo xtask load split`: a large shared database on a private cluster, services that write through PgBouncer by an address that
//! never changes and keep a ledger of what was acknowledged, and a service that moves out of it and back meanwhile, by each strategy.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to whoever runs it")]

mod bystander;
pub(crate) mod connections;
mod place;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::builder::PossibleValuesParser;
use pgisle_core::split::Strategy;
use pgisle_testkit::{Homes, Ledger, Writer};
use serde_json::{Value, json};

use bystander::Bystander;
use place::Place;

/// How long services write before, between and behind the steps.
const QUIET: Duration = Duration::from_secs(2);

/// What is done.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// About how much data, MB.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    megabytes: u64,
    /// By which ways, one after another.
    #[arg(long, value_delimiter = ',', default_value = "stream,copy,clone", value_parser = PossibleValuesParser::new(Strategy::WORDS))]
    strategies: Vec<String>,
    /// How many write at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    writers: u32,
    /// Transactions a second of all writers together.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    per_second: u32,
    /// Which pgisle; one that is built for it when none is given.
    #[arg(long)]
    program: Option<PathBuf>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Options {
    /// How long a writer waits between two transactions, apart from what they take.
    fn pause(&self) -> Duration {
        Duration::from_secs(1) * self.writers / self.per_second
    }
}

/// One step under load, and what its clients saw.
struct Leg {
    /// Such as `stream, cutover`.
    what: String,
    took: Duration,
    /// What pgisle says of the pause, milliseconds.
    told_ms: Option<u64>,
    seen: Seen,
}

/// What clients saw.
struct Seen {
    acknowledged: usize,
    failed: usize,
    unknown: usize,
    /// The longest time between two acknowledgements that a writer had.
    longest: Duration,
    /// The same for a service that stays.
    bystander: Duration,
    bystander_failed: usize,
    /// What failed, each text once.
    errors: Vec<String>,
    /// How often it was looked whether two places take rows.
    looks: u32,
}

pub(crate) fn split(options: &Options) -> Result<()> {
    let program = options.program.clone().map_or_else(crate::bench::build, Ok)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (bytes, legs) = runtime.block_on(run(Place::new(program)?, options))?;
    if options.json {
        println!("{:#}", document(bytes, &legs));
    } else {
        println!("{}", render(bytes, &legs, options));
    }
    Ok(())
}

async fn run(place: Place, options: &Options) -> Result<(u64, Vec<Leg>)> {
    let bytes = place.fill(options.megabytes).await?;
    eprintln!("the shared database has {} MB", bytes / 1_000_000);
    let mut legs = Vec::new();
    for (index, strategy) in options.strategies.iter().enumerate() {
        let is_last = index + 1 == options.strategies.len();
        legs.extend(there_and_back(&place, options, strategy, is_last).await?);
    }
    Ok((bytes, legs))
}

/// Moves the chat out and, unless it is the last time, back: the next strategy begins with the same.
async fn there_and_back(place: &Place, options: &Options, strategy: &str, is_last: bool) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    // The first day: the alias of the chat leads to the shared database.
    place.pgisle(&["split", "run", "chat", "-strategy=copy"])?;
    let chosen = format!("-strategy={strategy}");
    let run = ["split", "run", "chat", chosen.as_str()];
    let rehearse = ["split", "cutover", "chat", "-rehearse", "-pause=10m"];
    let cutover = ["split", "cutover", "chat", "-auto-approve", "-pause=10m"];
    let rollback = ["split", "rollback", "chat", "-auto-approve", "-pause=10m"];
    let steps: [(&str, &[&str], &str); 4] = [
        ("run", &run, "link_app"),
        ("rehearsal", &rehearse, "link_app"),
        ("cutover", &cutover, "link_chat"),
        ("rollback", &rollback, "link_app"),
    ];
    for (name, words, home) in steps.into_iter().take(if is_last { 3 } else { 4 }) {
        let what = format!("{strategy}, {name}");
        eprintln!("{what} …");
        let leg = under_load(place, options, &what, words, home).await?;
        eprintln!("{}", line(&leg));
        leg.seen.errors.iter().for_each(|error| eprintln!("  {error}"));
        legs.push(leg);
    }
    if is_last {
        place.pgisle(&["split", "finalize", "chat", "-auto-approve"])?;
        place.drop_readers().await?;
        place.pgisle(&["split", "finalize", "chat", "-drop", "-auto-approve"])?;
        place.pgisle(&["split", "status"])?;
    } else {
        // The writers have ended a moment ago, which pgisle takes for a service that still comes.
        place.pgisle(&["split", "finalize", "chat", "-force", "-auto-approve"])?;
    }
    place.pgisle(&["plan", "-detailed-exitcode"])?;
    place.pgisle(&["verify"])?;
    Ok(legs)
}

/// Runs a command while services write, and compares what is then in the home with what was acknowledged.
async fn under_load(place: &Place, options: &Options, what: &str, words: &[&str], home: &str) -> Result<Leg> {
    let through = place.pooled("chat")?;
    let writers: Vec<Writer> = (0..options.writers).map(|_| Writer::start(vec![through.clone()], options.pause())).collect();
    let bystander = Bystander::start(place.admin("link_app"));
    let watch = Homes::new(&[place.admin("link_app"), place.admin("link_chat")]).watch();
    tokio::time::sleep(QUIET).await;
    let (started, place_again, owned) =
        (Instant::now(), place.clone(), words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let report = tokio::task::spawn_blocking(move || place_again.pgisle(&owned.iter().map(String::as_str).collect::<Vec<_>>()));
    let report = report.await??;
    let took = started.elapsed();
    tokio::time::sleep(QUIET).await;
    let mut ledgers = Vec::new();
    for writer in writers {
        ledgers.push(writer.stop().await);
    }
    let (bystander, bystander_failed) = bystander.stop().await;
    let looks = watch.stop().await;
    let faults = Ledger::faults(&place.admin(home), &ledgers).await?;
    ensure!(faults.is_empty(), "{what}: {}", faults.join("; "));
    let mut errors: Vec<String> = ledgers.iter().flat_map(|ledger| ledger.errors.iter().cloned()).collect();
    let failed = errors.len();
    errors.sort_unstable();
    errors.dedup();
    let seen = Seen {
        acknowledged: ledgers.iter().map(|ledger| ledger.kept.len() + ledger.deleted.len()).sum(),
        failed,
        unknown: ledgers.iter().map(|ledger| ledger.unknown.len()).sum(),
        longest: ledgers.iter().map(|ledger| ledger.longest_gap).max().unwrap_or_default(),
        bystander,
        bystander_failed,
        errors,
        looks,
    };
    Ok(Leg { what: what.to_owned(), took, told_ms: told(&report), seen })
}

/// What a report says of the pause, in whichever of its members.
fn told(report: &Value) -> Option<u64> {
    let members = report.as_object()?.values();
    members.filter_map(|member| member.get("pause_ms")).find_map(Value::as_u64)
}

fn line(leg: &Leg) -> String {
    let Leg { what, took, told_ms, seen } = leg;
    let told = told_ms.map_or_else(|| "-".to_owned(), |told| told.to_string());
    format!(
        "| {what} | {:.1} | {told} | {} | {} | {} | {} | {} | {} | {} |",
        took.as_secs_f64(),
        seen.longest.as_millis(),
        seen.acknowledged,
        seen.failed,
        seen.unknown,
        seen.bystander.as_millis(),
        seen.bystander_failed,
        seen.looks,
    )
}

fn render(bytes: u64, legs: &[Leg], options: &Options) -> String {
    let mut text = format!(
        "{} MB, {} writers through PgBouncer, {} transactions a second at most. Every acknowledged row was there once, at each end.\n\n",
        bytes / 1_000_000,
        options.writers,
        options.per_second
    );
    text.push_str("| | s | pause told, ms | longest wait of a client, ms | acknowledged | failed | unknown | a stayer's longest wait, ms | failed | looks |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
    for leg in legs {
        text.push_str(&line(leg));
        text.push('\n');
    }
    for leg in legs.iter().filter(|leg| !leg.seen.errors.is_empty()) {
        text.push_str(&format!("\n{}: {}\n", leg.what, leg.seen.errors.join("; ")));
    }
    text
}

fn document(bytes: u64, legs: &[Leg]) -> Value {
    let leg = |leg: &Leg| {
        let Leg { what, took, told_ms, seen } = leg;
        json!({
            "what": what, "took_s": took.as_secs_f64(), "pause_told_ms": told_ms, "longest_wait_ms": milliseconds(seen.longest),
            "acknowledged": seen.acknowledged, "failed": seen.failed, "unknown": seen.unknown, "errors": seen.errors,
            "stayer_longest_wait_ms": milliseconds(seen.bystander), "stayer_failed": seen.bystander_failed, "looks": seen.looks,
        })
    };
    json!({ "shared_bytes": bytes, "legs": legs.iter().map(leg).collect::<Vec<_>>() })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
