//! `pgisle backup create`.

use std::path::PathBuf;

use clap::ValueEnum;
use pgisle_core::backup::DumpFormat;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_engine::backup::create::{self, Event, Request};
use pgisle_engine::backup::report::Status;
use pgisle_engine::clock;

use crate::args::address::{self, Address};
use crate::progress::Progress;
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::{human, json};

/// Back up the services' databases.
///
/// Each is dumped from one snapshot by pg_dump, several at a time, compressed here by all processors, and encrypted when the file
/// names backup_recipients. While the dump is written the server counts the rows of every table in the same snapshot; then the
/// backup is read back, and only when all of it agrees is it there. Services write on meanwhile.
///
/// With -consistent all services stand at one moment. Where there is PgBouncer it is paused for the milliseconds that the snapshots
/// take, so that no service is caught between two of its own transactions; without it the snapshots are taken as close together
/// as can be, and what lies between them is told. Where services come through several, name each with -pooler.
///
/// With -cluster the whole cluster is copied by pg_basebackup: every database, role and setting, with the write-ahead log that makes
/// them one moment. `pgisle backup unpack` makes a data directory of it again. With -incremental only what has changed since the
/// last such backup is copied (PostgreSQL 17 or later, with summarize_wal on).
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle backup create
  $ pgisle backup create -service=users -service=chat
  $ pgisle backup create -consistent
  $ pgisle backup create -consistent -pooler=pooler-1 -pooler=pooler-2:6433
  $ pgisle backup create -format=plain      # data.sql.gz, for psql
  $ pgisle backup create -cluster
  $ pgisle backup create -cluster -incremental
  $ pgisle backup create -metrics=/var/lib/node_exporter/pgisle.prom")]
pub(super) struct Args {
    /// Back up this service only (can be repeated). One that has left the file may be named.
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Have all services stand at one moment.
    #[arg(long)]
    consistent: bool,
    /// Pause this PgBouncer instead of the one at pgbouncer_host and pgbouncer_port (can be repeated: all of them are paused together).
    #[arg(long, value_name = "HOST:PORT", requires = "consistent", value_parser = address::parse)]
    pooler: Vec<Address>,
    /// How the data is laid out.
    #[arg(long, value_name = "FORMAT", default_value = "custom")]
    format: Format,
    /// Copy the whole cluster instead.
    #[arg(long, conflicts_with_all = ["service", "consistent", "format"])]
    cluster: bool,
    /// Copy only what has changed since the last backup of the cluster.
    #[arg(long, requires = "cluster")]
    pub(super) incremental: bool,
    /// Write metrics for node_exporter's textfile collector.
    #[arg(long, value_name = "FILE")]
    pub(super) metrics: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// pg_dump's custom format, compressed by zstd.
    Custom,
    /// A script for psql, compressed by gzip.
    Plain,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    if args.cluster {
        return super::cluster::create(session, args).await;
    }
    let mut project = Project::load(session).await?;
    let services = super::services(&args.service)?;
    let connect = project.connect_options()?.for_purpose("backup");
    let store = project.backups()?;
    let mut poolers = Vec::new();
    if args.consistent {
        let credentials = project.store()?.load().map_err(|error| vec![error.diagnostic()])?;
        poolers = project.pooler_consoles(&credentials, &args.pooler);
        if poolers.is_empty() && !args.pooler.is_empty() {
            return Err(vec![no_console()]);
        }
    }
    let request = Request {
        spec: &project.spec,
        connect: &connect,
        store: &store,
        identities: &Project::identities(),
        services: &services,
        format: match args.format {
            Format::Custom => DumpFormat::Custom,
            Format::Plain => DumpFormat::Plain,
        },
        consistent: args.consistent,
        poolers: &poolers,
        parallelism: usize::from(session.global.parallelism),
        lock_timeout: session.global.lock_timeout,
    };
    let begun = clock::now();
    let progress = Progress::new(&session.console, "backing up");
    let events = |event: Event<'_>| progress.backup(&event);
    let made = progress.watch(Box::pin(create::create(&request, &events))).await;
    let status = Status::of_create(begun, &made);
    let warnings = super::publish(&store, &project.spec.settings, &status, args.metrics.as_ref()).await;
    let made = made.map_err(|diagnostic| [vec![diagnostic], warnings.clone()].concat())?;
    let report = Report::new()
        .human(human::backup::made(&made, &store.location()))
        .member("store", store.location())
        .member("set", &made.set)
        .member("pause_ms", made.pause_ms)
        .member("backups", json::backups(made.services.iter().filter_map(|one| one.outcome.as_ref().ok())));
    let failures = made.services.into_iter().filter_map(|one| one.outcome.err());
    Ok(report.diagnostics(failures).diagnostics(made.warnings).diagnostics(warnings).diagnostics(project.warnings))
}

fn no_console() -> Diagnostic {
    Diagnostic::error(Code::USAGE, "-pooler needs a user of PgBouncer's console, and there is none")
        .detail("It is made by an apply with enable_pgbouncer = true, and stands in the generated userlist.txt.")
        .hint("Set enable_pgbouncer, apply, and reload every PgBouncer with the generated files.")
}
