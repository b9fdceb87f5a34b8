//! The cutover: the home moves in one commit, of a session on the shared database that keeps writers waiting until then.

use std::time::{Duration, Instant};

use pgisle_core::backup::restore::Purpose;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::marker::{Kind, RestoreMark};
use pgisle_core::name::DatabaseName;
use pgisle_core::plan::{Action, Blocked, DatabaseChange};
use pgisle_core::split::{Job, JobState, Phase, Schema, Strategy};
use pgisle_core::sql::content::sequence_state;
use pgisle_core::sql::restore::rename_database;
use pgisle_core::sql::split::{EXPORT_SNAPSHOT, Gate, drop_constraint, set_local_lock_timeout, set_sequence};

use super::follow::{Follower, Keeper, log_end};
use super::guard::{self, Seal};
use super::hold::{self, Barrier};
use super::receipt::{self, Receipt};
use super::run::{Ground, copy_rows, create_slot, drop_slot, publish, wrong_state};
use super::{Request, SplitError, act_as, clone, fill, journal};
use crate::apply::Applied;
use crate::backup::restore::{Site, apply_again, free_name, locks, look, stage, swap};
use crate::clock::now;
use crate::event::{Event, Events};
use crate::fault;
use crate::postgres::{RunLock, Session, inspect_shared};

/// How long the server is waited for to let our own sessions go.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A home that has moved.
#[derive(Debug)]
pub struct CutOver {
    /// The journal.
    pub job: Job,
    /// How long the service could not write; none when this call only ended what an interrupted one had begun.
    pub pause: Option<Duration>,
    /// What both sides held in the pause; none when nobody could look, the call having been interrupted.
    pub receipt: Option<Receipt>,
    /// What an apply of the service did behind it.
    pub applied: Option<Applied>,
    /// Findings.
    pub diagnostics: Vec<Diagnostic>,
}

/// A cutover that was tried out.
#[derive(Debug)]
pub struct Rehearsed {
    /// The journal, as it was.
    pub job: Job,
    /// How long the service could not write.
    pub pause: Duration,
}

/// Moves the home.
///
/// # Errors
/// See [`SplitError`].
pub async fn cutover(request: &Request<'_>, events: Events<'_>) -> Result<CutOver, SplitError> {
    let own = locks::of_service(request.apply, request.service, "split", events).await?;
    let site = Site { request: request.apply, service: request.service, own: &own, purpose: "split" };
    let outcome = async {
        let run = locks::for_the_making(&site, events).await?;
        let outcome = Box::pin(cutover_locked(&site, &run, request, events)).await;
        run.release().await;
        outcome
    };
    let outcome = outcome.await;
    own.release().await;
    outcome
}

/// Does everything that a cutover does but the switch.
///
/// # Errors
/// See [`SplitError`].
pub async fn rehearse(request: &Request<'_>, events: Events<'_>) -> Result<Rehearsed, SplitError> {
    let own = locks::of_service(request.apply, request.service, "split", events).await?;
    let site = Site { request: request.apply, service: request.service, own: &own, purpose: "split" };
    let outcome = Box::pin(async {
        request.reach_poolers().await?;
        let run = locks::for_the_making(&site, events).await?;
        let mut ready = prepare(&site, &run, request, events).await?;
        let rehearsed = pause(&site, &run, request, &mut ready, true, events).await;
        let job = ready.job.clone();
        if job.strategy != Strategy::Stream {
            let mut session = Session::connect(site.connect()).await?;
            let inventory = inspect_shared(&session).await?;
            fill::clean(&site, &mut session, &inventory).await?;
            session.close().await;
        }
        run.release().await;
        Ok(Rehearsed { job, pause: rehearsed?.pause })
    })
    .await;
    own.release().await;
    outcome
}

/// Everything that can be done while the service writes is done.
pub(super) struct Ready {
    pub(super) job: Job,
    pub(super) ground: Ground,
    pub(super) schema: Schema,
    pub(super) stage: stage::Stage,
    /// What follows the changes; none when the rows are yet to be copied.
    pub(super) follower: Option<Follower>,
    pub(super) wanted: swap::Wanted,
    /// Keeps everyone out of the tables of the new home until they are noted.
    pub(super) seal: Option<Seal>,
    pub(super) outgoing: DatabaseName,
    /// On the shared database, for the lock and the commit.
    pub(super) decider: Session,
    /// On the shared database, for everything else.
    pub(super) control: Session,
    pub(super) diagnostics: Vec<Diagnostic>,
}

async fn cutover_locked(site: &Site<'_>, run: &RunLock, request: &Request<'_>, events: Events<'_>) -> Result<CutOver, SplitError> {
    let mut control = request.session(request.shared()).await?;
    let job = journal::settled(&mut control, &request.service.name).await?;
    if let Some(job) = job.filter(|job| job.state == JobState::Cut) {
        // First of all: until they are told, clients are led to tables that take nothing any more.
        let diagnostics = request.announce(&request.service.database).await;
        let cut = CutOver { job, pause: None, receipt: None, applied: None, diagnostics };
        return conclude(site, run, request, control, cut, events).await;
    }
    control.close().await;
    request.reach_poolers().await?;
    let mut ready = prepare(site, run, request, events).await?;
    let Paused { pause, receipt } = match pause(site, run, request, &mut ready, false, events).await {
        Ok(paused) => paused,
        Err(error) => return Err(give_up(site, request, ready, error).await),
    };
    let Ready { mut job, ground, mut diagnostics, decider, mut control, wanted, .. } = ready;
    decider.close().await;
    diagnostics.extend(wanted.blocked.into_iter().map(|Blocked { diagnostic, .. }| diagnostic));
    job.pause_ms = Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
    events(Event::Restoring("comparing both sides"));
    let receipt = match receipt {
        Some(held) => Some(held.compare(request, &job, &ground).await?),
        None => None,
    };
    job.receipt = receipt.as_ref().and_then(|receipt| serde_json::to_value(receipt).ok());
    journal::write(&mut control, &job).await?;
    fault::stage("split.compared");
    diagnostics.extend(receipt.as_ref().and_then(|receipt| receipt.diagnostic(&job.service)));
    let cut = CutOver { job, pause: Some(pause), receipt, applied: None, diagnostics };
    conclude(site, run, request, control, cut, events).await
}

/// Takes away what only the move needed, and has the service be as the file says. Killed in between, the next call does it.
async fn conclude(
    site: &Site<'_>,
    run: &RunLock,
    request: &Request<'_>,
    mut control: Session,
    mut cut: CutOver,
    events: Events<'_>,
) -> Result<CutOver, SplitError> {
    events(Event::Restoring("clearing up"));
    journal::settle(&mut control, &cut.job).await?;
    drop_slot(&mut control, &cut.job.slot()).await?;
    control.close().await;
    let mut session = Session::connect(site.connect()).await?;
    let inventory = inspect_shared(&session).await?;
    if let Err(error) = guard::lower(request, &cut.job, inventory.admin.superuser, journal::FENCE_ATTEMPTS).await {
        cut.diagnostics.push(fence_stays(&error.diagnostic(), &cut.job));
    }
    // The one that was the service's, empty and closed since the home moved, among them.
    fill::clean(site, &mut session, &inventory).await?;
    session.close().await;
    cut.applied = apply_again(site, run, events, &mut cut.diagnostics).await;
    if cut.receipt.is_none() && cut.job.receipt.is_none() {
        let summary = format!("both sides of the split of service \"{}\" were not compared", cut.job.service);
        let warning = Diagnostic::warning(Code::SPLIT_DIFFERS, summary)
            .detail("The cutover was interrupted behind its commit, and the service writes to its new home since.")
            .hint("The old tables are as they were: compare what matters, before the split is finalized.");
        cut.diagnostics.push(warning);
    }
    Ok(cut)
}

/// The fence of the new home's first moments stands open, and does no harm.
fn fence_stays(error: &Diagnostic, job: &Job) -> Diagnostic {
    Diagnostic::warning(error.code, error.summary.clone())
        .detail("It stands open and costs a look at a sequence for each statement that writes.")
        .hint("Finalize takes it off, and so does:")
        .command(format!("pgisle split cutover {}", job.service))
}

async fn prepare(site: &Site<'_>, run: &RunLock, request: &Request<'_>, events: Events<'_>) -> Result<Ready, SplitError> {
    let mut session = Session::connect(site.connect()).await?;
    let mut control = request.session(request.shared()).await?;
    let ground = Ground::look(request, &session).await?;
    let job = journal::settled(&mut control, &request.service.name).await?;
    let Some(mut job) = job else {
        return Err(SplitError::not_begun(&request.service.name));
    };
    let is_ready = match job.strategy {
        Strategy::Stream => job.state == JobState::Following,
        Strategy::Clone | Strategy::Copy => job.state == JobState::Begun,
    };
    if !is_ready {
        return Err(wrong_state(&job, "cut over"));
    }
    check_tables(&job, &ground)?;
    journal::fence_all(&mut control, &job, &ground).await?;
    if job.strategy == Strategy::Clone {
        return prepare_clone(site, request, session, control, ground, job).await;
    }
    events(Event::Restoring("reading the definitions"));
    let schema = fill::read_schema(request, &ground.moved, ground.server_major(), ground.is_superuser).await?;
    if job.strategy == Strategy::Stream && job.definitions.as_ref() != Some(&schema.digest()) {
        return Err(guard::changed_since(
            &job,
            "The definitions of its tables, or of what belongs to them, are not those of the copy.",
        ));
    }
    let (stage, follower) = if job.strategy == Strategy::Stream {
        let stage = stage::take_up(site, &mut session, &job.staging, Purpose::Split, &fill::source(request)).await?;
        let source = request.session(request.shared()).await?;
        let target = Session::connect(&stage.connect(site)).await?;
        fill::strip(&stage.connect(site)).await?;
        (stage, Some(Follower::open(source, target, job.slot(), job.copied.clone(), Keeper::Beside).await?))
    } else {
        fill::clean(site, &mut session, &ground.inventory).await?;
        let inventory = inspect_shared(&session).await?;
        events(Event::Restoring("making the database"));
        let stage = fill::make(site, request, &mut session, &inventory, &ground.moved, &schema).await?;
        job.staging = stage.database.clone();
        journal::write(&mut control, &job).await?;
        (stage, None)
    };
    let inventory = look(site, &stage.database).await?;
    let wanted = swap::wanted(site, &inventory, &stage.database)?;
    swap::furnish(site, run, &mut session, &inventory, &wanted, &stage.database).await?;
    let outgoing = free_name(&inventory, &request.service.database);
    let decider = request.session(request.shared()).await?;
    session.close().await;
    Ok(Ready { job, ground, schema, stage, follower, wanted, seal: None, outgoing, decider, control, diagnostics: Vec::new() })
}

/// A clone is made within the pause, and so is all else: only its name and the login that promises it are there before.
async fn prepare_clone(
    site: &Site<'_>,
    request: &Request<'_>,
    mut session: Session,
    mut control: Session,
    ground: Ground,
    mut job: Job,
) -> Result<Ready, SplitError> {
    clone::check(site, request, (&session, &control), &ground).await?;
    fill::clean(site, &mut session, &ground.inventory).await?;
    let inventory = inspect_shared(&session).await?;
    let stage = stage::promise(site, &mut session, &inventory, Purpose::Split, &fill::source(request)).await?;
    job.staging = stage.database.clone();
    journal::write(&mut control, &job).await?;
    let (outgoing, wanted) = (free_name(&inventory, &request.service.database), swap::Wanted::default());
    let decider = request.session(request.shared()).await?;
    session.close().await;
    let (schema, diagnostics) = (Schema::default(), Vec::new());
    Ok(Ready { job, ground, schema, stage, follower: None, wanted, seal: None, outgoing, decider, control, diagnostics })
}

/// Takes away what an attempt that failed has made and the next one makes anew: a copy, or the slot of the way back.
async fn give_up(site: &Site<'_>, request: &Request<'_>, ready: Ready, error: SplitError) -> SplitError {
    // The answer to the commit may be what was lost: only the journal says whose database it is, and `pause` has asked it.
    if !ready.job.state.is_home() {
        // The next call or a rollback finds it; why this one failed says more.
        drop(give_room_back(site, request, &ready).await);
    }
    error
}

async fn give_room_back(site: &Site<'_>, request: &Request<'_>, ready: &Ready) -> Result<(), SplitError> {
    let mut control = request.session(request.shared()).await?;
    let job = journal::settled(&mut control, &request.service.name).await?;
    control.close().await;
    if job.is_none_or(|job| job.state.is_home()) {
        return Ok(());
    }
    if ready.job.strategy == Strategy::Stream {
        let mut session = request.session(&ready.stage.database).await?;
        drop_slot(&mut session, &ready.job.slot_back()).await?;
        session.close().await;
        return Ok(());
    }
    let mut session = Session::connect(site.connect()).await?;
    let inventory = inspect_shared(&session).await?;
    fill::clean(site, &mut session, &inventory).await?;
    session.close().await;
    Ok(())
}

/// What moves must be what the split began with.
fn check_tables(job: &Job, ground: &Ground) -> Result<(), SplitError> {
    let now: Vec<(&str, &str)> = ground.tables().collect();
    let then: Vec<(&str, &str)> = job.tables.iter().map(|(schema, name)| (schema.as_str(), name.as_str())).collect();
    if now == then {
        return Ok(());
    }
    let name = |(schema, name): &(&str, &str)| format!("{schema}.{name}");
    let differs: Vec<String> = now
        .iter()
        .filter(|table| !then.contains(table))
        .chain(then.iter().filter(|table| !now.contains(table)))
        .map(name)
        .collect();
    Err(guard::changed_since(job, &format!("It concerns {}.", differs.join(", "))))
}

/// What the pause was, and what both sides held in it.
struct Paused {
    pause: Duration,
    receipt: Option<receipt::Held>,
}

/// The pause, from its first moment to its last. Whatever happens in it, the poolers go on behind it.
async fn pause(
    site: &Site<'_>,
    run: &RunLock,
    request: &Request<'_>,
    ready: &mut Ready,
    is_rehearsal: bool,
    events: Events<'_>,
) -> Result<Paused, SplitError> {
    if let Some(follower) = &mut ready.follower {
        events(Event::Restoring("following changes"));
        follower.catch_up(&|_| {}).await?;
        if !is_rehearsal && ready.job.strategy == Strategy::Stream {
            keep_way_back(request, &ready.ground, &mut ready.job, &ready.stage).await?;
        }
        follower.tighten().await?;
    }
    if ready.job.strategy == Strategy::Clone {
        clone::write_out(ready).await;
    } else if !is_rehearsal {
        seal(request, ready).await?;
    }
    fault::stage("split.ready");
    events(Event::Restoring("holding writers off"));
    let paused = request.pause().await?;
    let started = Instant::now();
    let mut outcome = hold_and_move(site, run, request, ready, is_rehearsal, events).await;
    if outcome.is_err() || is_rehearsal {
        // It may be in any state; without its transaction nothing of it has happened.
        let _undone = ready.decider.batch("ROLLBACK").await;
        // It may be the answer to the commit that was lost.
        if let Some(job) = journal::settled(&mut ready.control, &request.service.name).await?.filter(|job| job.state.is_home()) {
            ready.job = job;
        }
    } else {
        ready.diagnostics.extend(request.announce(&request.service.database).await);
    }
    let resumed = match paused {
        Some(paused) => paused.end().await.map(drop),
        None => Ok(()),
    };
    if let Ok(paused) = &mut outcome {
        paused.pause = started.elapsed();
    }
    // Whether the home has moved is what counts; that PgBouncer does not go on is told beside it.
    ready.diagnostics.extend(resumed.err());
    outcome
}

/// Puts the fence on the new home's tables, open still.
async fn seal(request: &Request<'_>, ready: &mut Ready) -> Result<(), SplitError> {
    let Ready { ground, job, stage, .. } = &*ready;
    ready.seal = Some(Seal::prepare(request, job, &stage.database, ground.is_superuser).await?);
    Ok(())
}

/// A slot on the new home, for the way back, made before anything waits.
async fn keep_way_back(request: &Request<'_>, ground: &Ground, job: &mut Job, stage: &stage::Stage) -> Result<(), SplitError> {
    let mut session = request.session(&stage.database).await?;
    drop_slot(&mut session, &job.slot_back()).await?;
    let owner = request.service.owner();
    publish(&mut session, &ground.moved, (!ground.is_superuser).then_some(&owner), &job.slot_back()).await?;
    create_slot(request, &mut session, &job.slot_back()).await?;
    job.can_follow_back = true;
    session.close().await;
    Ok(())
}

async fn hold_and_move(
    site: &Site<'_>,
    run: &RunLock,
    request: &Request<'_>,
    ready: &mut Ready,
    is_rehearsal: bool,
    events: Events<'_>,
) -> Result<Paused, SplitError> {
    if ready.job.strategy == Strategy::Clone {
        clone::take(site, run, request, ready, events).await?;
        if !is_rehearsal {
            seal(request, ready).await?;
        }
        sever(request, ready).await?;
    } else {
        hold_writers(request, ready, is_rehearsal).await?;
        fault::stage("split.held");
        if let Some(seal) = &ready.seal {
            // From here on nobody can change the tables.
            guard::check_copy(&ready.control, seal.home(), &ready.ground.moved, &ready.job).await?;
        }
        fill_up(site, request, ready, is_rehearsal, events).await?;
    }
    if is_rehearsal {
        return Ok(Paused { pause: Duration::ZERO, receipt: None });
    }
    let held = move_home(site, request, ready).await?;
    Ok(Paused { pause: Duration::ZERO, receipt: Some(held) })
}

/// Brings the new database to where the old one stands, while writers are held off.
async fn fill_up(
    site: &Site<'_>,
    request: &Request<'_>,
    ready: &mut Ready,
    is_rehearsal: bool,
    events: Events<'_>,
) -> Result<(), SplitError> {
    match &mut ready.follower {
        Some(follower) => {
            // This commit waits for the disk, and with it for everything that was committed before.
            journal::write(&mut ready.control, &ready.job).await?;
            let end = log_end(&ready.control).await?;
            follower.pass(end).await?;
        }
        None => copy_now(site, request, ready, events).await?,
    }
    fault::stage("split.drained");
    sever(request, ready).await?;
    let mut target = fill::definer(&ready.stage.connect(site)).await?;
    set_sequences(ready, &mut target).await?;
    target.batch("BEGIN").await.map_err(SplitError::query("make the triggers"))?;
    fill::run_all(&mut target, fill::definitions(&ready.schema, Phase::Late)).await?;
    let end = if is_rehearsal { "ROLLBACK" } else { "COMMIT" };
    target.batch(end).await.map_err(SplitError::query("make the triggers"))?;
    target.close().await;
    fault::stage("split.late");
    if let Some(follower) = ready.follower.take_if(|_| !is_rehearsal) {
        follower.close().await.close().await;
    }
    Ok(())
}

/// Waits for those who write, and has all others wait.
pub(super) async fn hold_writers(request: &Request<'_>, ready: &mut Ready, is_rehearsal: bool) -> Result<(), SplitError> {
    let Ready { ground, decider, control, job, .. } = &mut *ready;
    let tables = ground.moved.tables.iter().map(|table| (&table.owner, table.schema.as_str(), table.name.as_str()));
    let tables = hold::by_owner(tables);
    let mut barrier =
        Barrier { holder: decider, tables: &tables, is_superuser: ground.is_superuser, control, service: &job.service };
    let turn_away = (!is_rehearsal).then_some(Gate::Closed);
    let finding = hold::hold(&mut barrier, request.pause_max, turn_away).await?;
    ready.diagnostics.extend(finding);
    Ok(())
}

/// Copies the rows while everyone waits.
async fn copy_now(site: &Site<'_>, request: &Request<'_>, ready: &mut Ready, events: Events<'_>) -> Result<(), SplitError> {
    let failed = || SplitError::query("take a snapshot of the shared database");
    let holder = request.session(request.shared()).await?;
    holder.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed())?;
    let rows = holder.query(EXPORT_SNAPSHOT, &[]).await.map_err(failed())?;
    let snapshot: String = rows.first().map_or(Ok(String::new()), |row| row.try_get(1)).map_err(failed())?;
    copy_rows(site, request, &ready.ground, &ready.stage, &snapshot, events).await?;
    holder.close().await;
    events(Event::Restoring("building indexes"));
    fill::complete(&ready.stage.connect(site), &ready.schema, site.request.parallelism).await
}

/// Sets the sequences to where they stand, now that nobody takes a number.
async fn set_sequences(ready: &Ready, target: &mut Session) -> Result<(), SplitError> {
    carry_sequences(&ready.job, &ready.control, target).await
}

/// Sets sequences to where they stand elsewhere.
pub(super) async fn carry_sequences(job: &Job, source: &Session, target: &mut Session) -> Result<(), SplitError> {
    for (schema, name) in &job.sequences {
        let failed = || SplitError::query(format!("set sequence \"{schema}\".\"{name}\""));
        let state = source.answer(&sequence_state(schema, name)).await.map_err(failed())?.unwrap_or_default();
        let (last_value, is_called) = state.split_once(' ').unwrap_or_default();
        let set = set_sequence(schema, name, last_value.parse().unwrap_or(1), is_called == "true");
        target.run(set.expose()).await.map_err(failed())?;
        fault::after(fault::Moment::Statement);
    }
    Ok(())
}

/// Drops the foreign keys that cross, within the transaction that decides. It may have to wait for others, so it comes before what
/// cannot be undone with that transaction.
async fn sever(request: &Request<'_>, ready: &mut Ready) -> Result<(), SplitError> {
    let Ready { decider, ground, job, .. } = ready;
    let timeout_ms = u32::try_from(request.pause_max.as_millis()).unwrap_or(u32::MAX).max(1);
    let timeout = set_local_lock_timeout(timeout_ms);
    decider.run(timeout.expose()).await.map_err(SplitError::query("bound the pause"))?;
    for key in &job.severed {
        act_as(decider, &key.owner, ground.is_superuser).await?;
        let drop = drop_constraint(&key.schema, &key.table, &key.constraint);
        decider.run(drop.expose()).await.map_err(SplitError::query(format!("drop foreign key \"{}\"", key.constraint)))?;
        fault::after(fault::Moment::Statement);
    }
    decider.batch("RESET ROLE").await.map_err(SplitError::query("act as the administrator again"))
}

/// The commit that moves the home, and what can only be done just before and just behind it.
async fn move_home(site: &Site<'_>, request: &Request<'_>, ready: &mut Ready) -> Result<receipt::Held, SplitError> {
    let live = request.service.database.clone();
    let shut = match ready.seal.take() {
        Some(seal) => Some(seal.shut(&ready.job).await?),
        None => None,
    };
    leave(site, &ready.stage.database).await?;
    let mut other = Session::connect(site.connect()).await?;
    let numbers = [swap::number_of(&other, &live).await?, swap::number_of(&other, &ready.stage.database).await?];
    let (admin, major) = (ready.ground.inventory.admin.clone(), ready.ground.server_major());
    let mut cut = ready.job.clone();
    cut.state = JobState::Cut;
    cut.clock.cut = Some(now());
    cut.opened = Some(log_end(&ready.control).await?);
    let switching = switch(site, ready, &cut, &live);
    let outcome = tokio::select! {
        outcome = switching => outcome,
        // Whoever sits in the empty database or has come into the new one is asked to leave, as long as the server waits for that.
        error = swap::keep_ending(&mut other, &admin, major, &numbers) => Err(error.into()),
    };
    let _ended = other.batch("ROLLBACK").await;
    outcome?;
    // From here on the new database is the home, whatever happens.
    ready.job = cut;
    fault::stage("split.cut");
    let held = receipt::Held::open(request, &ready.job).await?;
    if let Some(shut) = shut {
        // If this does not reach the server, the end of the session does the same.
        let _open = shut.batch("ROLLBACK").await;
        shut.close().await;
    }
    journal::settle(&mut ready.control, &ready.job).await?;
    other.close().await;
    Ok(held)
}

async fn switch(site: &Site<'_>, ready: &mut Ready, cut: &Job, live: &DatabaseName) -> Result<(), SplitError> {
    let failed = || SplitError::query("move the service's home");
    let Ready { decider, stage, outgoing, control, wanted, .. } = ready;
    journal::write(decider, cut).await?;
    let mark = RestoreMark { source: format!("what {} was", live), at: now(), waiting: false, drill: false };
    let mut statements = vec![rename_database(live, outgoing)];
    statements
        .extend(Action::MarkDatabase { database: outgoing.clone(), marker: site.marker(Kind::Split, outgoing, mark) }.statements());
    let closed = vec![DatabaseChange::AllowConnections(false)];
    statements.extend(Action::AlterDatabase { database: outgoing.clone(), changes: closed }.statements());
    statements.push(rename_database(&stage.database, live));
    // From its first moment on it is marked as the home, for whoever clears up behind a killed run must not take it for a copy, and
    // the service may enter: nobody else will let it in when this run is killed.
    statements.extend(wanted.outside.iter().flat_map(Action::statements));
    for statement in statements {
        decider.run(statement.expose()).await.map_err(failed())?;
        fault::after(fault::Moment::Statement);
    }
    // The last thing before the commit: it is not undone with the transaction.
    site.own.confirm().await?;
    let number = journal::transaction_number(decider).await?;
    journal::set(control, &cut.service, Gate::DecidedBy(number)).await?;
    fault::stage("split.deciding");
    decider.batch("COMMIT").await.map_err(failed())?;
    fault::after(fault::Moment::Statement);
    Ok(())
}

/// Waits until nobody is in the new database.
async fn leave(site: &Site<'_>, staging: &DatabaseName) -> Result<(), SplitError> {
    const THERE: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.datname = $1::pg_catalog.text";
    let failed = || SplitError::query("leave the new database");
    let session = Session::connect(site.connect()).await?;
    let started = Instant::now();
    // Those that the server counts a moment too long would have the renaming wait for a tenth of a second.
    while started.elapsed() < LEAVE_TIMEOUT {
        let rows = session.query(THERE, &[&staging.as_str()]).await.map_err(failed())?;
        let there: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(failed())?;
        if there == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    session.close().await;
    Ok(())
}
