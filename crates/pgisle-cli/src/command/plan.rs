//! `pgisle plan`.

use std::path::PathBuf;

use pgisle_core::diagnostic::{Diagnostic, any_error};
use pgisle_core::plan::DestroyScope;
use pgisle_engine::apply::SavedPlan;

use super::change::{self, Change, Site};
use crate::exit::Exit;
use crate::report::Report;
use crate::session::Session;
use crate::view::{human, json};

/// Show what apply would change.
///
/// Reads the files, looks at the cluster, and shows each step from the one to the other: what is added (+), changed (~) and
/// removed (-), why, and what it costs. Changes nothing, and takes no lock. With -v the SQL of each step is shown.
///
/// What pgisle may not do with this login, or not without a decision, is listed too, with the statements that someone with more rights
/// has to run. For plan that is a warning, and its exit code is that of what it was asked: whether there is something to do. It is apply
/// that ends with 1 when something is left. Pools that do not fit into the server are refused by both; `pgisle budget` has the numbers.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle plan
  service.billing
    ~ role/shop_billing_user  change role \"shop_billing_user\": at most 40 connections
    ~ database                fence database \"shop_billing\": CONNECT taken from PUBLIC (drift: …)

  Plan: 0 to add, 2 to change, 0 to remove.

  $ pgisle plan -v -target=service.users              # with the SQL, for one service
  $ pgisle plan -out=monday.pgplan                    # for apply to do exactly this
  $ pgisle plan -detailed-exitcode                    # 0: nothing to do, 2: changes, 1: an error")]
pub(crate) struct Args {
    /// Save the plan, so that apply does exactly this, or refuses when the cluster has moved.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Exit with 2 when there is something to do.
    #[arg(long)]
    detailed_exitcode: bool,
    /// Plan for this only (can be repeated): service.users, monitoring, cluster
    #[arg(long, value_name = "ADDRESS")]
    target: Vec<String>,
    /// Show what `pgisle destroy` would drop.
    #[arg(long)]
    destroy: bool,
    /// With -destroy: what it would drop with -force.
    #[arg(long, requires = "destroy")]
    force: bool,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let site = Site::open(session).await?;
    let mut site = if args.destroy { site.with_backups() } else { site };
    let change = Change {
        destroy: args.destroy.then_some(DestroyScope { force: args.force }),
        targets: change::targets(&args.target)?,
        ..Change::default()
    };
    let preview = site.preview(&change).await?;
    if any_error(&preview.planned.diagnostics) {
        return Err(preview.planned.diagnostics);
    }
    site.project.learn_homes(&site.connect).await?;
    let planned = &preview.planned;
    let files = if args.destroy { Vec::new() } else { site.files(&preview.credentials)? };
    let folder = site.project.folder();
    let mut diagnostics = planned.diagnostics.clone();
    diagnostics.extend(change::blocked(&planned.report.blocked, true));
    diagnostics.extend(pgisle_engine::artifact::diagnostics(&folder, &files));
    if let Some(path) = &args.out {
        let cluster = preview.inventory.server.system_identifier.known().cloned();
        let saved = SavedPlan::new(&site.request(&change), planned, cluster);
        saved.write(path).map_err(|error| vec![error.diagnostic()])?;
    }
    let pending = !planned.plan.is_empty() || human::plan::any_change(&files);
    let mut report = Report::new();
    report = if pending {
        report
            .human(human::plan::planned(planned, site.depth()))
            .human(human::plan::files(&folder, &files))
            .human(human::plan::next(args.out.as_deref(), args.destroy))
    } else {
        report.human(human::plan::nothing(planned))
    };
    let exit = if pending && args.detailed_exitcode { Exit::Changes } else { Exit::Done };
    Ok(report
        .member("pending", pending)
        .member("plan", json::plan(planned))
        .member("files", &files)
        .diagnostics(diagnostics)
        .diagnostics(site.project.warnings)
        .exit(exit))
}
