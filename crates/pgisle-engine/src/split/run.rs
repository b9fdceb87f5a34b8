//! Beginning a split: the journal, the open fence and, when changes are to follow, the copy.

use std::collections::BTreeSet;

use pgisle_core::backup::restore::Purpose;
use pgisle_core::diagnostic::{Code, Diagnostic, any_error};
use pgisle_core::inventory::{Inventory, Readable};
use pgisle_core::name::RoleName;
use pgisle_core::split::observed::Writer;
use pgisle_core::split::{Job, JobState, Lsn, Moved, Shared, SplitOptions, SplitPlan, Strategy, Visible, moved, plan_split};
use pgisle_core::sql::content::RELATIONS;
use pgisle_core::sql::split::{
    CREATE_SLOT, DROP_SLOT, EXPORT_SNAPSHOT, PROGRESS, begin_progress, create_publication, drop_publication, grant_progress,
    set_statement_timeout,
};

use super::relay::{Route, copy_tables};
use super::{Request, SplitError, act_as, clone, fill, follow, inspect_shared_database, journal};
use crate::backup::restore::{Site, check_service, locks, stage};
use crate::clock::now;
use crate::event::{Event, Events};
use crate::fault;
use crate::postgres::{Session, inspect_shared};

/// How often a slot is tried to be dropped that somebody reads.
const DROP_ATTEMPTS: u32 = 50;

/// So long, at least, is a slot waited for.
const SLOT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Between two attempts.
const DROP_GAP: std::time::Duration = std::time::Duration::from_millis(100);

/// A split that is begun.
#[derive(Debug)]
pub struct Ran {
    /// Its journal.
    pub job: Job,
    /// Bytes of rows that were copied.
    pub copied_bytes: u64,
    /// Changes that were applied behind the copy.
    pub changes: u64,
    /// Findings.
    pub diagnostics: Vec<Diagnostic>,
}

/// What all steps of a split look at.
pub(super) struct Ground {
    pub(super) inventory: Inventory,
    pub(super) shared: Shared,
    pub(super) moved: Moved,
    pub(super) is_superuser: bool,
}

impl Ground {
    pub(super) async fn look(request: &Request<'_>, session: &Session) -> Result<Self, SplitError> {
        let inventory = inspect_shared(session).await?;
        let shared = inspect_shared_database(request.apply.connect, request.shared()).await?;
        let moved = moved(request.apply.spec, &shared, &request.service.name);
        let is_superuser = inventory.admin.superuser;
        Ok(Self { inventory, shared, moved, is_superuser })
    }

    pub(super) fn server_major(&self) -> u32 {
        self.inventory.server.major()
    }

    /// The tables, as names.
    pub(super) fn tables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.moved.tables.iter().map(|table| (table.schema.as_str(), table.name.as_str()))
    }
}

/// Begins a split, or goes on with one that was interrupted. The service goes on in the shared database.
///
/// # Errors
/// See [`SplitError`].
pub async fn run(request: &Request<'_>, strategy: Option<Strategy>, events: Events<'_>) -> Result<Ran, SplitError> {
    let own = locks::of_service(request.apply, request.service, "split", events).await?;
    let site = Site { request: request.apply, service: request.service, own: &own, purpose: "split" };
    let outcome = Box::pin(run_locked(&site, request, strategy, events)).await;
    own.release().await;
    outcome
}

async fn run_locked(
    site: &Site<'_>,
    request: &Request<'_>,
    strategy: Option<Strategy>,
    events: Events<'_>,
) -> Result<Ran, SplitError> {
    let mut session = Session::connect(site.connect()).await?;
    let mut control = request.session(request.shared()).await?;
    let ground = Ground::look(request, &session).await?;
    let existing = journal::settled(&mut control, &request.service.name).await?;
    if let Some(job) = &existing {
        if job.state.is_home() {
            return Err(wrong_state(job, "begun again"));
        }
        if job.state == JobState::Returned && job.opened.is_some() {
            return Err(half_back(job));
        }
    }
    check_service(site, &ground.inventory)?;
    check_target(request).await?;
    let plan = plan(request, &ground.shared, strategy)?;
    let before = existing.as_ref().map(|job| job.strategy).filter(|_| strategy.is_none());
    let strategy = chosen(&plan, before)?;
    if strategy == Strategy::Clone {
        clone::check(site, request, (&session, &control), &ground).await?;
    }
    let is_same = |job: &Job| {
        let tables = job.tables.iter().map(|(schema, name)| (schema.as_str(), name.as_str()));
        job.state == JobState::Following && job.strategy == strategy && tables.eq(ground.tables())
    };
    let mut diagnostics = plan.diagnostics;
    diagnostics.retain(|diagnostic| diagnostic.code != Code::SPLIT_STATEMENTS);
    let mut ran = match existing {
        Some(job) if is_same(&job) && is_defined_so(request, &ground, &job).await? => {
            go_on(site, request, &mut session, &mut control, job, events).await?
        }
        _ => match begin(site, request, &ground, strategy, (&mut session, &mut control), events).await {
            Ok(ran) => ran,
            Err(error) => {
                // Why it failed says more than what could not be taken away, which the next call or a rollback does.
                let _left = give_room_back(site, request).await;
                return Err(error);
            }
        },
    };
    session.close().await;
    control.close().await;
    ran.diagnostics.append(&mut diagnostics);
    Ok(ran)
}

/// Whether the tables and all that belongs to them are still what the copy was made with.
async fn is_defined_so(request: &Request<'_>, ground: &Ground, job: &Job) -> Result<bool, SplitError> {
    let schema = fill::read_schema(request, &ground.moved, ground.server_major(), ground.is_superuser).await?;
    Ok(job.definitions.as_ref() == Some(&schema.digest()))
}

/// Plans this service's split, and refuses what cannot be done.
fn plan(request: &Request<'_>, shared: &Shared, strategy: Option<Strategy>) -> Result<SplitPlan, SplitError> {
    let services = BTreeSet::from([request.service.name.clone()]);
    let pause_max_ms = u64::try_from(request.pause_max.as_millis()).unwrap_or(u64::MAX);
    let plan = plan_split(request.apply.spec, shared, &SplitOptions { services, moved: BTreeSet::new(), strategy, pause_max_ms });
    let is_error = |diagnostic: &&Diagnostic| any_error(std::slice::from_ref(*diagnostic));
    match plan.diagnostics.iter().find(is_error) {
        Some(error) => Err(error.clone().into()),
        None => Ok(plan),
    }
}

/// What is taken.
fn chosen(plan: &SplitPlan, before: Option<Strategy>) -> Result<Strategy, SplitError> {
    let choice = before.or(plan.services.first().and_then(|service| service.choice.strategy));
    choice.ok_or_else(|| Diagnostic::error(Code::SPLIT_STRATEGY, "no strategy can be used").into())
}

/// Foreign keys and slots wait for the end of a rollback.
fn half_back(job: &Job) -> SplitError {
    Diagnostic::error(Code::SPLIT_STATE, format!("the rollback of service \"{}\" was interrupted", job.service))
        .detail("The shared database is its home, and not everything is as it was.")
        .hint("End it first:")
        .command(format!("pgisle split rollback {}", job.service))
        .into()
}

pub(super) fn wrong_state(job: &Job, what: &str) -> SplitError {
    let words = match job.state {
        JobState::Begun => "It is begun, and nothing follows yet.",
        JobState::Following => "The copy is there, and changes follow.",
        JobState::Cut => "The service's home is its own database already.",
        JobState::Returned => "It was rolled back.",
        JobState::Finalized => "It is finalized.",
    };
    Diagnostic::error(Code::SPLIT_STATE, format!("the split of service \"{}\" cannot be {what}", job.service)).detail(words).into()
}

/// The service's own database must be empty: what is in it would be lost from sight.
async fn check_target(request: &Request<'_>) -> Result<(), SplitError> {
    let database = &request.service.database;
    let session = request.session(database).await?;
    let failed = || SplitError::query(format!("look into database \"{database}\""));
    let rows = session.query(RELATIONS, &[]).await.map_err(failed())?;
    session.close().await;
    let names = rows.iter().map(|row| Ok(format!("{}.{}", row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?)));
    let names = names.collect::<Result<Vec<_>, tokio_postgres::Error>>().map_err(failed())?;
    if names.is_empty() {
        return Ok(());
    }
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    Err(Diagnostic::error(Code::SPLIT_TARGET, format!("database \"{database}\" has tables already"))
        .detail(format!("There are {}: {shown}.", names.len()))
        .hint("Move them away, or take them to the shared database first: a split does not merge.")
        .into())
}

/// Begins from nothing, whatever an earlier attempt has left.
async fn begin(
    site: &Site<'_>,
    request: &Request<'_>,
    ground: &Ground,
    strategy: Strategy,
    (session, control): (&mut Session, &mut Session),
    events: Events<'_>,
) -> Result<Ran, SplitError> {
    let service = request.service;
    let mut job = Job::new(service.name.clone(), service.database.clone(), service.database.clone(), strategy, now());
    job.tables = ground.tables().map(|(schema, name)| (schema.to_owned(), name.to_owned())).collect();
    job.sequences = ground.moved.sequences.clone();
    job.severed = ground.moved.severed.clone();
    events(Event::Restoring("putting the fence up, open"));
    journal::begin(control, &job, &ground.moved, ground.is_superuser).await?;
    let role = service.owner();
    let mut diagnostics: Vec<Diagnostic> =
        journal::let_in(control, request.shared(), &ground.moved, &role, ground.is_superuser).await.into_iter().collect();
    fault::stage("split.begun");
    diagnostics.extend(request.announce(request.shared()).await);
    drop_slot(control, &job.slot()).await?;
    let run = locks::for_the_making(site, events).await?;
    fill::clean(site, session, &ground.inventory).await?;
    if strategy != Strategy::Stream {
        run.release().await;
        return Ok(Ran { job, copied_bytes: 0, changes: 0, diagnostics });
    }
    let inventory = inspect_shared(session).await?;
    events(Event::Restoring("reading the definitions"));
    let schema = fill::read_schema(request, &ground.moved, ground.server_major(), ground.is_superuser).await?;
    events(Event::Restoring("waiting for open transactions"));
    let owner = ground.moved.tables.first().map(|table| &table.owner).filter(|_| !ground.is_superuser);
    publish(control, &ground.moved, owner, &job.slot()).await?;
    let begun = create_slot(request, control, &job.slot()).await?;
    fault::stage("split.slot");
    events(Event::Restoring("making the database"));
    let stage = fill::make(site, request, session, &inventory, &ground.moved, &schema).await?;
    run.release().await;
    job.staging = stage.database.clone();
    job.definitions = Some(schema.digest());
    journal::write(control, &job).await?;
    let (visible, copied_bytes) = copy(site, request, ground, &stage, events).await?;
    fault::stage("split.copied");
    events(Event::Restoring("building indexes"));
    fill::complete(&stage.connect(site), &schema, site.request.parallelism).await?;
    keep_progress(site, &stage, begun).await?;
    job.copied = Some(visible);
    job.state = JobState::Following;
    job.clock.copied = Some(now());
    journal::write(control, &job).await?;
    fault::stage("split.following");
    let changes = follow_once(site, request, &stage, &job, events).await?;
    Ok(Ran { job, copied_bytes, changes, diagnostics })
}

/// Takes away what a run that failed has made: it fills the disk and keeps the log, and the next one begins from nothing.
async fn give_room_back(site: &Site<'_>, request: &Request<'_>) -> Result<(), SplitError> {
    let mut control = request.session(request.shared()).await?;
    let job = journal::settled(&mut control, &request.service.name).await?;
    if let Some(job) = job.filter(|job| job.state == JobState::Begun) {
        drop_slot(&mut control, &job.slot()).await?;
        let mut session = Session::connect(site.connect()).await?;
        let inventory = inspect_shared(&session).await?;
        fill::clean(site, &mut session, &inventory).await?;
        session.close().await;
    }
    control.close().await;
    Ok(())
}

/// Goes on with a copy that is whole.
async fn go_on(
    site: &Site<'_>,
    request: &Request<'_>,
    session: &mut Session,
    control: &mut Session,
    job: Job,
    events: Events<'_>,
) -> Result<Ran, SplitError> {
    journal::settle(control, &job).await?;
    let stage = stage::take_up(site, session, &job.staging, Purpose::Split, &fill::source(request)).await?;
    fill::strip(&stage.connect(site)).await?;
    // A PgBouncer that was not there when the split began has not heard of it.
    let diagnostics = request.announce(request.shared()).await;
    let changes = follow_once(site, request, &stage, &job, events).await?;
    Ok(Ran { job, copied_bytes: 0, changes, diagnostics })
}

/// Applies what has changed since.
async fn follow_once(
    site: &Site<'_>,
    request: &Request<'_>,
    stage: &stage::Stage,
    job: &Job,
    events: Events<'_>,
) -> Result<u64, SplitError> {
    events(Event::Restoring("following changes"));
    let source = request.session(request.shared()).await?;
    let target = Session::connect(&stage.connect(site)).await?;
    let mut follower = follow::Follower::open(source, target, job.slot(), job.copied.clone(), follow::Keeper::Beside).await?;
    // The log of the copying itself is read once, and not again by each pass to come.
    let _is_cheap = follower.write_moment().await;
    follower.catch_up(&|_| {}).await?;
    let changes = follower.applied();
    follower.close().await.close().await;
    Ok(changes)
}

/// Publishes the tables to the slot, under the slot's name.
pub(super) async fn publish(control: &mut Session, moved: &Moved, owner: Option<&RoleName>, name: &str) -> Result<(), SplitError> {
    let failed = || SplitError::query("publish the tables that move");
    control.batch("BEGIN").await.map_err(failed())?;
    let published = async {
        if let Some(owner) = owner {
            act_as(control, owner, false).await?;
        }
        // What holds rows is published: a partitioned table's rows are its partitions'.
        let tables = moved.tables.iter().filter(|table| !table.is_partitioned);
        let tables = tables.map(|table| (table.schema.as_str(), table.name.as_str()));
        control.run(drop_publication(name).expose()).await.map_err(failed())?;
        control.run(create_publication(tables, name).expose()).await.map_err(failed())?;
        control.batch("COMMIT").await.map_err(failed())
    };
    let published: Result<(), SplitError> = published.await;
    if published.is_err() {
        // The reason that it failed says more than that this does.
        let _undone = control.batch("ROLLBACK").await;
    }
    fault::after(fault::Moment::Statement);
    published
}

/// Drops a slot and its publication, where they are there.
pub(super) async fn drop_slot(session: &mut Session, name: &str) -> Result<(), SplitError> {
    let failed = || SplitError::query(format!("drop replication slot \"{name}\""));
    // Whoever read it may be dead already and still be there for the server.
    let in_use = |error: &tokio_postgres::Error| error.code().is_some_and(|code| code.code() == "55006");
    let mut attempt = 1;
    while let Err(error) = session.query(DROP_SLOT, &[&name]).await {
        if !in_use(&error) || attempt >= DROP_ATTEMPTS {
            return Err(failed()(error));
        }
        attempt += 1;
        tokio::time::sleep(DROP_GAP).await;
    }
    fault::after(fault::Moment::Statement);
    session.run(drop_publication(name).expose()).await.map_err(failed())?;
    fault::after(fault::Moment::Statement);
    Ok(())
}

/// Makes a slot; gives where it begins. It waits for every transaction on the server that has written, and not for ever.
pub(super) async fn create_slot(request: &Request<'_>, session: &mut Session, name: &str) -> Result<Lsn, SplitError> {
    const QUERY_CANCELED: &str = "57014";
    let failed = || SplitError::query(format!("make replication slot \"{name}\""));
    let patience = SLOT_PATIENCE.max(request.apply.lock_timeout);
    let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    session.run(set_statement_timeout(patience_ms).expose()).await.map_err(failed())?;
    let made = session.query(CREATE_SLOT, &[&name]).await;
    let rows = match made {
        Err(error) if error.code().is_some_and(|code| code.code() == QUERY_CANCELED) => {
            return Err(held_up(request, name, patience).await);
        }
        made => made.map_err(failed())?,
    };
    fault::after(fault::Moment::Statement);
    session.run(set_statement_timeout(0).expose()).await.map_err(failed())?;
    let place: String = rows.first().map_or(Ok(String::new()), |row| row.try_get(0)).map_err(failed())?;
    Ok(Lsn::parse(&place).unwrap_or_default())
}

/// Who is open still.
async fn held_up(request: &Request<'_>, name: &str, patience: std::time::Duration) -> SplitError {
    let writers = match inspect_shared_database(request.apply.connect, request.shared()).await {
        Ok(Shared { writers: Readable::Known(writers), .. }) => writers.iter().map(Writer::words).collect(),
        _ => Vec::new(),
    };
    let who = if writers.is_empty() { "Who that is cannot be seen".to_owned() } else { writers.join("; ") };
    Diagnostic::error(Code::SPLIT_TRANSACTION, format!("open transactions hold up replication slot \"{name}\""))
        .detail(format!(
            "It waits for all that have written, in any database, and some did not end within {} s. {who}. Everyone goes on as before.",
            patience.as_secs()
        ))
        .hint("Wait for them to end, or end them; then try again. -lock-timeout waits longer.")
        .into()
}

/// Copies all rows as one snapshot sees them; gives what it saw.
async fn copy(
    site: &Site<'_>,
    request: &Request<'_>,
    ground: &Ground,
    stage: &stage::Stage,
    events: Events<'_>,
) -> Result<(Visible, u64), SplitError> {
    let failed = || SplitError::query("take a snapshot of the shared database");
    let holder = request.session(request.shared()).await?;
    holder.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed())?;
    let rows = holder.query(EXPORT_SNAPSHOT, &[]).await.map_err(failed())?;
    let row = rows.first().ok_or_else(|| SplitError::from(Diagnostic::error(Code::SPLIT_FAILED, "there is no snapshot")))?;
    let (visible, snapshot): (String, String) = (row.try_get(0).map_err(failed())?, row.try_get(1).map_err(failed())?);
    let visible = Visible::parse(&visible)
        .ok_or_else(|| Diagnostic::error(Code::SPLIT_FAILED, "the snapshot cannot be understood").detail(format!("{visible}.")))?;
    let bytes = copy_rows(site, request, ground, stage, &snapshot, events).await?;
    holder.close().await;
    Ok((visible, bytes))
}

/// Copies all rows as a snapshot sees them that another session holds.
pub(super) async fn copy_rows(
    site: &Site<'_>,
    request: &Request<'_>,
    ground: &Ground,
    stage: &stage::Stage,
    snapshot: &str,
    events: Events<'_>,
) -> Result<u64, SplitError> {
    let (source, target) = (request.connect_to(request.shared()), stage.connect(site));
    let parallelism = site.request.parallelism;
    let route = Route { source: &source, is_superuser: ground.is_superuser, snapshot, target: &target, parallelism };
    let tables = ground.moved.with_rows();
    let total = tables.iter().map(|table| table.bytes).sum();
    copy_tables(&route, &tables, &|done| events(Event::Loading { done, total })).await
}

/// Makes the place where applying changes keeps how far it has come.
async fn keep_progress(site: &Site<'_>, stage: &stage::Stage, begun: Lsn) -> Result<(), SplitError> {
    let failed = || SplitError::query("keep the progress of the changes");
    let mut session = Session::connect(&site.connect().to_database(&stage.database)).await?;
    session.batch("BEGIN").await.map_err(failed())?;
    for statement in PROGRESS {
        session.batch(statement).await.map_err(failed())?;
    }
    session.run(begin_progress(begun).expose()).await.map_err(failed())?;
    for statement in grant_progress(&stage.loader).into_iter().chain(grant_progress(&site.service.owner())) {
        session.run(statement.expose()).await.map_err(failed())?;
    }
    session.batch("COMMIT").await.map_err(failed())?;
    fault::after(fault::Moment::Statement);
    session.close().await;
    Ok(())
}
