//! Carrying a plan out. Nothing is decided here: units run as the plan has them.
//!
//! `before` and `after` run one unit after the other on one session, because they touch shared catalogs. The chains between them
//! run side by side, each on a session of the maintenance database and one inside its own database.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::inventory::Contents;
use pgisle_core::name::{DatabaseName, RoleName, ServiceName};
use pgisle_core::plan::{Chain, Plan, Step, Unit, UnitPlace};
use tokio::sync::Mutex;

use super::connect::ConnectError;
use super::session::{Notice, Session};
use super::{ConnectOptions, inspect_contents};
use crate::event::{Event, Events};
use crate::fault::{self, Moment};

/// How often a unit is tried when the server says that another session was in the way.
const ATTEMPTS_MAX: u32 = 6;
/// The first pause between two attempts; it doubles, and a random part keeps two contenders from meeting again.
const RETRY_PAUSE_MS: u64 = 40;

/// What the executor needs besides the plan.
pub(crate) struct ExecuteOptions<'a> {
    /// How to reach the maintenance database.
    pub(crate) connect: &'a ConnectOptions,
    /// How many databases are worked on at once.
    pub(crate) parallelism: usize,
    /// Whose privileges are read back, by database.
    pub(crate) readers: &'a BTreeMap<DatabaseName, BTreeSet<RoleName>>,
    /// Whether the run lock is still ours.
    pub(crate) lock_is_held: &'a (dyn Fn() -> bool + Sync),
    /// Where progress goes.
    pub(crate) events: Events<'a>,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub(crate) struct Execution {
    /// Steps that failed for good, and why.
    pub(crate) failures: Vec<StepFailure>,
    /// What the databases look like that were worked on inside, read on the session that did the work.
    pub(crate) contents: BTreeMap<DatabaseName, Contents>,
}

/// A step that failed for good.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {summary}")]
pub struct StepFailure {
    /// The step's address.
    pub address: String,
    /// What it would have done.
    pub summary: String,
    /// The statement, without secrets; none when the session itself failed.
    pub statement: Option<String>,
    /// Why.
    #[source]
    pub cause: FailureCause,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum FailureCause {
    /// The database could not be entered.
    #[error("the database could not be entered")]
    Connect(#[source] Box<ConnectError>),
    /// The server refused the statement.
    #[error("the server refused the statement")]
    Statement(#[source] tokio_postgres::Error),
    /// The server took the statement and did nothing.
    #[error("the server took the statement and did nothing: {message}")]
    NoEffect {
        /// The server's warning.
        message: String,
    },
    /// The run lock was lost, so another run may be at work.
    #[error("the run lock was lost")]
    LockLost,
}

impl StepFailure {
    fn new(step: &Step, statement: Option<String>, cause: FailureCause) -> Self {
        Self { address: step.address.to_string(), summary: step.summary(), statement, cause }
    }

    /// The finding for people. The server's own words are part of it; parameters and secrets never are.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let Self { address, summary, statement, cause } = self;
        let statement = statement.as_ref().map_or(String::new(), |sql| format!(" Statement: {sql}."));
        let diagnostic = match cause {
            FailureCause::Connect(error) => {
                let inner = error.diagnostic();
                let detail = inner.detail.unwrap_or_default();
                return Diagnostic::error(inner.code, inner.summary).about(address.clone()).detail(detail);
            }
            FailureCause::Statement(error) => {
                let lost = error.is_closed() || error.as_db_error().is_none_or(ends_session);
                let code = if lost { Code::CONNECT_LOST } else { Code::APPLY_STATEMENT };
                let said = error.as_db_error().map_or_else(|| error.to_string(), said_by_server);
                Diagnostic::error(code, format!("failed to {summary}")).detail(format!("{said}.{statement}"))
            }
            FailureCause::NoEffect { message } => {
                Diagnostic::error(Code::APPLY_NO_EFFECT, format!("no effect: {summary}")).detail(format!("{message}.{statement}"))
            }
            FailureCause::LockLost => {
                Diagnostic::error(Code::CONNECT_LOST, "the run lock was lost").detail(format!("Not done: {summary}."))
            }
        };
        diagnostic.about(address.clone()).hint("Mend the cause and run the same command again: it goes on where it stopped.")
    }
}

/// The server's last words on a connection: an administrator ended it, or the server stops or recovers.
fn ends_session(error: &tokio_postgres::error::DbError) -> bool {
    error.code().code().starts_with("57P")
}

fn said_by_server(error: &tokio_postgres::error::DbError) -> String {
    let more = error.detail().or(error.hint()).map_or(String::new(), |text| format!(" ({text})"));
    format!("{} [{}]{more}", error.message(), error.code().code())
}

/// Carries the plan out, as far as it goes.
pub(crate) async fn execute(plan: &Plan, options: &ExecuteOptions<'_>) -> Result<Execution, ConnectError> {
    let mut execution = Execution::default();
    if plan.is_empty() {
        return Ok(execution);
    }
    let mut session = Session::connect(options.connect).await?;
    let mut failed_services = BTreeSet::new();
    serial(&mut session, &plan.before, options, &mut execution, &mut failed_services).await;
    let pool = Mutex::new(vec![session]);
    let chains: Vec<&Chain> = plan.chains.iter().filter(|chain| !failed_services.contains(&chain.service)).collect();
    let mut running =
        stream::iter(chains).map(|chain| run_chain(chain, options, &pool)).buffer_unordered(options.parallelism.max(1));
    while let Some(outcome) = running.next().await {
        match outcome {
            Ok((database, contents)) => {
                (options.events)(Event::DatabaseDone(&database));
                execution.contents.extend(contents.map(|contents| (database, contents)));
            }
            Err((service, failure)) => {
                failed_services.insert(service);
                execution.failures.push(*failure);
            }
        }
    }
    drop(running);
    let mut sessions = pool.into_inner();
    if !plan.after.is_empty() {
        let mut session = match sessions.pop() {
            Some(session) => session,
            None => Session::connect(options.connect).await?,
        };
        let due: Vec<Unit> = plan.after.iter().filter(|unit| !is_of(unit, &failed_services)).cloned().collect();
        serial(&mut session, &due, options, &mut execution, &mut failed_services).await;
        sessions.push(session);
    }
    for session in sessions {
        session.close().await;
    }
    Ok(execution)
}

fn is_of(unit: &Unit, services: &BTreeSet<ServiceName>) -> bool {
    unit.service.as_ref().is_some_and(|service| services.contains(service))
}

/// Runs units one after the other. A service's later units wait for its earlier ones; other services go on.
async fn serial(
    session: &mut Session,
    units: &[Unit],
    options: &ExecuteOptions<'_>,
    execution: &mut Execution,
    failed_services: &mut BTreeSet<ServiceName>,
) {
    for unit in units {
        if is_of(unit, failed_services) {
            continue;
        }
        if let Err(failure) = run_unit(session, unit, options).await {
            failed_services.extend(unit.service.clone());
            let connection_is_lost = session.is_closed() || matches!(failure.cause, FailureCause::LockLost);
            execution.failures.push(*failure);
            if connection_is_lost {
                // One finding is enough; every further unit would say the same.
                failed_services.extend(units.iter().filter_map(|unit| unit.service.clone()));
                return;
            }
        }
    }
}

type ChainOutcome = Result<(DatabaseName, Option<Contents>), (ServiceName, Box<StepFailure>)>;

async fn run_chain(chain: &Chain, options: &ExecuteOptions<'_>, pool: &Mutex<Vec<Session>>) -> ChainOutcome {
    let mut inside: Option<Session> = None;
    let result = Box::pin(chain_units(chain, options, pool, &mut inside)).await;
    let contents = match (&result, &inside) {
        (Ok(()), Some(session)) => {
            let none = BTreeSet::new();
            // When it cannot be read back here, the final inspection looks at it again.
            inspect_contents(session, options.readers.get(&chain.database).unwrap_or(&none)).await.ok()
        }
        _ => None,
    };
    if let Some(session) = inside {
        session.close().await;
    }
    result.map(|()| (chain.database.clone(), contents)).map_err(|failure| (chain.service.clone(), failure))
}

async fn chain_units(
    chain: &Chain,
    options: &ExecuteOptions<'_>,
    pool: &Mutex<Vec<Session>>,
    inside: &mut Option<Session>,
) -> Result<(), Box<StepFailure>> {
    for unit in &chain.units {
        let entered = |error: ConnectError| Box::new(unit_failure(unit, FailureCause::Connect(Box::new(error))));
        match &unit.place {
            UnitPlace::Maintenance => {
                let idle = pool.lock().await.pop();
                let mut session = match idle {
                    Some(session) => session,
                    None => Session::connect(options.connect).await.map_err(entered)?,
                };
                let result = run_unit(&mut session, unit, options).await;
                if !session.is_closed() {
                    pool.lock().await.push(session);
                }
                result?;
            }
            UnitPlace::Database(name) => {
                if inside.is_none() {
                    *inside = Some(Session::connect(&options.connect.to_database(name)).await.map_err(entered)?);
                }
                if let Some(session) = inside {
                    run_unit(session, unit, options).await?;
                }
            }
        }
    }
    Ok(())
}

fn unit_failure(unit: &Unit, cause: FailureCause) -> StepFailure {
    match unit.steps.first() {
        Some(step) => StepFailure::new(step, None, cause),
        // The planner leaves no empty unit.
        None => StepFailure { address: String::new(), summary: String::new(), statement: None, cause },
    }
}

/// Runs one unit, again and again while the server says that it was only another session's fault.
async fn run_unit(session: &mut Session, unit: &Unit, options: &ExecuteOptions<'_>) -> Result<(), Box<StepFailure>> {
    let mut attempt = 1;
    loop {
        if !(options.lock_is_held)() {
            return Err(Box::new(unit_failure(unit, FailureCause::LockLost)));
        }
        let failure = match try_unit(session, unit, options).await {
            Ok(()) => {
                unit.steps.iter().for_each(|step| (options.events)(Event::StepDone(step)));
                return Ok(());
            }
            Err(failure) => failure,
        };
        if unit.transaction && !session.is_closed() {
            // When even this fails the session is gone, and the failure at hand says more.
            let _ = session.batch("ROLLBACK").await;
        }
        if !is_transient(&failure.cause) || attempt >= ATTEMPTS_MAX {
            let reason = failure.cause.to_string();
            if let Some(step) = unit.steps.iter().find(|step| step.address.to_string() == failure.address) {
                (options.events)(Event::StepFailed { step, reason: &reason });
            }
            return Err(failure);
        }
        tokio::time::sleep(pause(attempt)).await;
        attempt += 1;
    }
}

async fn try_unit(session: &mut Session, unit: &Unit, options: &ExecuteOptions<'_>) -> Result<(), Box<StepFailure>> {
    let control = |error| Box::new(unit_failure(unit, FailureCause::Statement(error)));
    if unit.transaction {
        fault::statement_begins();
        session.batch("BEGIN").await.map_err(control)?;
        fault::after(Moment::Statement);
    }
    for step in &unit.steps {
        (options.events)(Event::StepStarted(step));
        for statement in step.statements() {
            let failed = |cause| Box::new(StepFailure::new(step, Some(statement.to_string()), cause));
            fault::statement_begins();
            let notices = session.run(statement.expose()).await.map_err(|error| failed(FailureCause::Statement(error)))?;
            if let Some(notice) = notices.into_iter().find(did_nothing) {
                return Err(failed(FailureCause::NoEffect { message: notice.message }));
            }
            fault::after(Moment::Statement);
        }
    }
    if unit.transaction {
        fault::statement_begins();
        session.batch("COMMIT").await.map_err(control)?;
        fault::after(Moment::Statement);
    }
    Ok(())
}

/// `privilege_not_revoked` and `privilege_not_granted`: the server calls them warnings.
fn did_nothing(notice: &Notice) -> bool {
    matches!(notice.sqlstate.as_str(), "01006" | "01007")
}

fn is_transient(cause: &FailureCause) -> bool {
    let FailureCause::Statement(error) = cause else { return false };
    let Some(error) = error.as_db_error() else { return false };
    match error.code().code() {
        "XX000" => error.message().starts_with("tuple concurrently"),
        // A unique index of a catalog, a deadlock, a serialization failure, an object in use.
        "23505" | "40P01" | "40001" | "55006" => true,
        _ => false,
    }
}

fn pause(attempt: u32) -> Duration {
    let mut byte = [0_u8];
    // Without a random number the pause is only less well spread.
    let _ = getrandom::fill(&mut byte);
    Duration::from_millis((RETRY_PAUSE_MS << attempt) + u64::from(byte[0]))
}
