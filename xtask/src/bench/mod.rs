//! `cargo xtask bench apply`: what an apply and an empty plan cost, beside psql doing the same; `bench backup` in [`backup`]; and
//! `bench split` in [`split`]; `bench terraform` in [`terraform`].
//!
//! A measurement shows a machine and a moment, so all that is compared is measured in one run, in turns, each from a fresh cluster.
//! Of the rounds the least of each figure counts: what disturbs a measurement only ever adds to it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to whoever runs it")]

pub(crate) mod backup;
mod data;
mod link;
mod meter;
mod script;
mod site;
pub(crate) mod split;
mod table;
pub(crate) mod terraform;

use std::path::Path;

use anyhow::Result;

use meter::{Cost, measure};
use site::Site;
pub(crate) use site::build;

/// What is measured. The order is the one of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Apply,
    ApplyScript,
    ApplyScriptTwice,
    Plan,
    ReadScript,
    ReadScriptTwice,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "pgisle apply",
            Self::ApplyScript => "psql, the same statements",
            Self::ApplyScriptTwice => "psql, the same, two at once",
            Self::Plan => "pgisle plan, nothing to do",
            Self::ReadScript => "psql, the same queries",
            Self::ReadScriptTwice => "psql, the same, two at once",
        }
    }

    /// What of pgisle's it is to be compared with.
    fn ours(self) -> Self {
        match self {
            Self::Apply | Self::ApplyScript | Self::ApplyScriptTwice => Self::Apply,
            Self::Plan | Self::ReadScript | Self::ReadScriptTwice => Self::Plan,
        }
    }
}

/// How many measurements, and of what.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many services, one number after another. Names are numbered with three digits.
    #[arg(long, value_delimiter = ',', default_value = "5,50,200", value_parser = clap::value_parser!(u16).range(1..=999))]
    pub(crate) services: Vec<u16>,
    /// Of so many measurements the least counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,
    /// JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The figures of one number of services.
struct Figures {
    services: usize,
    statements: usize,
    version: String,
    costs: Vec<(Subject, Cost)>,
}

pub(crate) fn apply(options: &Options) -> Result<()> {
    let program = site::build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut all = Vec::new();
    for &services in &options.services {
        let figures = runtime.block_on(figures(&program, usize::from(services), options.rounds))?;
        if !options.json {
            println!("{}", table::render(&figures));
        }
        all.push(figures);
    }
    if options.json {
        println!("{:#}", table::json(&all, options.rounds));
    }
    Ok(())
}

async fn figures(program: &Path, services: usize, rounds: u16) -> Result<Figures> {
    let model = Site::new(services).await?;
    let plan = model.plan().await?;
    let (folder, major) = (model.folder(), model.cluster.major());
    let scripts = [script::apply(&plan, 1, folder)?, script::apply(&plan, 2, folder)?];
    let reads = [script::read_back(&plan, major, 1, folder)?, script::read_back(&plan, major, 2, folder)?];
    let mut costs: Vec<(Subject, Cost)> = Vec::new();
    let mut note = |subject: Subject, cost: Cost| {
        eprintln!("{services} services: {}: {:.2} s", subject.name(), cost.wall_s);
        match costs.iter_mut().find(|(known, _)| *known == subject) {
            Some((_, least)) => *least = least.least(cost),
            None => costs.push((subject, cost)),
        }
    };
    for _ in 0..rounds {
        let site = Site::new(services).await?;
        let postmaster = site.postmaster()?;
        note(Subject::Apply, measure(postmaster, vec![vec![site.pgisle(program, &["apply", "-auto-approve"])]])?);
        site.cluster.psql("CHECKPOINT").await;
        // Fails when anything is left to do, so this also proves that the apply was whole.
        note(Subject::Plan, measure(postmaster, vec![vec![site.pgisle(program, &["plan", "-detailed-exitcode"])]])?);
        for (subject, read) in [Subject::ReadScript, Subject::ReadScriptTwice].into_iter().zip(&reads) {
            note(subject, measure(postmaster, site.psql(read))?);
        }
        drop(site);
        for (subject, script) in [Subject::ApplyScript, Subject::ApplyScriptTwice].into_iter().zip(&scripts) {
            let site = Site::new(services).await?;
            note(subject, measure(site.postmaster()?, site.psql(script))?);
        }
    }
    costs.sort_by_key(|(subject, _)| *subject);
    let version = model.cluster.installation().version.clone();
    Ok(Figures { services, statements: plan.statement_count(), version, costs })
}
