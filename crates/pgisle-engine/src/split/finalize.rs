//! The end of a split: there is no way back any more, what is left in the shared database is put aside under other names, and dropped
//! days later.

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::moment::{DAY_S, Moment};
use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::split::observed::RelationKind;
use pgisle_core::split::{Aside, Job, JobState, put_aside};
use pgisle_core::sql::homecoming::{GRANTEES, act_as_oneself, close_relation, drop_aside, let_read};
use pgisle_core::sql::split::{rename_table, revoke_entry, set_local_lock_timeout};

use super::run::{Ground, drop_slot, wrong_state};
use super::status::late;
use super::{Request, SplitError, act_as, fill, guard, journal};
use crate::backup::restore::{Site, locks};
use crate::clock::now;
use crate::event::{Event, Events};
use crate::fault;
use crate::postgres::{Session, inspect_shared};

/// How long the old tables are waited for. Nobody writes to them; someone may read.
const LOCK_TIMEOUT_MS: u32 = 10_000;

/// How a split is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finalizing {
    /// For how many days what was put aside is kept.
    pub keep_days: u32,
    /// Drops it now.
    pub drop: bool,
    /// Also when both sides were not found to hold the same, or someone still writes to the old tables.
    pub force: bool,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
pub enum Outcome {
    /// The way back is gone, and the old tables have other names.
    Aside {
        /// From when on the next finalize drops them.
        until: Moment,
    },
    /// It is not yet time to drop them.
    Kept {
        /// From when on it does.
        until: Moment,
    },
    /// They are dropped, and the split is forgotten.
    Dropped,
    /// The service had come back to the shared database, and that it was ever split is forgotten.
    Forgotten,
}

/// A split that is ended, or nearly so.
#[derive(Debug)]
pub struct Finalized {
    /// The journal, as it was or is.
    pub job: Job,
    /// What was done.
    pub outcome: Outcome,
    /// What was put aside, or dropped.
    pub aside: Vec<Aside>,
    /// Findings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Ends a split: first puts the old tables aside, and drops them when it is called again after some days.
///
/// # Errors
/// See [`SplitError`].
pub async fn finalize(request: &Request<'_>, finalizing: Finalizing, events: Events<'_>) -> Result<Finalized, SplitError> {
    let own = locks::of_service(request.apply, request.service, "split", events).await?;
    let site = Site { request: request.apply, service: request.service, own: &own, purpose: "split" };
    let outcome = async {
        let run = locks::for_the_making(&site, events).await?;
        let outcome = Box::pin(finalize_locked(&site, request, finalizing, events)).await;
        run.release().await;
        outcome
    };
    let outcome = outcome.await;
    own.release().await;
    outcome
}

async fn finalize_locked(
    site: &Site<'_>,
    request: &Request<'_>,
    finalizing: Finalizing,
    events: Events<'_>,
) -> Result<Finalized, SplitError> {
    let mut session = Session::connect(site.connect()).await?;
    let mut control = request.session(request.shared()).await?;
    let ground = Ground::look(request, &session).await?;
    let Some(job) = journal::settled(&mut control, &request.service.name).await? else {
        return Err(SplitError::not_begun(&request.service.name));
    };
    let mut finalized = Finalized { job, outcome: Outcome::Dropped, aside: Vec::new(), diagnostics: Vec::new() };
    match finalized.job.state {
        JobState::Cut => {
            check_receipt(&finalized.job, finalizing.force)?;
            drop_way_back(request, &finalized.job, ground.is_superuser).await?;
            events(Event::Restoring("putting the old tables aside"));
            move_aside(&mut control, request, &ground, &mut finalized, finalizing).await?;
        }
        JobState::Finalized => drop_or_keep(&mut control, &ground, &mut finalized, finalizing, events).await?,
        JobState::Returned if finalized.job.opened.is_none() => {
            if !finalizing.force {
                check_logins(&control, request).await?;
            }
            forget(&mut control, request, &mut finalized).await?;
        }
        JobState::Begun | JobState::Following | JobState::Returned => return Err(wrong_state(&finalized.job, "finalized")),
    }
    let inventory = inspect_shared(&session).await?;
    fill::clean(site, &mut session, &inventory).await?;
    session.close().await;
    control.close().await;
    Ok(finalized)
}

/// Both sides must have been found to hold the same.
fn check_receipt(job: &Job, force: bool) -> Result<(), SplitError> {
    let why = match job.is_equal() {
        Some(true) => return Ok(()),
        _ if force => return Ok(()),
        Some(false) => "Both sides did not hold the same when the home moved.",
        None => "Both sides were not compared: the cutover was interrupted.",
    };
    Err(Diagnostic::error(Code::SPLIT_DIFFERS, format!("the split of service \"{}\" cannot be finalized", job.service))
        .detail(format!("{why} Behind finalize there is no way back."))
        .hint("Roll back, or look at the tables yourself and finalize with -force.")
        .into())
}

async fn drop_way_back(request: &Request<'_>, job: &Job, is_superuser: bool) -> Result<(), SplitError> {
    let mut home = request.session(&job.database).await?;
    drop_slot(&mut home, &job.slot_back()).await?;
    home.close().await;
    // What a rollback that did not come through may have left.
    guard::lower(request, job, is_superuser, journal::FENCE_ATTEMPTS).await?;
    fault::stage("split.end.slot");
    Ok(())
}

/// Renames everything of the service and closes it, in one transaction with the journal. The fences stay.
async fn move_aside(
    control: &mut Session,
    request: &Request<'_>,
    ground: &Ground,
    finalized: &mut Finalized,
    finalizing: Finalizing,
) -> Result<(), SplitError> {
    let at = now();
    let mut job = finalized.job.clone();
    let late = late(control, &job.service).await?;
    (job.state, job.clock.finalized, job.can_follow_back) = (JobState::Finalized, Some(at), false);
    job.aside = put_aside(&ground.shared, &ground.moved, job.clock.cut.unwrap_or(at));
    let failed = || SplitError::query("put the old tables aside");
    control.batch("BEGIN").await.map_err(failed())?;
    let moved = async {
        control.run(set_local_lock_timeout(LOCK_TIMEOUT_MS).expose()).await.map_err(failed())?;
        for one in &job.aside {
            close(control, ground, one).await?;
        }
        control.run(act_as_oneself().expose()).await.map_err(failed())?;
        // Behind the locks: whoever is at a fence holds its table, so nobody comes between this and the commit.
        job.late_before = journal::pin_late(control, &job.service).await?;
        journal::write(control, &job).await?;
        control.batch("COMMIT").await.map_err(failed())
    };
    let moved: Result<(), SplitError> = moved.await;
    if moved.is_err() {
        let _undone = control.batch("ROLLBACK").await;
    }
    moved?;
    fault::stage("split.end.aside");
    finalized.diagnostics.extend(shut_out(control, request.shared(), &request.service.owner()).await);
    if !late.is_empty() {
        let who: Vec<String> = late.iter().map(|one| format!("\"{}\" from {}", one.role, one.address)).collect();
        finalized.diagnostics.push(
            Diagnostic::warning(Code::SPLIT_LATE, "someone connected has tried to write to the old tables")
                .detail(format!("{}. From now on they are told that the tables do not exist.", who.join("; "))),
        );
    }
    finalized.outcome = Outcome::Aside { until: due(at, finalizing.keep_days) };
    finalized.aside.clone_from(&job.aside);
    finalized.job = job;
    Ok(())
}

async fn close(control: &mut Session, ground: &Ground, one: &Aside) -> Result<(), SplitError> {
    let Aside { schema, name, aside, owner, .. } = one;
    let failed = || SplitError::query(format!("put \"{schema}\".\"{name}\" aside"));
    let rows = control.query(GRANTEES, &[schema, name]).await.map_err(failed())?;
    let grantees = rows.iter().filter_map(|row| row.try_get::<_, Option<String>>(0).transpose());
    let grantees = grantees.map(|name| name.map(RoleName::observed)).collect::<Result<Vec<_>, _>>().map_err(failed())?;
    act_as(control, owner, ground.is_superuser).await?;
    let admin = &ground.inventory.admin.role;
    let mut statements = vec![rename_table(schema, name, aside), close_relation(schema, aside, owner, &grantees)];
    statements.extend((!ground.is_superuser).then(|| let_read(schema, aside, admin)));
    for statement in statements {
        control.run(statement.expose()).await.map_err(failed())?;
        fault::after(fault::Moment::Statement);
    }
    Ok(())
}

/// The service's role has nothing to do in the shared database any more.
async fn shut_out(control: &mut Session, shared: &DatabaseName, role: &RoleName) -> Option<Diagnostic> {
    let revoke = revoke_entry(shared, role);
    let why = match control.run(revoke.expose()).await {
        Ok(notices) => notices.into_iter().find(|notice| notice.sqlstate == "01006")?.message,
        Err(error) => error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned()),
    };
    let warning = Diagnostic::warning(Code::SPLIT_OWNER, format!("role \"{role}\" can still enter the shared database"));
    Some(warning.detail(format!("The server said: {why}.")).hint("As its owner:").command(format!("{revoke};")))
}

fn due(at: Moment, keep_days: u32) -> Moment {
    Moment::from_unix_s(at.unix_s().saturating_add(u64::from(keep_days) * DAY_S))
}

async fn drop_or_keep(
    control: &mut Session,
    ground: &Ground,
    finalized: &mut Finalized,
    finalizing: Finalizing,
    events: Events<'_>,
) -> Result<(), SplitError> {
    let job = &finalized.job;
    let until = due(job.clock.finalized.unwrap_or_else(now), finalizing.keep_days);
    finalized.aside.clone_from(&job.aside);
    if !finalizing.drop && now() < until {
        finalized.outcome = Outcome::Kept { until };
        return Ok(());
    }
    let (_, attempts) = journal::gate_of(control, &job.service).await?;
    if attempts > job.late_before && !finalizing.force {
        return Err(used_since(job, attempts - job.late_before));
    }
    events(Event::Restoring("dropping the old tables"));
    drop_all(control, ground, job).await?;
    fault::stage("split.end.dropped");
    finalized.outcome = Outcome::Dropped;
    Ok(())
}

fn used_since(job: &Job, attempts: u64) -> SplitError {
    Diagnostic::error(Code::SPLIT_LATE, format!("someone still writes to the old tables of service \"{}\"", job.service))
        .detail(format!("{attempts} attempts were turned away since they were put aside."))
        .hint("See who it is, and have them go to the service's database; or drop the tables with -force.")
        .command(format!("pgisle split status {}", job.service))
        .into()
}

/// Drops everything that was put aside and forgets the split, in one transaction. What others depend on stops it.
async fn drop_all(control: &mut Session, ground: &Ground, job: &Job) -> Result<(), SplitError> {
    let failed = || SplitError::query("drop the old tables");
    control.batch("BEGIN").await.map_err(failed())?;
    let dropped = async {
        control.run(set_local_lock_timeout(LOCK_TIMEOUT_MS).expose()).await.map_err(failed())?;
        // A view may read one that was made before it, as its number tells: the latest go first.
        let (views, tables): (Vec<&Aside>, Vec<&Aside>) = job.aside.iter().partition(|one| one.is_view());
        for view in by_age(ground, views).into_iter().rev() {
            act_as(control, &view.owner, ground.is_superuser).await?;
            run_drop(control, job, view.kind, &[view]).await?;
        }
        let (sequences, tables): (Vec<&Aside>, Vec<&Aside>) =
            tables.into_iter().partition(|one| one.kind == RelationKind::Sequence);
        for (kinds, all) in [(&[RelationKind::Table, RelationKind::Partitioned][..], &tables), (&[RelationKind::Foreign], &tables)]
        {
            let some: Vec<&Aside> = all.iter().filter(|one| kinds.contains(&one.kind)).copied().collect();
            let Some(first) = some.first() else { continue };
            act_as(control, &first.owner, ground.is_superuser).await?;
            run_drop(control, job, first.kind, &some).await?;
        }
        // Those that a table owned went with it.
        if let Some(first) = sequences.first() {
            act_as(control, &first.owner, ground.is_superuser).await?;
            run_drop(control, job, first.kind, &sequences).await?;
        }
        control.run(act_as_oneself().expose()).await.map_err(failed())?;
        journal::forget_within(control, &job.service).await?;
        control.batch("COMMIT").await.map_err(failed())
    };
    let dropped: Result<(), SplitError> = dropped.await;
    if dropped.is_err() {
        let _undone = control.batch("ROLLBACK").await;
    }
    dropped?;
    fault::after(fault::Moment::Statement);
    Ok(())
}

/// The oldest first.
fn by_age<'a>(ground: &Ground, mut all: Vec<&'a Aside>) -> Vec<&'a Aside> {
    let relations = &ground.shared.objects.relations;
    all.sort_by_key(|one| relations.iter().find(|it| it.schema == one.schema && it.name == one.aside).map(|it| it.oid));
    all
}

async fn run_drop(control: &mut Session, job: &Job, kind: RelationKind, some: &[&Aside]) -> Result<(), SplitError> {
    const STILL_NEEDED: &str = "2BP01";
    let statement = drop_aside(kind, some.iter().copied());
    let Err(error) = control.run(statement.expose()).await else {
        fault::after(fault::Moment::Statement);
        return Ok(());
    };
    let needed = error.as_db_error().filter(|error| error.code().code() == STILL_NEEDED);
    let Some(needed) = needed else { return Err(SplitError::query("drop the old tables")(error)) };
    let by = needed.detail().unwrap_or_default().lines().collect::<Vec<_>>().join("; ");
    let summary = format!("other objects depend on the old tables of service \"{}\"", job.service);
    Err(Diagnostic::error(Code::SPLIT_STATE, summary)
        .detail(format!("{by}. They show what the tables held when the home moved."))
        .hint("Drop them, or have them read from where the rows are now; then finalize again.")
        .into())
}

/// Nobody may work in the shared database by the service's own logins: these lead to its own database, which is empty, once the split is
/// forgotten. A session that PgBouncer keeps for nobody has been idle for a while.
async fn check_logins(control: &Session, request: &Request<'_>) -> Result<(), SplitError> {
    const PRESENT: &str = "SELECT a.usename::pg_catalog.text, pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a \
         WHERE a.datname = pg_catalog.current_database() AND a.usename = ANY ($1) \
         AND (a.state <> 'idle' OR a.state_change > pg_catalog.now() - pg_catalog.make_interval(mins => 1)) \
         GROUP BY a.usename ORDER BY a.usename";
    let service = &request.service.name;
    let credentials = request.apply.store.load().map_err(|error| SplitError::from(error.diagnostic()))?;
    let logins = credentials.services.get(service).into_iter().flat_map(|logins| logins.logins());
    let logins: Vec<&str> = logins.map(|login| login.role.as_str()).collect();
    let rows = control.query(PRESENT, &[&logins]).await.map_err(SplitError::query("see who is in the shared database"))?;
    if rows.is_empty() {
        return Ok(());
    }
    let each: Vec<String> = rows.iter().map(|row| format!("{} of {}", row.get::<_, i64>(1), row.get::<_, &str>(0))).collect();
    let (home, shared) = (&request.service.database, request.shared());
    Err(Diagnostic::error(Code::SPLIT_LATE, format!("service \"{service}\" is in the shared database by its own login"))
        .detail(format!(
            "Sessions in \"{shared}\" that did something in the last minute: {}. Once the split is forgotten, this login may not enter it any more, and PgBouncer's alias \
             leads to \"{home}\", which is empty.",
            each.join(", ")
        ))
        .hint("Have the service use the address and login that it had before the split, then finalize again; or use -force.")
        .into())
}

/// The service is at home in the shared database, and that is that.
async fn forget(control: &mut Session, request: &Request<'_>, finalized: &mut Finalized) -> Result<(), SplitError> {
    journal::forget(control, &finalized.job.service).await?;
    fault::stage("split.end.forgotten");
    finalized.diagnostics.extend(shut_out(control, request.shared(), &request.service.owner()).await);
    finalized.diagnostics.extend(request.announce(&request.service.database).await);
    finalized.outcome = Outcome::Forgotten;
    Ok(())
}
