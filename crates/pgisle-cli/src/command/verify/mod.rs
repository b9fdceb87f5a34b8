//! `pgisle verify`.

mod failover;
mod load;

use std::path::PathBuf;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::verify::{Bounds, junit_xml};
use pgisle_engine::verify::{self, Options, Request};

use crate::progress::Progress;
use crate::project::Project;
use crate::report::Report;
use crate::session::{Session, io_diagnostic};
use crate::view::human;

/// Prove that no service reaches another.
///
/// Logs in as each service, to its own database and to every other one, and tries what must fail: connecting, reading,
/// creating, becoming another role, raising its limits, opening its database to all. Beside that it computes from the catalogs
/// what every login could do. The result is a matrix, and for each leak the path that leads there.
///
/// Each leak is told once: its path, what was seen of it, and lines for psql that close it.
///
/// Exits with 1 on any leak. What could not be tried is reported as not proved, never as isolated. It leaves nothing behind, and
/// may run beside live services.
///
/// With -load it measures instead: the connections that the server holds, transactions a second and how long clients wait, first
/// when every client has a connection of its own, then when the same clients come through PgBouncer; and what one service feels of
/// another that keeps hundreds of transactions open, in a pool that both share and in a pool of its own. It makes nothing and
/// writes nothing, leaves a tenth of the server's connections to others, and is refused where it would not. It exits with 1 when
/// a client fails. Where the PgBouncer of the settings does not answer, one is started on this machine for as long as it takes.
///
/// With -failover, and only on the private cluster (-dev), it kills the primary while the services write, promotes the standby and
/// has PgBouncer lead there; then it brings the old primary back as a standby, and compares what clients were told with what is
/// there: what was lost, how long it took, what is there twice, and whether the old primary took anything after it was replaced.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle verify
  service    ai       chat     discovery  postgres  template1
  ai         ok       denied   denied     denied    denied
  chat       denied   ok       denied     denied    denied
  discovery  denied   denied   ok         denied    denied

  trials: 222 passed
  isolated: 3 services, each alone in its database

  $ pgisle verify -static                 # from the catalogs alone; plants nothing, logs in as nobody
  $ pgisle verify -json -junit=verify.xml

  $ pgisle verify -load                   # as many clients as the pools of all instances hold, 5 s each part
  $ pgisle verify -load -clients=60 -noisy=400 -duration=20s
  $ pgisle verify -load -json | jq .load.after.connections

  $ pgisle dev up -standby
  $ pgisle verify -dev -failover          # kills the private cluster's primary, and nothing else
  $ pgisle verify -dev -failover -sync -lag=500ms")]
pub(crate) struct Args {
    /// Also write a JUnit report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Plant no canary rows.
    #[arg(long)]
    no_canary: bool,
    /// Prove from the catalogs alone, without logging in as the services.
    #[arg(long = "static", conflicts_with = "no_canary")]
    only_static: bool,
    #[command(flatten)]
    load: load::LoadArgs,
    #[command(flatten)]
    failover: failover::FailoverArgs,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    if args.load.load {
        return load::run(session, &args.load).await;
    }
    if args.failover.failover {
        return Box::pin(failover::run(session, &args.failover)).await;
    }
    let mut project = Project::load(session).await?;
    let connect = project.connect_options()?.for_purpose("verify");
    let credentials = project.store()?.load().map_err(|error| vec![error.diagnostic()])?;
    let services = verify::service_address(&connect, &project.spec.settings);
    let request = Request {
        spec: &project.spec,
        credentials: &credentials,
        connect: &connect,
        services: &services,
        options: Options {
            dynamic: !args.only_static,
            canary: !args.no_canary && !args.only_static,
            bounds: Bounds::USUAL,
            parallelism: usize::from(session.global.parallelism),
        },
        lock_timeout: session.global.lock_timeout,
    };
    let progress = Progress::new(&session.console, "proving");
    let advance = |step: verify::Progress| progress.update(step.done, step.total, "logging in as each service");
    let proof = progress.watch(Box::pin(verify::run(&request, &advance))).await.map_err(|error| vec![error.diagnostic()])?;
    let mut diagnostics = proof.diagnostics();
    if let Some(path) = &args.junit {
        std::fs::write(path, junit_xml(&proof)).map_err(|source| {
            diagnostics.push(io_diagnostic("the JUnit report cannot be written", path, &source));
            std::mem::take(&mut diagnostics)
        })?;
    }
    session.console.find(&project.warnings);
    Ok(Report::new()
        .human(human::isolation::report(&proof, session.console.width()))
        .told()
        .member("proof", &proof)
        .diagnostics(diagnostics)
        .diagnostics(project.warnings))
}
