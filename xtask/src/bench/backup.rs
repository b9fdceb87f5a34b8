//! `cargo xtask bench backup`: what backing up five services costs, beside the ways that people have.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::meter::{Cost, measure};
use super::site::{self, Site};

/// How the data is spread over the services, in hundredths: one is large, as is usual.
const SHARES: [u64; 5] = [60, 20, 10, 6, 4];

/// Bytes of one generated row with its index entry, measured: what `-megabytes` is divided by.
const ROW_BYTES: u64 = 370;

/// What is measured. The order is the one of the table.
const SUBJECTS: [Subject; 3] = [Subject::Pgisle, Subject::Gzip, Subject::Directory];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Pgisle,
    Gzip,
    Directory,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Pgisle => "`pgisle backup create`",
            Self::Gzip => "`pg_dump \\| gzip -6`, one after another",
            Self::Directory => "`pg_dump -Fd -j2`, one after another",
        }
    }
}

struct Options {
    megabytes: u64,
    rounds: usize,
    json: bool,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self { megabytes: 1000, rounds: 2, json: false };
        let mut words = words.iter().map(|word| word.trim_start_matches('-'));
        while let Some(word) = words.next() {
            let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            let mut value = || value.or_else(|| words.next()).with_context(|| format!("-{name} needs a value"));
            match name {
                "megabytes" => options.megabytes = value()?.parse()?,
                "rounds" => options.rounds = value()?.parse()?,
                "json" => options.json = true,
                _ => bail!("bench backup knows -megabytes, -rounds and -json, not -{name}"),
            }
        }
        ensure!(options.megabytes > 0 && options.rounds > 0, "-megabytes and -rounds must be 1 at least");
        Ok(options)
    }
}

/// The least cost of a subject, and what it left on the disk.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    cost: Cost,
    bytes: u64,
}

pub(crate) fn backup(words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    let program = site::build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (version, data_bytes, results) = runtime.block_on(run(&program, &options))?;
    if options.json {
        let result = |(subject, result): &(Subject, Outcome)| {
            json!({
                "subject": subject.name(), "wall_s": result.cost.wall_s, "client_cpu_s": result.cost.client_cpu_s,
                "server_cpu_s": result.cost.server_cpu_s, "memory_bytes": result.cost.memory_bytes, "bytes": result.bytes,
            })
        };
        let results: Vec<Value> = results.iter().map(result).collect();
        println!("{:#}", json!({ "postgresql": version, "data_bytes": data_bytes, "rounds": options.rounds, "results": results }));
    } else {
        println!("{}", render(&version, data_bytes, &results));
    }
    Ok(())
}

/// The server's version, the bytes of the databases, and what came of each subject.
async fn run(program: &Path, options: &Options) -> Result<(String, u64, Vec<(Subject, Outcome)>)> {
    let site = Site::new(SHARES.len()).await?;
    let postmaster = site.postmaster()?;
    measure(postmaster, vec![vec![site.pgisle(program, &["apply", "-auto-approve"])]])?;
    for (number, share) in (1..).zip(SHARES) {
        fill(&site, number, options.megabytes * share * 10_000 / ROW_BYTES).await?;
    }
    site.cluster.psql("CHECKPOINT").await;
    let bytes = site.cluster.psql("SELECT sum(pg_database_size(datname)) FROM pg_database WHERE datname LIKE 'bench%'").await;
    let mut results: Vec<(Subject, Outcome)> = Vec::new();
    for _ in 0..options.rounds {
        for subject in SUBJECTS {
            let folder = site.folder().join("backups");
            std::fs::create_dir_all(&folder)?;
            let cost = measure(postmaster, vec![vec![command(&site, program, subject, &folder)]])?;
            let result = Outcome { cost, bytes: bytes_below(&folder)? };
            std::fs::remove_dir_all(&folder)?;
            eprintln!("{}: {:.2} s", subject.name(), cost.wall_s);
            match results.iter_mut().find(|(known, _)| *known == subject) {
                Some((_, least)) => *least = Outcome { cost: least.cost.least(cost), bytes: least.bytes.min(result.bytes) },
                None => results.push((subject, result)),
            }
        }
    }
    Ok((site.cluster.installation().version.clone(), bytes.parse()?, results))
}

/// Rows as applications have them: numbers that count, a few distinct words, text of words, a document.
const EVENTS: &str = "
    SET ROLE bench_sNNN_owner;
    SELECT setseed(0.5);
    CREATE TABLE events (id bigint PRIMARY KEY, account int NOT NULL, kind text NOT NULL, body text NOT NULL,
        details jsonb NOT NULL, happened timestamptz NOT NULL);
    INSERT INTO events
    SELECT g, (random() * 50000)::int, (ARRAY['message', 'login', 'payment', 'search', 'profile'])[1 + g % 5],
        (SELECT string_agg((ARRAY['the', 'order', 'was', 'sent', 'to', 'a', 'friend', 'who', 'asked', 'about', 'delivery', 'and',
            'price', 'again', 'yesterday', 'because', 'nothing', 'arrived', 'before', 'noon'])[1 + (random() * 19)::int], ' ')
            FROM generate_series(1, 12 + (g % 20)::int) AS w WHERE g > 0),
        jsonb_build_object('ip', format('10.%s.%s.%s', g % 7, g % 251, (random() * 255)::int), 'ok', g % 3 = 0,
            'ms', (random() * 900)::int),
        timestamptz '2025-01-01' + g * interval '1.7 seconds'
    FROM generate_series(1, ROWS) AS g;
    CREATE INDEX events_account ON events (account, happened)";

async fn fill(site: &Site, service: usize, rows: u64) -> Result<()> {
    let name = format!("{service:03}");
    let database = format!("bench_s{name}");
    site.cluster.try_psql_in(&database, &EVENTS.replace("NNN", &name).replace("ROWS", &rows.to_string())).await?;
    site.cluster.try_psql_in(&database, "VACUUM ANALYZE events").await?;
    Ok(())
}

fn command(site: &Site, program: &Path, subject: Subject, folder: &Path) -> Command {
    if subject == Subject::Pgisle {
        let location = format!("backup_storage_path={}", folder.display());
        return site.pgisle(program, &["backup", "create", "-var", &location]);
    }
    let dump = site.cluster.installation().program("pg_dump");
    let how = match subject {
        Subject::Directory => "\"$0\" -Fd -j2 -f \"$1/$d\" \"$d\"",
        _ => "\"$0\" \"$d\" | gzip -6 >\"$1/$d.sql.gz\"",
    };
    let databases: Vec<String> = (1..=SHARES.len()).map(|number| format!("bench_s{number:03}")).collect();
    let mut command = Command::new("bash");
    command.arg("-euo").arg("pipefail").arg("-c").arg(format!("for d in {}; do {how}; done", databases.join(" ")));
    command.arg(dump).arg(folder).env("PGHOST", site.cluster.socket_dir()).env("PGPORT", site.cluster.port().to_string());
    command.env("PGUSER", site.cluster.superuser()).env("PGPASSWORD", site.cluster.password());
    command
}

fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn render(version: &str, data_bytes: u64, results: &[(Subject, Outcome)]) -> String {
    let mut text = format!(
        "Five databases, {} MB, PostgreSQL {version}\n\n| | wall s | ratio | client CPU s | ratio | server CPU s | MB written | ratio | memory MB |\n|---|---|---|---|---|---|---|---|---|\n",
        data_bytes / 1_000_000
    );
    let ours = results.iter().find(|(subject, _)| *subject == Subject::Pgisle).map(|(_, result)| *result);
    for (subject, Outcome { cost, bytes }) in results {
        let ratio = |own: f64, ours: Option<f64>| match ours {
            Some(ours) if *subject != Subject::Pgisle && own > 0.0 => format!("{:.2}", ours / own),
            _ => String::new(),
        };
        text.push_str(&format!(
            "| {} | {:.1} | {} | {:.1} | {} | {:.1} | {} | {} | {} |\n",
            subject.name(),
            cost.wall_s,
            ratio(cost.wall_s, ours.map(|ours| ours.cost.wall_s)),
            cost.client_cpu_s,
            ratio(cost.client_cpu_s, ours.map(|ours| ours.cost.client_cpu_s)),
            cost.server_cpu_s,
            bytes / 1_000_000,
            ratio(*bytes as f64, ours.map(|ours| ours.bytes as f64)),
            cost.memory_bytes / 1_000_000,
        ));
    }
    text
}
