//! `cargo xtask bench apply`: what an apply and an empty plan cost, beside psql doing the same; `bench backup` in [`backup`]; and
//! `bench split` in [`split`].
//!
//! A measurement shows a machine and a moment, so all that is compared is measured in one run, in turns, each from a fresh cluster.
//! Of the rounds the least of each figure counts: what disturbs a measurement only ever adds to it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to whoever runs it")]

mod backup;
mod data;
mod link;
mod meter;
mod script;
mod site;
mod split;
mod table;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) use backup::backup;
use meter::{Cost, measure};
use site::Site;
pub(crate) use site::build;
pub(crate) use split::split;

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
struct Options {
    services: Vec<usize>,
    rounds: usize,
    json: bool,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self { services: vec![5, 50, 200], rounds: 3, json: false };
        let mut words = words.iter().map(|word| word.trim_start_matches('-'));
        while let Some(word) = words.next() {
            let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            let mut value = || value.or_else(|| words.next()).with_context(|| format!("-{name} needs a value"));
            match name {
                "services" => options.services = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "rounds" => options.rounds = value()?.parse()?,
                "json" => options.json = true,
                _ => bail!("bench knows -services, -rounds and -json, not -{name}"),
            }
        }
        // Names are numbered with three digits.
        ensure!(options.services.iter().all(|count| (1..=999).contains(count)), "-services takes numbers from 1 to 999");
        ensure!(options.rounds > 0, "-rounds must be 1 at least");
        Ok(options)
    }
}

/// The figures of one number of services.
struct Figures {
    services: usize,
    statements: usize,
    version: String,
    costs: Vec<(Subject, Cost)>,
}

pub(crate) fn apply(words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    let program = site::build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut all = Vec::new();
    for &services in &options.services {
        let figures = runtime.block_on(figures(&program, services, options.rounds))?;
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

async fn figures(program: &Path, services: usize, rounds: usize) -> Result<Figures> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_each_form() {
        for words in [["-services=5,7", "-rounds=2", "-json"].as_slice(), &["-json", "--services", "5,7", "-rounds", "2"]] {
            let options = Options::parse(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
            assert_eq!((options.services, options.rounds, options.json), (vec![5, 7], 2, true));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [["-services=0"].as_slice(), &["-services=1000"], &["-services"], &["-rounds=0"], &["-speed=9"]] {
            assert!(Options::parse(words).is_err(), "{words:?}");
        }
    }
}
