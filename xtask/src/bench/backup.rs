//! `cargo xtask bench backup`: what backing up five services costs, and restoring the largest, beside the ways that people have.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::data::{Data, database};
use super::meter::{Cost, measure};
use super::site::{self, Site};

/// How the data is spread over the services, in hundredths: one is large, as is usual.
const SHARES: [u64; 5] = [60, 20, 10, 6, 4];

/// The service that is restored: the largest.
const RESTORED: usize = 1;

/// What is measured. The order is the one of the tables.
const SUBJECTS: [Subject; 3] = [Subject::Pgisle, Subject::Gzip, Subject::Directory];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Pgisle,
    Gzip,
    Directory,
}

/// What a subject does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Backup,
    Restore,
}

impl Subject {
    fn name(self, work: Work) -> &'static str {
        match (self, work) {
            (Self::Pgisle, Work::Backup) => "`pgisle backup create`",
            (Self::Gzip, Work::Backup) => "`pg_dump` and `gzip -6`, one after another",
            (Self::Directory, Work::Backup) => "`pg_dump -Fd -j2`, one after another",
            (Self::Pgisle, Work::Restore) => "`pgisle restore`",
            (Self::Gzip, Work::Restore) => "`gunzip` and `psql`",
            (Self::Directory, Work::Restore) => "`pg_restore -j2`",
        }
    }
}

/// How much, and how often.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// About how much data, MB.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    megabytes: u64,
    /// Of so many measurements the least counts.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// The least cost of a subject's work, and what its backups take.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    subject: Subject,
    work: Work,
    cost: Cost,
    bytes: u64,
}

/// Everything about one kind of data.
struct Figures {
    data: Data,
    version: String,
    /// All databases together.
    all_bytes: u64,
    /// The one that is restored.
    restored_bytes: u64,
    outcomes: Vec<Outcome>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let program = site::build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut all = Vec::new();
    // Both, always: what holds for one kind of data does not for another.
    for data in Data::ALL {
        let figures = runtime.block_on(figures(&program, options, data))?;
        if !options.json {
            println!("{}", render(&figures, Work::Backup));
            println!("{}", render(&figures, Work::Restore));
        }
        all.push(figures);
    }
    if options.json {
        let all: Vec<Value> = all.iter().map(json_of).collect();
        println!("{:#}", json!({ "rounds": options.rounds, "results": all }));
    }
    Ok(())
}

fn json_of(figures: &Figures) -> Value {
    let outcome = |Outcome { subject, work, cost, bytes }: &Outcome| {
        json!({
            "subject": subject.name(*work), "wall_s": cost.wall_s, "client_cpu_s": cost.client_cpu_s,
            "server_cpu_s": cost.server_cpu_s, "memory_bytes": cost.memory_bytes, "bytes": bytes,
        })
    };
    let Figures { data, version, all_bytes, restored_bytes, outcomes } = figures;
    let outcomes: Vec<Value> = outcomes.iter().map(outcome).collect();
    json!({
        "data": data.name(), "postgresql": version, "all_bytes": all_bytes, "restored_bytes": restored_bytes, "costs": outcomes,
    })
}

async fn figures(program: &Path, options: &Options, data: Data) -> Result<Figures> {
    let site = Site::with_extensions(SHARES.len(), data.extensions()).await?;
    let postmaster = site.postmaster()?;
    measure(postmaster, vec![vec![site.pgisle(program, &["apply", "-auto-approve"])]])?;
    for (service, share) in (1..).zip(SHARES) {
        data.fill(&site, service, options.megabytes * share * 10_000).await?;
    }
    let bytes = async |condition: &str| -> Result<u64> {
        let sql = format!("SELECT sum(pg_database_size(datname)) FROM pg_database WHERE datname {condition}");
        Ok(site.cluster.psql(&sql).await.parse()?)
    };
    let (all_bytes, restored_bytes) = (bytes("LIKE 'bench%'").await?, bytes(&format!("= '{}'", database(RESTORED))).await?);
    let mut outcomes: Vec<Outcome> = Vec::new();
    for _ in 0..options.rounds {
        for subject in SUBJECTS {
            let folder = site.folder().join("backups");
            std::fs::create_dir_all(&folder)?;
            site.cluster.psql("CHECKPOINT").await;
            let cost = measure(postmaster, vec![vec![backing_up(&site, program, subject, &folder)]])?;
            let bytes = bytes_below(&folder)?;
            note(&mut outcomes, Outcome { subject, work: Work::Backup, cost, bytes });
            site.cluster.psql("CHECKPOINT").await;
            let cost = measure(postmaster, vec![vec![restoring(&site, program, subject, &folder)]])?;
            note(&mut outcomes, Outcome { subject, work: Work::Restore, cost, bytes });
            clean_up(&site, program, subject).await?;
            std::fs::remove_dir_all(&folder)?;
        }
    }
    let version = site.cluster.installation().version.clone();
    Ok(Figures { data, version, all_bytes, restored_bytes, outcomes })
}

fn note(outcomes: &mut Vec<Outcome>, new: Outcome) {
    eprintln!("{}: {:.2} s", new.subject.name(new.work), new.cost.wall_s);
    match outcomes.iter_mut().find(|known| (known.subject, known.work) == (new.subject, new.work)) {
        Some(least) => (least.cost, least.bytes) = (least.cost.least(new.cost), least.bytes.min(new.bytes)),
        None => outcomes.push(new),
    }
}

fn backing_up(site: &Site, program: &Path, subject: Subject, folder: &Path) -> Command {
    if subject == Subject::Pgisle {
        return site.pgisle(program, &["backup", "create", "-var", &location(folder)]);
    }
    let how = match subject {
        Subject::Directory => "\"$0/pg_dump\" -Fd -j2 -f \"$1/$d\" \"$d\"",
        _ => "\"$0/pg_dump\" \"$d\" | gzip -6 >\"$1/$d.sql.gz\"",
    };
    let databases: Vec<String> = (1..=SHARES.len()).map(database).collect();
    shell(site, &format!("for d in {}; do {how}; done", databases.join(" ")), folder)
}

/// The ways without pgisle fill a database beside the live one; they neither compare anything nor give the service back.
fn restoring(site: &Site, program: &Path, subject: Subject, folder: &Path) -> Command {
    let name = format!("s{RESTORED:03}");
    if subject == Subject::Pgisle {
        return site.pgisle(program, &["restore", &name, "-auto-approve", "-no-verify", "-var", &location(folder)]);
    }
    let how = match subject {
        Subject::Directory => "\"$0/pg_restore\" -j2 -d scratch \"$1/$d\"",
        _ => "gunzip -c \"$1/$d.sql.gz\" | \"$0/psql\" -X -q -v ON_ERROR_STOP=1 -d scratch >/dev/null",
    };
    shell(site, &format!("\"$0/createdb\" -T template0 scratch; d={}; {how}", database(RESTORED)), folder)
}

async fn clean_up(site: &Site, program: &Path, subject: Subject) -> Result<()> {
    if subject == Subject::Pgisle {
        let words = ["restore", &format!("s{RESTORED:03}"), "-prune", "-keep-days=0", "-auto-approve"];
        measure(site.postmaster()?, vec![vec![site.pgisle(program, &words)]])?;
    } else {
        site.cluster.psql("DROP DATABASE scratch").await;
    }
    Ok(())
}

fn location(folder: &Path) -> String {
    format!("backup_storage_path={}", folder.display())
}

fn shell(site: &Site, script: &str, folder: &Path) -> Command {
    let mut command = Command::new("bash");
    let programs = site.cluster.installation().program("pg_dump");
    command.args(["-euo", "pipefail", "-c", script]).arg(programs.parent().unwrap_or(Path::new("/"))).arg(folder);
    site.as_superuser(&mut command);
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
fn render(figures: &Figures, work: Work) -> String {
    let Figures { data, version, all_bytes, restored_bytes, outcomes } = figures;
    let what = match work {
        Work::Backup => format!("Five databases of {} data, {} MB", data.name(), all_bytes / 1_000_000),
        Work::Restore => format!("A database of {} data, {} MB", data.name(), restored_bytes / 1_000_000),
    };
    let mut text = format!(
        "{what}, PostgreSQL {version}\n\n| | wall s | ratio | client CPU s | ratio | server CPU s | MB kept | ratio | memory MB |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let ours = outcomes.iter().find(|outcome| (outcome.subject, outcome.work) == (Subject::Pgisle, work));
    for Outcome { subject, cost, bytes, .. } in outcomes.iter().filter(|outcome| outcome.work == work) {
        let ratio = |own: f64, ours: Option<f64>| match ours {
            Some(ours) if *subject != Subject::Pgisle && own > 0.0 => format!("{:.2}", ours / own),
            _ => String::new(),
        };
        text.push_str(&format!(
            "| {} | {:.1} | {} | {:.1} | {} | {:.1} | {:.1} | {} | {} |\n",
            subject.name(work),
            cost.wall_s,
            ratio(cost.wall_s, ours.map(|ours| ours.cost.wall_s)),
            cost.client_cpu_s,
            ratio(cost.client_cpu_s, ours.map(|ours| ours.cost.client_cpu_s)),
            cost.server_cpu_s,
            *bytes as f64 / 1e6,
            ratio(*bytes as f64, ours.map(|ours| ours.bytes as f64)),
            cost.memory_bytes / 1_000_000,
        ));
    }
    text
}
