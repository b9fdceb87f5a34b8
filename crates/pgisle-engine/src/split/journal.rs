//! The journal of splits, in the shared database: a row a service, changed together with what it tells of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::{DatabaseName, RoleName, ServiceName};
use pgisle_core::split::observed::Relation;
use pgisle_core::split::{Job, JobState, Moved};
use pgisle_core::sql::Statement;
use pgisle_core::sql::content::act_as as act_as_owner;
use pgisle_core::sql::split::{
    DROP_PROGRESS, FATE, FENCED, Gate, HAS_JOURNAL, HOLDERS, JOBS, JOURNAL, TRANSACTION_NUMBER, create_fence, create_gate,
    drop_fence, forget_job, gate_state, grant_entry, grant_sequence, grant_table, pin_late_at, set_gate, set_local_lock_timeout,
    write_job,
};

use tokio_postgres::Row;

use super::run::Ground;
use super::{SplitError, act_as, hold};
use crate::fault;
use crate::postgres::connect::describe;
use crate::postgres::{ConnectError, ConnectOptions, Session};

/// How long a trigger may wait for a table. Writers wait behind it.
const FENCE_LOCK_TIMEOUT_MS: u32 = 1_000;

/// A gate above it has the number of a transaction.
const GATE_WORDS_MAX: u64 = 15;

/// So long is it waited for what an earlier call has begun to commit.
const DECISION_PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at it.
const DECISION_GAP: Duration = Duration::from_millis(50);

/// How often it is tried again.
pub(super) const FENCE_ATTEMPTS: u32 = 10;

/// Reads all splits of a shared database. One that was never split has none.
///
/// # Errors
/// The database cannot be entered or read.
pub async fn read_jobs(connect: &ConnectOptions, shared: &DatabaseName) -> Result<Vec<Job>, SplitError> {
    let session = Session::connect(&connect.to_database(shared).for_purpose("split")).await?;
    let jobs = read_all(&session).await;
    session.close().await;
    jobs
}

/// Where services are still at home that are being split out. Without a shared database, nowhere.
///
/// # Errors
/// The database is there and cannot be entered or read.
pub async fn homes(connect: &ConnectOptions, shared: &DatabaseName) -> Result<BTreeMap<ServiceName, DatabaseName>, SplitError> {
    let is_none = |sqlstate: &str| NO_JOURNAL.contains(&sqlstate);
    let jobs = match read_jobs(connect, shared).await {
        Err(SplitError::Connect(ConnectError::Database { sqlstate, .. })) if is_none(&sqlstate) => Vec::new(),
        jobs => jobs?,
    };
    Ok(jobs.into_iter().filter(|job| !job.state.is_home()).map(|job| (job.service, shared.clone())).collect())
}

/// The database does not exist, or this administrator may not enter it and so has split nothing there.
const NO_JOURNAL: [&str; 2] = ["3D000", "42501"];

pub(super) async fn read_all(session: &Session) -> Result<Vec<Job>, SplitError> {
    let failed = || SplitError::query("read the journal of splits");
    let there = session.query(HAS_JOURNAL, &[]).await.map_err(failed())?;
    if !there.first().map_or(Ok(false), |row| row.try_get(0)).map_err(failed())? {
        return Ok(Vec::new());
    }
    let mut jobs = Vec::new();
    for row in session.query(JOBS, &[]).await.map_err(failed())? {
        let text: String = row.try_get(0).map_err(failed())?;
        jobs.push(Job::parse(&text).ok_or_else(unknown_format)?);
    }
    Ok(jobs)
}

fn unknown_format() -> SplitError {
    Diagnostic::error(Code::SPLIT_STATE, "the journal of splits cannot be understood")
        .detail("A row of pgisle_split.job in the shared database was written by a newer pgisle, or by something else.")
        .hint("Use the pgisle that began the split.")
        .into()
}

/// Reads one service's split.
pub(super) async fn read(session: &Session, service: &ServiceName) -> Result<Option<Job>, SplitError> {
    Ok(read_all(session).await?.into_iter().find(|job| job.service == *service))
}

/// Writes a split down; within a transaction, together with what else is in it.
pub(super) async fn write(session: &mut Session, job: &Job) -> Result<(), SplitError> {
    let statement = write_job(&job.service, &job.to_text());
    session.run(statement.expose()).await.map_err(SplitError::query("write the journal of splits"))?;
    fault::after(fault::Moment::Statement);
    Ok(())
}

/// Makes the journal, writes the split down, and puts an open fence on every table.
pub(super) async fn begin(session: &mut Session, job: &Job, moved: &Moved, is_superuser: bool) -> Result<(), SplitError> {
    let failed = || SplitError::query("make the journal of splits in the shared database");
    session.batch("BEGIN").await.map_err(failed())?;
    for statement in JOURNAL {
        session.batch(statement).await.map_err(failed())?;
    }
    for statement in create_gate(&job.service) {
        session.run(statement.expose()).await.map_err(failed())?;
    }
    write(session, job).await?;
    session.batch("COMMIT").await.map_err(failed())?;
    fault::after(fault::Moment::Statement);
    // A gate that a killed cutover closed and did not use.
    settle(session, job).await?;
    for table in &moved.tables {
        fence(session, (&table.schema, &table.name, &table.owner), is_superuser, &job.service, &job.database).await?;
    }
    Ok(())
}

/// Lets the service's own role into the shared database and to its tables there. Gives what could not be granted, and why.
pub(super) async fn let_in(
    session: &mut Session,
    shared: &DatabaseName,
    moved: &Moved,
    role: &RoleName,
    is_superuser: bool,
) -> Option<Diagnostic> {
    let schemas = moved.tables.iter().map(|table| table.schema.clone()).collect();
    let mut grants: Vec<(Option<&RoleName>, Statement)> =
        grant_entry(shared, &schemas, role).into_iter().map(|statement| (None, statement)).collect();
    grants.extend(moved.tables.iter().map(|table| (Some(&table.owner), grant_table(&table.schema, &table.name, role))));
    let owner = moved.tables.first().map(|table| &table.owner);
    grants.extend(moved.sequences.iter().map(|(schema, name)| (owner, grant_sequence(schema, name, role))));
    let (mut refused, mut reasons) = (Vec::new(), BTreeSet::new());
    for (owner, statement) in grants {
        let granted = async {
            session.batch("BEGIN").await?;
            if let Some(owner) = owner.filter(|_| !is_superuser) {
                session.run(act_as_owner(owner).expose()).await?;
            }
            let notices = session.run(statement.expose()).await?;
            session.batch("COMMIT").await?;
            Ok::<_, tokio_postgres::Error>(
                notices.into_iter().find(|notice| notice.sqlstate == "01007").map(|notice| notice.message),
            )
        };
        let reason = match granted.await {
            Ok(None) => continue,
            Ok(Some(message)) => message,
            Err(error) => {
                let _undone = session.batch("ROLLBACK").await;
                describe(&error)
            }
        };
        reasons.insert(reason);
        refused.push(statement.to_string());
    }
    if refused.is_empty() {
        return None;
    }
    let reasons: Vec<String> = reasons.into_iter().collect();
    let warning = Diagnostic::warning(Code::SPLIT_OWNER, format!("role \"{role}\" could not be let into the shared database"))
        .detail(format!(
            "The server said: {}. Until the home moves, the service can reach its tables only by the login that it has.",
            reasons.join("; ")
        ))
        .hint(format!("As the owner of database \"{shared}\" and of the tables:"));
    Some(refused.into_iter().fold(warning, |warning, statement| warning.command(format!("{statement};"))))
}

/// Puts the fence on the tables that have none: a rollback that was cut off has taken it off some, or somebody else has.
pub(super) async fn fence_all(session: &mut Session, job: &Job, ground: &Ground) -> Result<(), SplitError> {
    let failed = || SplitError::query("look at the fences");
    let rows = session.query(FENCED, &[]).await.map_err(failed())?;
    let there = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    let there = rows.iter().map(there).collect::<Result<BTreeSet<(String, String, bool)>, _>>().map_err(failed())?;
    for table in &ground.moved.tables {
        if !there.contains(&(table.schema.clone(), table.name.clone(), true)) {
            fence(session, (&table.schema, &table.name, &table.owner), ground.is_superuser, &job.service, &job.database).await?;
        }
    }
    Ok(())
}

/// Puts the fence on a table, which says where the table moves to.
pub(super) async fn fence(
    session: &mut Session,
    (schema, name, owner): (&str, &str, &RoleName),
    is_superuser: bool,
    service: &ServiceName,
    target: &DatabaseName,
) -> Result<(), SplitError> {
    let doing = format!("put the fence on table \"{schema}\".\"{name}\"");
    let statements = create_fence(schema, name, service, target);
    alter(session, (schema, name), Some(owner).filter(|_| !is_superuser), &doing, &statements).await
}

/// Changes a table that others use: in a transaction of its own, which waits for the table only so long, and is tried again.
pub(super) async fn alter(
    session: &mut Session,
    table: (&str, &str),
    owner: Option<&RoleName>,
    doing: &str,
    statements: &[Statement],
) -> Result<(), SplitError> {
    alter_patiently(session, Some(table), owner, doing, statements, FENCE_ATTEMPTS).await
}

/// Tries it so often: each time, all others wait behind it.
pub(super) async fn alter_patiently(
    session: &mut Session,
    table: Option<(&str, &str)>,
    owner: Option<&RoleName>,
    doing: &str,
    statements: &[Statement],
    attempts: u32,
) -> Result<(), SplitError> {
    let failed = || SplitError::query(doing);
    let timeout = set_local_lock_timeout(FENCE_LOCK_TIMEOUT_MS);
    for attempt in 1.. {
        session.batch("BEGIN").await.map_err(failed())?;
        let made = async {
            session.run(timeout.expose()).await.map_err(failed())?;
            if let Some(owner) = owner {
                act_as(session, owner, false).await?;
            }
            for statement in statements {
                session.run(statement.expose()).await.map_err(failed())?;
            }
            session.batch("COMMIT").await.map_err(failed())
        };
        let Err(error) = made.await else { break };
        // The reason that it failed says more than that this does.
        let _undone = session.batch("ROLLBACK").await;
        match error {
            SplitError::Query { source, .. } if is_lock_timeout(&source) && attempt < attempts => {}
            SplitError::Query { source, .. } if is_lock_timeout(&source) => {
                return Err(in_use(session, table, doing, attempts).await);
            }
            error => return Err(error),
        }
    }
    fault::after(fault::Moment::Statement);
    Ok(())
}

async fn in_use(session: &Session, table: Option<(&str, &str)>, doing: &str, attempts: u32) -> SplitError {
    let mut words = Vec::new();
    if let Some((schema, name)) = table
        && let Ok(rows) = session.query(HOLDERS, &[&schema, &name]).await
    {
        words = hold::who(&rows);
    }
    let who = if words.is_empty() { String::new() } else { format!(" Using it: {}.", words.join("; ")) };
    Diagnostic::error(Code::SPLIT_PAUSE, format!("cannot {doing}"))
        .detail(format!("In {attempts} attempts a transaction that uses it did not end.{who} Everyone goes on as before."))
        .hint("Wait for long transactions to end, and try again.")
        .into()
}

/// Takes the fences off that are there.
pub(super) async fn lift_fences(session: &mut Session, job: &Job, ground: &Ground) -> Result<(), SplitError> {
    for (schema, name) in &job.tables {
        let there = |relation: &&Relation| relation.schema == *schema && relation.name == *name;
        let Some(relation) = ground.shared.objects.relations.iter().find(there) else { continue };
        let doing = format!("take the fence off table \"{schema}\".\"{name}\"");
        let owner = Some(&relation.owner).filter(|_| !ground.is_superuser);
        alter(session, (schema, name), owner, &doing, &[drop_fence(schema, name)]).await?;
    }
    Ok(())
}

/// Takes a split out of the journal, and the journal out of the shared database when it was the last.
pub(super) async fn forget(session: &mut Session, service: &ServiceName) -> Result<(), SplitError> {
    let failed = || SplitError::query("take the split out of the journal");
    session.batch("BEGIN").await.map_err(failed())?;
    forget_within(session, service).await?;
    session.batch("COMMIT").await.map_err(failed())?;
    fault::after(fault::Moment::Statement);
    Ok(())
}

/// Does so within a transaction.
pub(super) async fn forget_within(session: &mut Session, service: &ServiceName) -> Result<(), SplitError> {
    let failed = || SplitError::query("take the split out of the journal");
    for statement in forget_job(service) {
        session.run(statement.expose()).await.map_err(failed())?;
    }
    if session.query(JOBS, &[]).await.map_err(failed())?.is_empty() {
        session.batch(DROP_PROGRESS).await.map_err(failed())?;
    }
    Ok(())
}

/// `lock_not_available`: the lock timeout has passed.
pub(super) fn is_lock_timeout(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code() == "55P03")
}

/// Reads one service's split once it is decided: what was killed while it committed may be committing still. Then has the gate say what
/// the journal says.
pub(super) async fn settled(session: &mut Session, service: &ServiceName) -> Result<Option<Job>, SplitError> {
    if read(session, service).await?.is_none() {
        return Ok(None);
    }
    let (gate, _) = gate_of(session, service).await?;
    if gate > GATE_WORDS_MAX {
        wait_for(session, service, gate).await?;
    }
    let job = read(session, service).await?;
    if let Some(job) = &job {
        settle(session, job).await?;
    }
    Ok(job)
}

async fn wait_for(session: &Session, service: &ServiceName, transaction: u64) -> Result<(), SplitError> {
    let failed = || SplitError::query("look what became of a transaction");
    let begun = std::time::Instant::now();
    while begun.elapsed() < DECISION_PATIENCE {
        let rows = session.query(FATE, &[&transaction.to_string()]).await.map_err(failed())?;
        let fate: Option<String> = rows.first().map_or(Ok(None), |row| row.try_get(0)).map_err(failed())?;
        if fate.as_deref() != Some("in progress") {
            return Ok(());
        }
        tokio::time::sleep(DECISION_GAP).await;
    }
    Err(Diagnostic::error(Code::SPLIT_STATE, format!("where service \"{service}\" is at home is being decided"))
        .detail(format!("Transaction {transaction} of an earlier call is still committing, or its server process does not know yet that it is over."))
        .hint("Nobody writes to the tables meanwhile. Try again in a moment; a server that waits for a standby (synchronous_standby_names) may keep it.")
        .into())
}

/// Has the gate say what the journal says: whatever was killed in between, the journal is what counts.
pub(super) async fn settle(session: &mut Session, job: &Job) -> Result<(), SplitError> {
    let wanted = match job.state {
        JobState::Begun | JobState::Following | JobState::Returned => Gate::Open,
        JobState::Cut | JobState::Finalized => Gate::Closed,
    };
    let (gate, _) = gate_of(session, &job.service).await?;
    let stands = if gate <= 1 { Gate::Open } else { Gate::Closed };
    // A transaction that decided has decided.
    if stands != wanted || gate > 2 {
        set(session, &job.service, wanted).await?;
    }
    Ok(())
}

/// Opens or closes the gate, for good.
pub(super) async fn set(session: &mut Session, service: &ServiceName, gate: Gate) -> Result<(), SplitError> {
    session.run(set_gate(service, gate).expose()).await.map_err(SplitError::query("move the fence's gate"))?;
    fault::after(fault::Moment::Statement);
    Ok(())
}

/// Where the gate stands, and how many attempts came too late.
pub(super) async fn gate_of(session: &Session, service: &ServiceName) -> Result<(u64, u64), SplitError> {
    let text = session.answer(&gate_state(service)).await.map_err(SplitError::query("look at the fence's gate"))?;
    let text = text.unwrap_or_default();
    let (gate, late) = text.split_once(' ').unwrap_or_default();
    Ok((gate.parse().unwrap_or_default(), late.parse().unwrap_or_default()))
}

/// How many attempts came too late, from here on to the one: whoever compares with it later is not misled by a crash.
pub(super) async fn pin_late(session: &mut Session, service: &ServiceName) -> Result<u64, SplitError> {
    let (_, attempts) = gate_of(session, service).await?;
    if let Ok(number @ 1..) = i64::try_from(attempts) {
        session.run(pin_late_at(service, number).expose()).await.map_err(SplitError::query("count who came too late"))?;
    }
    Ok(attempts)
}

/// The number of a session's open transaction, by which a gate can be decided.
pub(super) async fn transaction_number(session: &Session) -> Result<u64, SplitError> {
    let failed = || SplitError::query("number the transaction");
    let rows = session.query(TRANSACTION_NUMBER, &[]).await.map_err(failed())?;
    let text: String = rows.first().map_or(Ok(String::new()), |row| row.try_get(0)).map_err(failed())?;
    text.parse().map_err(|_| Diagnostic::error(Code::SPLIT_FAILED, "the server numbers no transactions").into())
}
