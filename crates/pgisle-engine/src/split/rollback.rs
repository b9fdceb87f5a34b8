//! The way back: before the cutover by taking away what was made; behind it by bringing home what was written since, and one commit in
//! a session on the shared database, as on the way there.

use std::time::{Duration, Instant};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::marker::{Kind, RestoreMark};
use pgisle_core::name::DatabaseName;
use pgisle_core::plan::{Action, DatabaseChange};
use pgisle_core::split::{Job, JobState, Severed};
use pgisle_core::sql::homecoming::HAS_CONSTRAINT;
use pgisle_core::sql::restore::rename_database;
use pgisle_core::sql::split::{Gate, add_constraint, validate_constraint};

use super::bring::{self, Brought, Way};
use super::cutover::carry_sequences;
use super::guard::{self, Arms};
use super::hold::{self, Barrier};
use super::run::{Ground, drop_slot, wrong_state};
use super::{Request, SplitError, act_as, fill, journal};
use crate::apply::Applied;
use crate::backup::restore::{Site, apply_again, free_name, locks, swap};
use crate::clock::now;
use crate::event::{Event, Events};
use crate::fault;
use crate::postgres::{RunLock, Session};

/// How long the server is waited for to let our own sessions go.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A split that was rolled back.
#[derive(Debug)]
pub struct RolledBack {
    /// The journal. Its state is *returned*: the shared database is the service's home.
    pub job: Job,
    /// How the rows came home.
    pub brought: Brought,
    /// How long the service could not write; none when its home did not move now.
    pub pause: Option<Duration>,
    /// What was the service's home, kept closed until the next run or finalize takes it away.
    pub left: Option<DatabaseName>,
    /// What an apply of the service did behind it: it makes the empty database again.
    pub applied: Option<Applied>,
    /// Findings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Goes back to the shared database, from wherever the split is, until it is finalized. Killed at any point, the same call goes on.
/// With `force`, rows are copied back even where the receipt says that the new home lacks some.
///
/// # Errors
/// See [`SplitError`]. The service's home is where it was, unless the answer to the commit itself was lost: the journal says.
pub async fn rollback(request: &Request<'_>, force: bool, events: Events<'_>) -> Result<RolledBack, SplitError> {
    let own = locks::of_service(request.apply, request.service, "split", events).await?;
    let site = Site { request: request.apply, service: request.service, own: &own, purpose: "split" };
    let outcome = async {
        let run = locks::for_the_making(&site, events).await?;
        let outcome = Box::pin(rollback_locked(&site, &run, request, force, events)).await;
        run.release().await;
        outcome
    };
    let outcome = outcome.await;
    own.release().await;
    outcome
}

async fn rollback_locked(
    site: &Site<'_>,
    run: &RunLock,
    request: &Request<'_>,
    force: bool,
    events: Events<'_>,
) -> Result<RolledBack, SplitError> {
    let mut session = Session::connect(site.connect()).await?;
    let mut control = request.session(request.shared()).await?;
    let ground = Ground::look(request, &session).await?;
    let Some(job) = journal::settled(&mut control, &request.service.name).await? else {
        return Err(SplitError::not_begun(&request.service.name));
    };
    let mut back = RolledBack { job, brought: Brought::NeverLeft, pause: None, left: None, applied: None, diagnostics: Vec::new() };
    match back.job.state {
        JobState::Begun | JobState::Following => {
            take_away(site, &mut session, &mut control, &ground, &mut back.job, events).await?;
            // A run that was cut off may not have come to it.
            back.diagnostics.extend(request.announce(request.shared()).await);
        }
        JobState::Finalized => return Err(wrong_state(&back.job, "rolled back")),
        JobState::Cut => {
            request.reach_poolers().await?;
            // A cutover that was cut off may have left clients at the old tables. There they would wait for the way back, and the
            // pause for them. Whoever cannot be told is told of behind it.
            drop(request.announce(&back.job.database).await);
            let left = free_name(&ground.inventory, &back.job.database);
            let mut stand = Stand { site, request, ground: &ground, control: &mut control, left, force };
            come_home(&mut stand, &mut back, events).await?;
            finish(site, run, &ground, &mut control, &mut back, events).await?;
        }
        JobState::Returned if back.job.opened.is_some() => {
            back.diagnostics.extend(request.announce(request.shared()).await);
            finish(site, run, &ground, &mut control, &mut back, events).await?;
        }
        // It is done already, but for what a PgBouncer that was not there has not heard.
        JobState::Returned => back.diagnostics.extend(request.announce(request.shared()).await),
    }
    session.close().await;
    control.close().await;
    Ok(back)
}

/// The home never moved: what was made for that goes, and the service goes on as it does. It stays let in, and PgBouncer's alias
/// leads where it leads.
async fn take_away(
    site: &Site<'_>,
    session: &mut Session,
    control: &mut Session,
    ground: &Ground,
    job: &mut Job,
    events: Events<'_>,
) -> Result<(), SplitError> {
    events(Event::Restoring("taking the copy away"));
    // First of all: what goes from here on must not be followed or cut over any more when this is cut off.
    (job.state, job.copied) = (JobState::Begun, None);
    journal::write(control, job).await?;
    drop_slot(control, &job.slot()).await?;
    drop_slot(control, &job.slot_back()).await?;
    fault::stage("split.back.slots");
    fill::clean(site, session, &ground.inventory).await?;
    fault::stage("split.back.cleaned");
    journal::lift_fences(control, job, ground).await?;
    (job.state, job.clock.returned, job.opened) = (JobState::Returned, Some(now()), None);
    journal::write(control, job).await
}

/// Moves the home back. Until its one commit the new home is the home, whatever fails or is killed.
async fn come_home(stand: &mut Stand<'_, '_>, back: &mut RolledBack, events: Events<'_>) -> Result<(), SplitError> {
    let (request, ground) = (stand.request, stand.ground);
    check_claims(&back.job, ground)?;
    let mut home = request.session(&back.job.database).await?;
    guard::check_shapes(stand.control, &home, &back.job).await?;
    events(Event::Restoring("putting the fence up, open"));
    let owner = request.service.owner();
    guard::raise(&mut home, &back.job, &owner, request.shared(), ground.is_superuser).await?;
    fault::stage("split.back.fenced");
    let attempt = Box::pin(attempt(stand, home, back, events)).await;
    if attempt.is_err() {
        // The fence is open, its transaction being gone; why this failed says more than that it could not be taken away.
        drop(guard::lower(request, &back.job, ground.is_superuser, 1).await);
        // The answer to the commit may be what was lost.
        journal::settled(stand.control, &request.service.name).await?;
    }
    attempt
}

/// What moved must still be claimed: by that its owners and columns are known.
fn check_claims(job: &Job, ground: &Ground) -> Result<(), SplitError> {
    let now: Vec<(&str, &str)> = ground.tables().collect();
    let then: Vec<(&str, &str)> = job.tables.iter().map(|(schema, name)| (schema.as_str(), name.as_str())).collect();
    let differs = now.iter().filter(|one| !then.contains(one)).chain(then.iter().filter(|one| !now.contains(one)));
    let differs: Vec<String> = differs.map(|(schema, name)| format!("{schema}.{name}")).collect();
    if differs.is_empty() {
        return Ok(());
    }
    Err(Diagnostic::error(Code::SPLIT_STATE, format!("service \"{}\" does not claim the tables any more that moved", job.service))
        .detail(format!("It concerns {}.", differs.join(", ")))
        .hint("Have the file name the tables as it did when the split began, and the shared database have them; then roll back.")
        .into())
}

/// Where a rollback stands.
struct Stand<'a, 'r> {
    site: &'a Site<'a>,
    request: &'a Request<'r>,
    ground: &'a Ground,
    /// On the shared database.
    control: &'a mut Session,
    /// The name that the new home gets.
    left: DatabaseName,
    /// Whether rows are copied back even where both sides were found to differ.
    force: bool,
}

async fn attempt(stand: &mut Stand<'_, '_>, home: Session, back: &mut RolledBack, events: Events<'_>) -> Result<(), SplitError> {
    let (request, ground) = (stand.request, stand.ground);
    let failed = || SplitError::query("prepare the way back");
    let arms = Arms::read(stand.control, ground).await?;
    let mut way = Way::open(request, &back.job, &home, &arms).await?;
    bring::check(&back.job, &way, stand.force)?;
    if let Some(warning) = bring::warning(&back.job, ground, &way) {
        events(Event::Restoring(&warning.summary));
        back.diagnostics.push(warning);
    }
    home.batch("SET synchronous_commit = on").await.map_err(failed())?;
    way.prepare(ground, &arms, events).await?;
    fault::stage("split.back.prepared");
    events(Event::Restoring("holding writers off"));
    let paused = request.pause().await?;
    let started = Instant::now();
    let moved = Box::pin(hold_and_return(stand, back, (home, way), &arms, events)).await;
    if moved.is_ok() {
        back.diagnostics.extend(request.announce(request.shared()).await);
    }
    let resumed = match paused {
        Some(paused) => paused.end().await.map(drop),
        None => Ok(()),
    };
    back.pause = moved.is_ok().then(|| started.elapsed());
    back.diagnostics.extend(resumed.err());
    moved
}

async fn hold_and_return(
    stand: &mut Stand<'_, '_>,
    back: &mut RolledBack,
    (mut home, mut way): (Session, Way),
    arms: &Arms,
    events: Events<'_>,
) -> Result<(), SplitError> {
    let Stand { site, request, ground, control, .. } = stand;
    let (job, owner) = (&back.job, request.service.owner());
    let gate = Gate::DecidedBy(journal::transaction_number(way.decider()).await?);
    let mut holder = request.session(&job.database).await?;
    let tables = hold::by_owner(job.tables.iter().map(|(schema, name)| (&owner, schema.as_str(), name.as_str())));
    let mut barrier = Barrier {
        holder: &mut holder,
        tables: &tables,
        is_superuser: ground.is_superuser,
        control: &mut home,
        service: &job.service,
    };
    back.diagnostics.extend(hold::hold(&mut barrier, request.pause_max, Some(gate)).await?);
    // It waits for the disk, and with it for everything that was committed before. The lock can go from here on: the gate is closed
    // for as long as the transaction is open that decides, and open when that is gone.
    journal::set(&mut home, &job.service, gate).await?;
    fault::stage("split.back.held");
    guard::check_shapes(control, &home, job).await?;
    back.brought = way.bring(request, ground, job, &home, events).await?;
    act_as(&mut holder, &owner, ground.is_superuser).await?;
    let (source, mut decider) = way.part();
    carry_sequences(job, &holder, &mut decider).await?;
    fault::stage("split.back.drained");
    leave(site, [home, holder, source]).await?;
    let returned = decide(stand, back, &mut decider, arms).await;
    if returned.is_err() {
        let _undone = decider.batch("ROLLBACK").await;
    }
    decider.close().await;
    returned
}

/// Ends our own sessions in the new home, and waits until the server has let them go: renaming it would wait for a tenth of a second.
async fn leave(site: &Site<'_>, sessions: [Session; 3]) -> Result<(), SplitError> {
    const THERE: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.pid = ANY ($1)";
    let failed = || SplitError::query("leave the new home");
    let pids = sessions.each_ref().map(Session::backend_pid).to_vec();
    for session in sessions {
        session.close().await;
    }
    let session = Session::connect(site.connect()).await?;
    let started = Instant::now();
    while started.elapsed() < LEAVE_TIMEOUT {
        let rows = session.query(THERE, &[&pids]).await.map_err(failed())?;
        if rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0)).map_err(failed())? == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    session.close().await;
    Ok(())
}

/// The commit that moves the home back: the old tables hold everything and are open, and the new home is gone, all at once.
async fn decide(stand: &Stand<'_, '_>, back: &mut RolledBack, decider: &mut Session, arms: &Arms) -> Result<(), SplitError> {
    let Stand { site, ground, left, .. } = stand;
    let mut other = Session::connect(site.connect()).await?;
    let numbers = [swap::number_of(&other, &back.job.database).await?];
    let mut returned = back.job.clone();
    (returned.state, returned.clock.returned) = (JobState::Returned, Some(now()));
    let switching = switch(site, decider, arms, &returned, left);
    let outcome = tokio::select! {
        outcome = switching => outcome,
        // Whoever is in the new home is asked to leave, as long as the server waits for that.
        error = swap::keep_ending(&mut other, &ground.inventory.admin, ground.server_major(), &numbers) => Err(error.into()),
    };
    let _ended = other.batch("ROLLBACK").await;
    other.close().await;
    outcome?;
    back.job = returned;
    back.left = Some(left.clone());
    fault::stage("split.back.returned");
    Ok(())
}

async fn switch(
    site: &Site<'_>,
    decider: &mut Session,
    arms: &Arms,
    returned: &Job,
    left: &DatabaseName,
) -> Result<(), SplitError> {
    let failed = || SplitError::query("move the service's home back");
    let live = &returned.database;
    let mut statements = arms.rearm(false);
    let mark = RestoreMark { source: format!("what {live} was"), at: now(), waiting: false, drill: false };
    statements.push(rename_database(live, left));
    let marker = site.marker(Kind::Split, left, mark);
    statements.extend(Action::MarkDatabase { database: left.clone(), marker }.statements());
    let closed = vec![DatabaseChange::AllowConnections(false)];
    statements.extend(Action::AlterDatabase { database: left.clone(), changes: closed }.statements());
    for statement in statements {
        decider.run(statement.expose()).await.map_err(failed())?;
        fault::after(fault::Moment::Statement);
    }
    journal::write(decider, returned).await?;
    site.own.confirm().await?;
    decider.batch("COMMIT").await.map_err(failed())?;
    fault::after(fault::Moment::Statement);
    Ok(())
}

/// What is still to be done once the shared database is the home again.
async fn finish(
    site: &Site<'_>,
    run: &RunLock,
    ground: &Ground,
    control: &mut Session,
    back: &mut RolledBack,
    events: Events<'_>,
) -> Result<(), SplitError> {
    events(Event::Restoring("making foreign keys again"));
    journal::settle(control, &back.job).await?;
    for key in &back.job.severed {
        back.diagnostics.extend(mend(control, ground, key).await?);
    }
    journal::lift_fences(control, &back.job, ground).await?;
    fault::stage("split.back.mended");
    drop_slot(control, &back.job.slot()).await?;
    drop_slot(control, &back.job.slot_back()).await?;
    events(Event::Restoring("making the empty database again"));
    // Also when it is there: a run that was cut off may have left it half made.
    back.applied = apply_again(site, run, events, &mut back.diagnostics).await;
    // What says that nothing is left to be done.
    (back.job.opened, back.job.can_follow_back) = (None, false);
    journal::write(control, &back.job).await?;
    fault::stage("split.back.finished");
    Ok(())
}

/// Makes a foreign key again. What does not hold any more is told, and not looked at again; new rows are.
async fn mend(control: &mut Session, ground: &Ground, key: &Severed) -> Result<Option<Diagnostic>, SplitError> {
    let Severed { schema, table, owner, constraint, definition, refers_to } = key;
    let doing = format!("make foreign key \"{constraint}\" of table \"{schema}\".\"{table}\" again");
    let told = |what: &str, why: &str| {
        Some(
            Diagnostic::warning(
                Code::SPLIT_DIFFERS,
                format!("foreign key \"{constraint}\" of table \"{schema}\".\"{table}\" {what}"),
            )
            .detail(format!("It refers to {refers_to}. The server said: {why}.")),
        )
    };
    let owner = Some(owner).filter(|_| !ground.is_superuser);
    let there = control.query(HAS_CONSTRAINT, &[schema, table, constraint]).await.map_err(SplitError::query(doing.clone()))?;
    if there.is_empty() {
        let add = [add_constraint(schema, table, constraint, definition)];
        match journal::alter(control, (schema, table), owner, &doing, &add).await {
            Err(SplitError::Query { source, .. }) if source.as_db_error().is_some() => {
                return Ok(told("could not be made again", message(&source)));
            }
            outcome => outcome?,
        }
    }
    let validate = [validate_constraint(schema, table, constraint)];
    match journal::alter(control, (schema, table), owner, &doing, &validate).await {
        Err(SplitError::Query { source, .. }) if source.as_db_error().is_some() => {
            let told = told("does not hold for all rows", message(&source));
            Ok(told.map(|told| told.hint("New rows are checked. When the others are mended:").command(format!("{};", validate[0]))))
        }
        Err(error) => Err(error),
        Ok(()) => Ok(None),
    }
}

/// What the server said, without what it has as a detail: that is a row's value.
fn message(error: &tokio_postgres::Error) -> &str {
    error.as_db_error().map_or("", tokio_postgres::error::DbError::message)
}
