//! `pgisle split plan`.

use std::path::PathBuf;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::split::{SplitOptions, Strategy, dot, plan_split};
use pgisle_engine::split::{self, inspect_shared_database};

use crate::command::change;
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Show what moves, what crosses the boundary, and which way is best.
///
/// Reads the shared database and changes nothing. For each service it lists the tables, sequences, views, functions and types
/// that move; then everything that crosses to another service and will not work any more as it does: foreign keys with their
/// cascades, views and functions that name tables of several services, and, where pg_stat_statements is installed, the
/// statements that join them. It estimates the pause, the time, the processor time, the write-ahead log and the disk of each
/// strategy, and picks one.
///
/// What a function puts together at run time, and what applications send without pg_stat_statements seeing it, it cannot know.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle split plan
  $ pgisle split plan users chat
  $ pgisle split plan -strategy=copy -json
  $ pgisle split plan -dot=boundary.dot && dot -Tsvg boundary.dot > boundary.svg")]
pub(super) struct Args {
    /// Only these services.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Take this strategy: clone, stream or copy.
    #[arg(long, value_name = "STRATEGY", value_parser = clap::builder::PossibleValuesParser::new(Strategy::WORDS))]
    strategy: Option<String>,
    /// The longest pause in writing that is fine.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = pgisle_core::duration::parse)]
    pause: std::time::Duration,
    /// Draw the boundary into this file, in Graphviz's language.
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let mut project = Project::load(session).await?;
    let services = change::services(&project, &args.services)?;
    let connect = project.connect_options()?;
    let database = &project.spec.settings.postgres_database;
    let shared = inspect_shared_database(&connect, database).await.map_err(|error| vec![error.diagnostic()])?;
    let jobs = split::read_jobs(&connect, database).await.map_err(|error| vec![error.diagnostic()])?;
    let options = SplitOptions {
        services,
        moved: jobs.into_iter().filter(|job| job.state.is_home()).map(|job| job.service).collect(),
        strategy: args.strategy.as_deref().and_then(Strategy::from_word),
        pause_max_ms: u64::try_from(args.pause.as_millis()).unwrap_or(u64::MAX),
    };
    let plan = plan_split(&project.spec, &shared, &options);
    if let Some(path) = &args.dot {
        pgisle_engine::file::write_atomically(path, pgisle_core::artifact::MODE_OPEN, dot(&plan).as_bytes())
            .map_err(|error| vec![Diagnostic::error(Code::IO, error.to_string())])?;
    }
    Ok(Report::new()
        .human(human::split::plan(&plan))
        .member("split", &plan)
        .diagnostics(plan.diagnostics.iter().cloned())
        .diagnostics(project.warnings))
}
