//! `pgisle dev`.

use std::path::Path;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::spec::{Loaded, Sources, load};
use pgisle_engine::local::LocalError;
use pgisle_engine::local::dev::{self, DevCluster, DownChange, Follower, Standby, StandbyState, Status, UpChange, UpOptions};
use serde_json::{Value, json};

use crate::progress::Progress;
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Run a private PostgreSQL cluster, to try things on.
///
/// Starts a server of its own from the programs that are installed on this machine, under .pgisle/dev, on a loopback port of
/// its own. Nothing else need be installed or configured, and no root is needed. -dev, or PGISLE_DEV=1, points every other
/// command at it; apply then also starts PgBouncer on the generated files, where there is one.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle dev up
  $ pgisle apply -dev
  $ pgisle dev down")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    Up(UpArgs),
    Down(DownArgs),
    Status(StatusArgs),
}

/// Start the private cluster.
///
/// Makes it first when there is none. Running it again does nothing.
///
/// With -standby a second server follows it, on a port of its own, and is there from then on: dev up starts both, dev down stops
/// both. After a failover (pgisle verify -failover) the two have changed places, and dev up knows it: what was replaced is never
/// started as a server that takes writes.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle dev up
  $ pgisle dev up -major=17
  $ pgisle dev up -standby")]
struct UpArgs {
    /// The major version of PostgreSQL; the best that is installed when not given.
    #[arg(long, value_name = "N")]
    major: Option<u32>,
    /// Give it a standby, too.
    #[arg(long)]
    standby: bool,
}

/// Stop the private cluster, and PgBouncer with it.
///
/// Its data is kept: dev up brings it back as it was.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle dev down
  $ pgisle dev down -destroy    # and forget all its data")]
struct DownArgs {
    /// Remove its data, too.
    #[arg(long)]
    destroy: bool,
}

/// Say whether the private cluster runs, and where.
///
/// Exits with 69 when it does not run.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle dev status
  $ pgisle dev status -json | jq -r .cluster.port")]
struct StatusArgs {}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    match &args.action {
        Action::Up(args) => up(session, args).await,
        Action::Down(args) => down(session, args).await,
        Action::Status(StatusArgs {}) => status().await,
    }
}

async fn up(session: &Session, args: &UpArgs) -> Result<Report, Vec<Diagnostic>> {
    let options = UpOptions { standby: args.standby, ..options(session, args.major)? };
    let progress = Progress::new(&session.console, "starting");
    let work = async {
        let (cluster, change) = dev::up(Path::new("."), &options).await?;
        Ok((cluster, change, dev::standby(Path::new(".")).await?))
    };
    let (cluster, change, standby) = progress.watch(Box::pin(work)).await.map_err(|error: LocalError| vec![error.diagnostic()])?;
    let diagnostics = start_pooler(session).await.err();
    let word = match change {
        UpChange::None => "running",
        UpChange::Started => "started",
        UpChange::Created => "created",
    };
    Ok(Report::new()
        .human(human::dev::up(&cluster, change, standby.as_ref()))
        .member("change", word)
        .member("cluster", value(&cluster))
        .member("standby", standby.as_ref().map(standby_value))
        .diagnostics(diagnostics))
}

/// Ends a failover that was broken off.
pub(super) async fn restore(session: &Session) -> Result<(), Vec<Diagnostic>> {
    let options = options(session, None)?;
    let progress = Progress::new(&session.console, "mending");
    progress.watch(Box::pin(dev::up(Path::new("."), &options))).await.map_err(|error| vec![error.diagnostic()])?;
    start_pooler(session).await.map_err(|error| vec![error])
}

/// Stops the private cluster and starts it again, for what takes effect then.
pub(super) async fn restart(session: &Session) -> Result<(), Vec<Diagnostic>> {
    let options = options(session, None)?;
    let progress = Progress::new(&session.console, "starting again");
    let work = async {
        dev::down(Path::new("."), false).await?;
        dev::up(Path::new("."), &options).await
    };
    progress.watch(Box::pin(work)).await.map_err(|error| vec![error.diagnostic()])?;
    start_pooler(session).await.map_err(|error| vec![error])
}

/// Starts PgBouncer on what an earlier apply has generated, because it went down with the cluster. Files that cannot be read
/// are for other commands to report: the cluster runs all the same. After a failover, the files name the new primary.
pub(super) async fn start_pooler(session: &Session) -> Result<(), Diagnostic> {
    let here = Path::new(".");
    let has_moved = dev::is_failing_over(here).map_err(|error| error.diagnostic())?;
    refresh_pooler(session, has_moved).await?;
    if has_moved { dev::end_failover(here).await.map_err(|error| error.diagnostic()) } else { Ok(()) }
}

async fn refresh_pooler(session: &Session, has_moved: bool) -> Result<(), Diagnostic> {
    let Ok(mut project) = Project::load_dev(session).await else { return Ok(()) };
    let Ok(store) = project.store() else { return Ok(()) };
    let Ok(connect) = project.connect_options() else { return Ok(()) };
    if project.learn_homes(&connect).await.is_err() {
        return Ok(());
    }
    let credentials = store.load().map_err(|error| error.diagnostic())?;
    if has_moved && project.folder().exists() {
        project.write_artifacts(&credentials, false)?;
    }
    project.refresh_pooler(&credentials).await
}

/// What the cluster is to be. A project says who its administrator is; without one the defaults do.
fn options(session: &Session, major: Option<u32>) -> Result<UpOptions, Vec<Diagnostic>> {
    let spec = if Path::new(pgisle_core::spec::SPEC_FILE).exists() {
        Project::load_without_server(session)?.spec
    } else {
        let mut sources = Sources::new();
        // A spec needs a service to be one; its settings are the defaults, which is all that is wanted of it.
        sources.push(pgisle_core::spec::LayerKind::SpecFile, "-", "service \"none\" {\n}\n");
        let Loaded { spec, diagnostics, .. } = load(&sources);
        spec.ok_or(diagnostics)?
    };
    Ok(UpOptions { admin: spec.settings.postgres_username, database: spec.settings.postgres_database, major, standby: false })
}

async fn down(session: &Session, args: &DownArgs) -> Result<Report, Vec<Diagnostic>> {
    let progress = Progress::new(&session.console, "stopping");
    let change =
        progress.watch(Box::pin(dev::down(Path::new("."), args.destroy))).await.map_err(|error| vec![error.diagnostic()])?;
    let (word, text) = match change {
        DownChange::None => ("none", "It was not running."),
        DownChange::Stopped => ("stopped", "Stopped. Its data is kept; `pgisle dev up` brings it back."),
        DownChange::Destroyed => ("destroyed", "Stopped, and removed with all its data."),
    };
    Ok(Report::new().human(format!("{text}\n")).member("change", word))
}

async fn status() -> Result<Report, Vec<Diagnostic>> {
    let status = dev::status(Path::new(".")).await.map_err(|error| vec![error.diagnostic()])?;
    let standby = dev::standby(Path::new(".")).await.map_err(|error| vec![error.diagnostic()])?;
    let report = Report::new().member("standby", standby.as_ref().map(standby_value));
    Ok(match status {
        Status::Running { cluster, pooler, .. } => report
            .human(human::dev::running(&cluster, standby.as_ref(), pooler.as_ref()))
            .member("state", "running")
            .member("cluster", value(&cluster))
            .member("pgbouncer", pooler.map(|pooler| json!({ "port": pooler.port, "log": pooler.log }))),
        Status::Stopped(cluster) => report
            .member("state", "stopped")
            .member("cluster", value(&cluster))
            .diagnostics([Project::dev_is_down("the private cluster is stopped")]),
        Status::Absent => {
            report.member("state", "absent").diagnostics([Project::dev_is_down("there is no private cluster in this project")])
        }
    })
}

/// All but the password.
fn value(cluster: &DevCluster) -> Value {
    let DevCluster { host, port, socket_folder, admin, password: _, database, data, log, major } = cluster;
    json!({
        "host": host,
        "port": port,
        "socket_folder": socket_folder,
        "admin": admin,
        "database": database,
        "data": data,
        "log": log,
        "major": major,
    })
}

fn standby_value(standby: &Standby) -> Value {
    let Standby { port, data, log, state } = standby;
    let (word, follower) = match state {
        StandbyState::Stopped => ("stopped", None),
        StandbyState::Waiting => ("waiting", None),
        StandbyState::Streaming(follower) => ("streaming", Some(follower)),
    };
    let behind = |of: fn(&Follower) -> Value| follower.map_or(Value::Null, of);
    json!({
        "port": port,
        "data": data,
        "log": log,
        "state": word,
        "behind_bytes": behind(|follower| follower.behind_bytes.into()),
        "behind_ms": behind(|follower| follower.behind_ms.into()),
        "synchronous": behind(|follower| follower.is_synchronous.into()),
    })
}
