//! Restoring a service: into a new database, as the service's owner role, compared with what was backed up, and then put in the
//! live one's place in one transaction. The live database is never written to, and is kept, closed, until it is pruned.
//!
//! What is on the cluster says how far a restore is: the new database and its login are marked from their first moment on, so a run
//! that was killed leaves nothing that the next one does not recognise and take away.
//!
//! Two locks. The service's own is held from the first statement to the last: one restore of a service at a time. The run lock, which
//! every change of the cluster needs, is held while the database and its login are made, and again while the databases trade places;
//! in between, where loading and comparing take their hours, nothing is touched that any other run would: `docs/design` says why.

mod error;
mod input;
mod keep;
mod load;
pub(crate) mod locks;
pub(crate) mod stage;
pub(crate) mod swap;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgisle_core::backup::Content;
use pgisle_core::backup::restore::{Leftover, Purpose, replaced_name};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::inventory::Inventory;
use pgisle_core::marker::RestoreMark;
use pgisle_core::moment::Moment;
use pgisle_core::name::DatabaseName;
use pgisle_core::plan::{Blocked, Target};
use pgisle_core::spec::Service;

use crate::apply::{self, Applied, Intent};
use crate::backup::content::{Reading, content};
use crate::event::{Event, Events};
use crate::postgres::{ConnectOptions, LockError, RunLock, Session, inspect, inspect_shared};

pub use error::RestoreError;
pub use input::{Input, Opening, Stream};
pub use keep::{Pruned, Undone, prune, undo};

pub(super) use input::decoded;
use input::{Expected, Survey};
use load::Load;
use stage::Stage;
use swap::Swap;

/// What a restore works on.
pub(crate) struct Site<'a> {
    pub(crate) request: &'a apply::Request<'a>,
    pub(crate) service: &'a Service,
    /// The lock on the service's restores, which is held all the time.
    pub(crate) own: &'a RunLock,
    /// What is done, for whoever waits for a lock.
    pub(crate) purpose: &'static str,
}

impl Site<'_> {
    pub(crate) fn connect(&self) -> &ConnectOptions {
        self.request.connect
    }

    pub(crate) fn project(&self) -> &str {
        &self.request.spec.settings.name_prefix
    }

    pub(crate) fn environment(&self) -> &'static str {
        self.request.spec.settings.environment.as_str()
    }
}

/// How the content of the new database was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compared {
    /// Every row, sequence and large object is as it was backed up.
    Content,
    /// Every table has as many rows as the dump, and every sequence stands where it stood.
    Counts,
    /// The dump does not say what it holds.
    Nothing,
}

/// A restore that is done.
#[derive(Debug)]
pub struct Restored {
    /// What was restored.
    pub source: String,
    /// The service's database, which is the new one now.
    pub database: DatabaseName,
    /// The database that it replaced, kept closed.
    pub replaced: DatabaseName,
    /// How its content was checked.
    pub compared: Compared,
    /// Rows in it.
    pub rows: u64,
    /// How long nobody could connect.
    pub pause: Duration,
    /// What an apply of the service did behind it, as a rule nothing; none when it could not be run.
    pub applied: Option<Applied>,
    /// What earlier restores had left and this one took away.
    pub removed: Vec<Leftover>,
    /// Findings: what was left out, what could not be granted.
    pub diagnostics: Vec<Diagnostic>,
}

/// A drill that is done.
#[derive(Debug)]
pub struct Drilled {
    /// What was restored.
    pub source: String,
    /// How its content was checked.
    pub compared: Compared,
    /// Rows in it.
    pub rows: u64,
    /// How long it took, from making the database to comparing it.
    pub took: Duration,
    /// Findings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Restores a dump and puts it in the live database's place.
///
/// # Errors
/// See [`RestoreError`].
pub async fn restore(
    request: &apply::Request<'_>,
    service: &Service,
    input: &Input<'_>,
    events: Events<'_>,
) -> Result<Restored, RestoreError> {
    events(Event::Restoring("reading the dump"));
    let survey = input::survey(input).await?;
    let purpose = "restore";
    let own = locks::of_service(request, service, purpose, events).await?;
    let site = Site { request, service, own: &own, purpose };
    let outcome = Box::pin(restore_locked(&site, input, &survey, events)).await;
    own.release().await;
    outcome
}

/// Restores a dump beside the live database, compares it, and drops it.
///
/// # Errors
/// See [`RestoreError`].
pub async fn drill(
    request: &apply::Request<'_>,
    service: &Service,
    input: &Input<'_>,
    events: Events<'_>,
) -> Result<Drilled, RestoreError> {
    events(Event::Restoring("reading the dump"));
    let survey = input::survey(input).await?;
    let purpose = "drill";
    let own = locks::of_service(request, service, purpose, events).await?;
    let site = Site { request, service, own: &own, purpose };
    let outcome = Box::pin(drill_locked(&site, input, &survey, events)).await;
    own.release().await;
    outcome
}

/// A new database that is filled and compared.
struct Filled {
    stage: Stage,
    compared: Compared,
    content: Content,
    removed: Vec<Leftover>,
    diagnostics: Vec<Diagnostic>,
}

async fn restore_locked(site: &Site<'_>, input: &Input<'_>, survey: &Survey, events: Events<'_>) -> Result<Restored, RestoreError> {
    let Filled { stage, compared, content, removed, mut diagnostics } = fill(site, Purpose::Restore, input, survey, events).await?;
    let replaced = async {
        let run = locks::for_a_swap(site, events).await?;
        let outcome = Box::pin(replace(site, &run, &stage, &input.name, &mut diagnostics, events)).await;
        run.release().await;
        outcome
    };
    let Replaced { outgoing, pause, applied } = match replaced.await {
        Ok(replaced) => replaced,
        Err(error) => return Err(give_up(site, error, events).await),
    };
    let (rows, source, database) = (content.rows(), input.name.clone(), site.service.database.clone());
    Ok(Restored { source, database, replaced: outgoing, compared, rows, pause, applied, removed, diagnostics })
}

/// What came of trading places.
struct Replaced {
    outgoing: DatabaseName,
    pause: Duration,
    applied: Option<Applied>,
}

/// Puts the new database in the live one's place, and has the service be as the file says. Under the run lock.
async fn replace(
    site: &Site<'_>,
    run: &RunLock,
    stage: &Stage,
    source: &str,
    diagnostics: &mut Vec<Diagnostic>,
    events: Events<'_>,
) -> Result<Replaced, RestoreError> {
    let live = &site.service.database;
    let mut session = Session::connect(site.connect()).await?;
    // Others may have worked on the cluster while the dump was loaded.
    let inventory = look(site, &stage.database).await?;
    check_service(site, &inventory)?;
    events(Event::Restoring("setting the database up"));
    let wanted = swap::wanted(site, &inventory, &stage.database)?;
    let refused = swap::furnish(site, run, &mut session, &inventory, &wanted, &stage.database).await?;
    diagnostics.extend(settings_refused(refused));
    if let Some(slots) = swap::slots(&session, live).await {
        diagnostics.push(slots_stay(&slots, live));
    }
    let outgoing = free_name(&inventory, live);
    let mark = RestoreMark { at: crate::clock::now(), waiting: false, drill: false, source: source.to_owned() };
    events(Event::Restoring("putting it in its place"));
    // The last moment at which the live database is where it was.
    site.own.confirm().await?;
    run.confirm().await?;
    let swap = Swap { incoming: &stage.database, outgoing: &outgoing, mark, wanted: &wanted };
    let pause = swap::swap(site, &inventory, &swap).await?;
    diagnostics.extend(wanted.blocked.into_iter().map(|Blocked { diagnostic, .. }| diagnostic));
    if let Err(error) = stage::drop_loader(&mut session, &stage.loader).await {
        diagnostics.push(left(&error));
    }
    session.close().await;
    let applied = apply_again(site, run, events, diagnostics).await;
    Ok(Replaced { outgoing, pause, applied })
}

async fn drill_locked(site: &Site<'_>, input: &Input<'_>, survey: &Survey, events: Events<'_>) -> Result<Drilled, RestoreError> {
    let started = std::time::Instant::now();
    let Filled { compared, content, mut diagnostics, .. } = fill(site, Purpose::Drill, input, survey, events).await?;
    let took = started.elapsed();
    events(Event::Restoring("dropping the database"));
    if let Err(error) = tidy_up(site, events).await {
        diagnostics.push(left(&error));
    }
    Ok(Drilled { source: input.name.clone(), compared, rows: content.rows(), took, diagnostics })
}

/// Makes a new database, loads the dump into it and compares. When that fails, the new database goes.
async fn fill(
    site: &Site<'_>,
    purpose: Purpose,
    input: &Input<'_>,
    survey: &Survey,
    events: Events<'_>,
) -> Result<Filled, RestoreError> {
    let run = locks::for_the_making(site, events).await?;
    let made = Box::pin(make(site, purpose, input, survey, events)).await;
    run.release().await;
    let filling = async {
        let Made { stage, schemas, removed } = made?;
        let load = Load { site, stage: &stage, input, survey, made: &schemas, events };
        let loaded = Box::pin(load.run()).await?;
        stage::hand_everything_over(site, &stage).await?;
        events(Event::Restoring("comparing the content"));
        let (compared, content) = compare(site, &stage, survey).await?;
        let diagnostics = findings(survey, loaded.not_granted, compared);
        Ok(Filled { stage, compared, content, removed, diagnostics })
    };
    match Box::pin(filling).await {
        // It waits for someone with more rights, or nothing has been made.
        Err(error @ (RestoreError::Extensions { .. } | RestoreError::Service { .. } | RestoreError::Unavailable { .. })) => {
            Err(error)
        }
        Err(error) => Err(give_up(site, error, events).await),
        filled => filled,
    }
}

/// A new database that is to be filled.
struct Made {
    stage: Stage,
    /// The schemas that are there already.
    schemas: BTreeSet<String>,
    removed: Vec<Leftover>,
}

/// Takes away what earlier restores of the service have left, and makes a new database. Under the run lock.
async fn make(
    site: &Site<'_>,
    purpose: Purpose,
    input: &Input<'_>,
    survey: &Survey,
    events: Events<'_>,
) -> Result<Made, RestoreError> {
    let mut session = Session::connect(site.connect()).await?;
    let inventory = inspect_shared(&session).await?;
    check_service(site, &inventory)?;
    check_extensions(&inventory, survey)?;
    let removed = stage::clean(site, &mut session, &inventory, Some(&input.name)).await?;
    let inventory = inspect_shared(&session).await?;
    events(Event::Restoring("making the database"));
    let stage = stage::make(site, &mut session, &inventory, purpose, &input.name).await?;
    session.close().await;
    let schemas = stage::extend(site, &stage, &inventory, &survey.extensions).await?;
    Ok(Made { stage, schemas, removed })
}

/// Takes away what a restore that failed has made. When that cannot be done, the error says so, too.
async fn give_up(site: &Site<'_>, error: RestoreError, events: Events<'_>) -> RestoreError {
    // Whoever has had the run lock for so long will not let go of it now.
    let tidied = match &error {
        RestoreError::Lock(held @ LockError::Held { .. }) => Err(held.to_string()),
        _ => tidy_up(site, events).await.map_err(|tidying| tidying.diagnostic().summary),
    };
    match tidied {
        Ok(()) => error,
        Err(why) => RestoreError::Unfinished { cause: Box::new(error), why },
    }
}

/// Takes the new database and its login away. What cannot be is told, and found by the next restore.
async fn tidy_up(site: &Site<'_>, events: Events<'_>) -> Result<(), RestoreError> {
    // A server that has come back knows nothing of the lock, and what stands there may be another restore's by now.
    let again = match site.own.confirm().await {
        Ok(()) => None,
        Err(_) => Some(locks::of_service(site.request, site.service, site.purpose, events).await?),
    };
    let run = locks::for_a_swap(site, events).await?;
    let cleaned = async {
        let mut session = Session::connect(site.connect()).await?;
        let inventory = inspect_shared(&session).await?;
        stage::clean(site, &mut session, &inventory, None).await?;
        session.close().await;
        Ok(())
    };
    let outcome = Box::pin(cleaned).await;
    run.release().await;
    if let Some(own) = again {
        own.release().await;
    }
    outcome
}

fn left(error: &RestoreError) -> Diagnostic {
    let inner = error.diagnostic();
    let detail = inner.detail.unwrap_or_default();
    Diagnostic::warning(Code::RESTORE_LEFT, "something of the restore is left on the cluster")
        .detail(format!("{}: {detail}", inner.summary))
        .hint("`pgisle status` lists it, and the next restore removes it.")
}

/// The service must be there as the file has it, or nearly so.
pub(crate) fn check_service(site: &Site<'_>, inventory: &Inventory) -> Result<(), RestoreError> {
    let service = site.service;
    let refuse = |why: String| Err(RestoreError::Service { service: service.name.clone(), why });
    if !inventory.roles.contains_key(&service.owner()) {
        return refuse(format!("role \"{}\" does not exist", service.owner()));
    }
    let Some(database) = inventory.databases.get(&service.database) else {
        return refuse(format!("database \"{}\" does not exist", service.database));
    };
    match database.marker() {
        Some(marker) if marker.same_owner(site.project(), site.environment()) => Ok(()),
        _ => refuse(format!("database \"{}\" is not pgisle's", service.database)),
    }
}

/// What the server's machine does not have can be made by nobody.
fn check_extensions(inventory: &Inventory, survey: &Survey) -> Result<(), RestoreError> {
    let Some(available) = inventory.available_extensions.known() else { return Ok(()) };
    let missing: Vec<String> = survey
        .extensions
        .keys()
        .filter(|name| !available.keys().any(|known| known.as_str() == name.as_str()))
        .map(|name| {
            format!("The server does not have extension \"{name}\": its package must be installed on the server's machine.")
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(RestoreError::Unavailable { reasons: missing })
}

async fn compare(site: &Site<'_>, stage: &Stage, survey: &Survey) -> Result<(Compared, Content), RestoreError> {
    let mut connect = site.connect().to_database(&stage.database);
    connect.statement_timeout_ms = 0;
    let owner = site.service.owner();
    let session = Session::connect(site.connect()).await?;
    let is_superuser = inspect_shared(&session).await?.admin.superuser;
    session.close().await;
    let reading = Reading {
        connect: &connect,
        act_as: (!is_superuser).then_some(&owner),
        snapshot: None,
        columns: &survey.columns,
        parallelism: site.request.parallelism,
        only: None,
        binary: None,
    };
    let found = content(&reading, &|_| {}).await?;
    let (compared, differences) = match &survey.expected {
        Expected::All(content) => (Compared::Content, content.differences(&found)),
        Expected::Counts(content) => (Compared::Counts, content.count_differences(&found)),
        Expected::Nothing => (Compared::Nothing, Vec::new()),
    };
    if differences.is_empty() {
        return Ok((compared, found));
    }
    Err(RestoreError::Differs { database: stage.database.clone(), differences })
}

fn findings(survey: &Survey, not_granted: BTreeSet<String>, compared: Compared) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    if !survey.left_out.is_empty() {
        let things: Vec<&str> = survey.left_out.iter().map(String::as_str).collect();
        diagnostics.push(
            Diagnostic::warning(Code::RESTORE_PARTIAL, "part of the dump was left out")
                .detail(format!("Left out: {}.", things.join(", ")))
                .hint("They reach beyond the service's database. Make them by hand where they are wanted."),
        );
    }
    if !not_granted.is_empty() {
        let reasons: Vec<String> = not_granted.into_iter().collect();
        diagnostics.push(
            Diagnostic::warning(Code::RESTORE_PARTIAL, "some privileges of the dump were not granted")
                .detail(format!("The server said: {}.", reasons.join("; "))),
        );
    }
    let how = match compared {
        Compared::Content => return diagnostics,
        Compared::Counts => "The number of rows of every table was, and where the sequences stand.",
        Compared::Nothing => "The dump does not say what it holds.",
    };
    diagnostics.push(Diagnostic::note(Code::RESTORE_UNCOMPARED, "the content was not compared").detail(how));
    diagnostics
}

fn settings_refused(refused: Vec<String>) -> Option<Diagnostic> {
    (!refused.is_empty()).then(|| {
        let diagnostic = Diagnostic::warning(Code::RESTORE_PARTIAL, "settings of the live database could not be copied");
        diagnostic.detail(format!("{}.", refused.join("; ")))
    })
}

fn slots_stay(slots: &str, live: &DatabaseName) -> Diagnostic {
    Diagnostic::warning(Code::RESTORE_PARTIAL, "replication slots stay with the replaced database")
        .detail(format!("Logical replication from \"{live}\" used: {slots}. What is restored has none."))
        .hint("Make them again, and drop the old ones: they keep the server's write-ahead log.")
}

/// Reads the cluster, and the new database inside.
pub(crate) async fn look(site: &Site<'_>, database: &DatabaseName) -> Result<Inventory, RestoreError> {
    let live = apply::readers(site.request.spec).remove(&site.service.database).unwrap_or_default();
    let wanted = crate::postgres::Request { databases: BTreeMap::from([(database.clone(), live)]), sizes: false };
    Ok(inspect(site.connect(), &wanted, 1, &|_| {}).await?)
}

/// A name for the live database that is not taken.
pub(crate) fn free_name(inventory: &Inventory, live: &DatabaseName) -> DatabaseName {
    let mut at = crate::clock::now();
    while inventory.databases.contains_key(&replaced_name(live, at)) {
        at = Moment::from_unix_s(at.unix_s() + 1);
    }
    replaced_name(live, at)
}

/// The ordinary apply of this service: whatever is not as the file has it yet. The databases have traded places by then, so that it
/// fails is a finding.
pub(crate) async fn apply_again(
    site: &Site<'_>,
    run: &RunLock,
    events: Events<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Applied> {
    let targets = [Target::Service(site.service.name.clone())];
    let request = apply::Request { intent: Intent::Apply, targets: &targets, expected: None, must_fit: false, ..*site.request };
    match Box::pin(apply::run_locked(&request, events, run)).await {
        Ok(applied) => {
            diagnostics.extend(applied.diagnostics());
            Some(applied)
        }
        Err(error) => {
            diagnostics.push(error.diagnostic());
            None
        }
    }
}
