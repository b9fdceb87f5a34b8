//! The databases trade places, in one transaction: whatever is killed, the live one is either still there or already the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgisle_core::inventory::{Admin, Grantee, Inventory};
use pgisle_core::marker::{Kind, RestoreMark};
use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::plan::{
    Action, Blocked, Chain, DatabaseChange, DatabaseGrant, MembershipOptions, Plan, PlanOptions, Target, Unit, UnitPlace, plan,
};
use pgisle_core::sql::clone::OTHERS;
use pgisle_core::sql::restore::{USE_OF_DATABASE, rename_database, set_database_parameter, set_role_parameter};

use super::Site;
use super::error::RestoreError;
use crate::apply::readers;
use crate::fault;
use crate::postgres::connect::is_lost;
use crate::postgres::execute::{ExecuteOptions, execute};
use crate::postgres::{RunLock, Session};

/// How often the databases are tried to be renamed. Each time the server waits up to five seconds for sessions to end.
const ATTEMPTS_MAX: u32 = 4;

/// How often those who are connected are told to leave, while the server waits for that.
const END_EVERY: Duration = Duration::from_millis(50);

/// A database that others are connected to.
pub(crate) const OBJECT_IN_USE: &str = "55006";

/// What the planner wants of a database that is to be the service's.
#[derive(Default)]
pub(crate) struct Wanted {
    /// Inside of it.
    inside: Vec<Unit>,
    /// From outside, under its final name.
    pub(crate) outside: Vec<Action>,
    /// What this administrator cannot do.
    pub(crate) blocked: Vec<Blocked>,
}

/// Plans a database as if it were the service's already.
pub(crate) fn wanted(site: &Site<'_>, inventory: &Inventory, candidate: &DatabaseName) -> Result<Wanted, RestoreError> {
    let live = &site.service.database;
    let mut imagined = inventory.clone();
    if let Some(database) = imagined.databases.remove(candidate) {
        imagined.databases.insert(live.clone(), database);
    }
    match imagined.contents.remove(candidate) {
        Some(contents) => imagined.contents.insert(live.clone(), contents),
        None => imagined.contents.remove(live),
    };
    let targets = [Target::Service(site.service.name.clone())];
    let credentials = site.request.store.load().map_err(crate::apply::ApplyError::Store)?;
    let adopt = site.request.adopt;
    let options = PlanOptions { credentials: &credentials, targets: &targets, adopt, end_sessions: false, budget: None };
    let planned = plan(site.request.spec, &imagined, &options);
    let chains = planned.plan.chains.into_iter().filter(|chain| chain.database == *live);
    let (inside, outside): (Vec<Unit>, Vec<Unit>) =
        chains.flat_map(|chain| chain.units).partition(|unit| matches!(unit.place, UnitPlace::Database(_)));
    let outside = outside.into_iter().flat_map(|unit| unit.steps).map(|step| step.action).collect();
    Ok(Wanted { inside, outside, blocked: planned.report.blocked })
}

/// Makes the inside of the new database as the file wants it, and gives it what the live one has and no file knows.
pub(crate) async fn furnish(
    site: &Site<'_>,
    run: &RunLock,
    session: &mut Session,
    inventory: &Inventory,
    wanted: &Wanted,
    database: &DatabaseName,
) -> Result<Vec<String>, RestoreError> {
    let units = wanted.inside.iter().cloned().map(|unit| Unit { place: UnitPlace::Database(database.clone()), ..unit });
    let chain = Chain { service: site.service.name.clone(), database: database.clone(), units: units.collect() };
    let plan = Plan { before: Vec::new(), chains: vec![chain], after: Vec::new() };
    let options = ExecuteOptions {
        connect: site.connect(),
        parallelism: 1,
        readers: &readers(site.request.spec),
        lock_is_held: &|| run.is_held(),
        events: &|_| {},
    };
    let execution = Box::pin(execute(&plan, &options)).await?;
    if let Some(failure) = execution.failures.into_iter().next() {
        return Err(RestoreError::Step(Box::new(failure)));
    }
    Ok(copy_settings(site, session, inventory, database).await)
}

/// Copies what is set on the live database. What this administrator may not set is told.
async fn copy_settings(site: &Site<'_>, session: &mut Session, inventory: &Inventory, database: &DatabaseName) -> Vec<String> {
    let live = &site.service.database;
    let Some(observed) = inventory.databases.get(live) else { return Vec::new() };
    let mut statements: Vec<_> =
        observed.settings.iter().map(|(name, value)| set_database_parameter(database, name, value)).collect();
    for (role, seen) in &inventory.roles {
        let settings = seen.database_settings.get(live).into_iter().flatten();
        statements.extend(settings.map(|(name, value)| set_role_parameter(role, database, name, value)));
    }
    let trusted = &site.request.spec.settings.trusted_roles;
    let grants = observed.acl.iter().filter_map(|item| match &item.grantee {
        Grantee::Role(role) if trusted.contains(role) => {
            let privilege = ["CONNECT", "CREATE", "TEMPORARY"].into_iter().find(|privilege| *privilege == item.privilege)?;
            let grant = DatabaseGrant {
                grantees: vec![item.grantee.clone()],
                privileges: Some([privilege].into()),
                grant_option_only: false,
            };
            Some(Action::FenceDatabase { database: database.clone(), revoke: Vec::new(), grant: vec![grant] })
        }
        _ => None,
    });
    statements.extend(grants.flat_map(|action| action.statements()));
    let mut refused = Vec::new();
    for statement in statements {
        if let Err(error) = session.run(statement.expose()).await {
            let why = error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
            refused.push(format!("{statement}: {why}"));
        }
        fault::after(fault::Moment::Statement);
    }
    refused
}

/// What trades places.
pub(crate) struct Swap<'a> {
    /// The database that is to be the service's.
    pub(crate) incoming: &'a DatabaseName,
    /// The name that the live one gets.
    pub(crate) outgoing: &'a DatabaseName,
    /// What the live one is marked with.
    pub(crate) mark: RestoreMark,
    /// What the new one needs under its final name.
    pub(crate) wanted: &'a Wanted,
}

/// Lets the databases trade places. Gives how long nobody could connect.
pub(crate) async fn swap(site: &Site<'_>, inventory: &Inventory, swap: &Swap<'_>) -> Result<Duration, RestoreError> {
    let live = &site.service.database;
    let mut session = Session::connect(site.connect()).await?;
    let mut other = Session::connect(site.connect()).await?;
    // By number: once they have traded places, the live one's name is that of those who have come back.
    let databases = [number_of(&other, live).await?, number_of(&other, swap.incoming).await?];
    let mut attempt = 1;
    let outcome = loop {
        let started = std::time::Instant::now();
        let renaming = trade(&mut session, live, site, swap);
        let ending = keep_ending(&mut other, &inventory.admin, inventory.server.major(), &databases);
        let outcome = tokio::select! {
            outcome = renaming => outcome,
            error = ending => Err(error),
        };
        // Whatever the other session had lent itself goes with its transaction.
        let _ended = other.batch("ROLLBACK").await;
        match outcome {
            Ok(()) => break Ok(started.elapsed()),
            Err(RestoreError::Query { source, .. }) if is_in_use(&source) => {
                let _ended = session.batch("ROLLBACK").await;
                if attempt >= ATTEMPTS_MAX {
                    break Err(in_use(&session, live).await);
                }
                attempt += 1;
            }
            Err(error) => {
                let _ended = session.batch("ROLLBACK").await;
                break Err(error);
            }
        }
    };
    other.close().await;
    session.close().await;
    outcome
}

async fn trade(session: &mut Session, live: &DatabaseName, site: &Site<'_>, swap: &Swap<'_>) -> Result<(), RestoreError> {
    let doing = || RestoreError::query("let the databases trade places");
    session.batch("BEGIN").await.map_err(doing())?;
    let kept = site.marker(Kind::Replaced, swap.outgoing, swap.mark.clone());
    let closed = vec![DatabaseChange::AllowConnections(false)];
    // From the first statement on, whoever wants to connect waits; the server itself waits for those who are there to leave.
    let mut statements = vec![rename_database(live, swap.outgoing)];
    statements.extend(Action::MarkDatabase { database: swap.outgoing.clone(), marker: kept }.statements());
    statements.extend(Action::AlterDatabase { database: swap.outgoing.clone(), changes: closed }.statements());
    statements.push(rename_database(swap.incoming, live));
    statements.extend(swap.wanted.outside.iter().flat_map(Action::statements));
    for statement in &statements {
        session.run(statement.expose()).await.map_err(doing())?;
        fault::after(fault::Moment::Statement);
    }
    session.batch("COMMIT").await.map_err(|source| match is_lost(&source) {
        true => RestoreError::InDoubt { service: site.service.name.clone(), source: Box::new(source) },
        false => doing()(source),
    })?;
    fault::after(fault::Moment::Statement);
    Ok(())
}

fn is_in_use(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code() == OBJECT_IN_USE)
}

/// Ends the sessions in databases again and again, until it is dropped. Comes back only when it cannot go on.
pub(crate) async fn keep_ending(session: &mut Session, admin: &Admin, major: u32, databases: &[u32]) -> RestoreError {
    loop {
        for database in databases {
            if let Err(error) = end_once(session, admin, major, &Whom::all(*database)).await {
                return error;
            }
        }
        tokio::time::sleep(END_EVERY).await;
    }
}

/// Ends the sessions in a database that takes no new ones, and waits for a moment until they are gone.
pub(crate) async fn end_sessions(
    session: &mut Session,
    admin: &Admin,
    major: u32,
    database: &DatabaseName,
) -> Result<(), RestoreError> {
    let number = number_of(session, database).await?;
    for _ in 0..100 {
        let there = end_once(session, admin, major, &Whom::all(number)).await?;
        if there == 0 {
            return Ok(());
        }
        tokio::time::sleep(END_EVERY).await;
    }
    Err(in_use(session, database).await)
}

/// A database's number, which it keeps when it gets another name; 0 when it is not there.
pub(crate) async fn number_of(session: &Session, database: &DatabaseName) -> Result<u32, RestoreError> {
    const NUMBER: &str = "SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = $1::pg_catalog.text";
    let doing = || RestoreError::query(format!("find database \"{database}\""));
    let rows = session.query(NUMBER, &[&database.as_str()]).await.map_err(doing())?;
    rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(doing())
}

/// Whose sessions are ended.
pub(crate) struct Whom {
    /// Those in the database of this number.
    pub(crate) database: u32,
    /// All but this server process.
    pub(crate) spare: i32,
    /// Also those that are in the middle of something.
    pub(crate) busy_too: bool,
}

impl Whom {
    /// Everyone's. No server process has the number 0.
    fn all(database: u32) -> Self {
        Self { database, spare: 0, busy_too: true }
    }
}

/// Tells everyone in a database to leave, in a transaction that is undone: whoever is no superuser needs the rights of a session's
/// role for it, and lends them to itself for that long. Gives how many there were.
pub(crate) async fn end_once(session: &mut Session, admin: &Admin, major: u32, whom: &Whom) -> Result<usize, RestoreError> {
    let doing = || RestoreError::query("end the sessions in a database");
    let Whom { database, spare, busy_too } = whom;
    let rows = session.query(OTHERS, &[database, spare, busy_too]).await.map_err(doing())?;
    if rows.is_empty() {
        return Ok(0);
    }
    session.batch("BEGIN").await.map_err(doing())?;
    let mut lent = BTreeSet::new();
    for row in &rows {
        let pid: i32 = row.try_get(0).map_err(doing())?;
        let role = RoleName::observed(row.try_get::<_, String>(1).map_err(doing())?);
        session.batch("SAVEPOINT one").await.map_err(doing())?;
        let ended = async {
            if !admin.superuser && role != admin.role && lent.insert(role.clone()) {
                let options = (major >= 16).then_some(MembershipOptions::SetAndInherit);
                for statement in (Action::GrantMembership { role, member: admin.role.clone(), options }).statements() {
                    session.run(statement.expose()).await?;
                }
            }
            session.query("SELECT pg_catalog.pg_terminate_backend($1)", &[&pid]).await
        };
        if ended.await.is_err() {
            // Not to be had: it stays, and is told in the end.
            session.batch("ROLLBACK TO SAVEPOINT one").await.map_err(doing())?;
        }
    }
    session.batch("ROLLBACK").await.map_err(doing())?;
    Ok(rows.len())
}

/// Who is in the way.
async fn in_use(session: &Session, database: &DatabaseName) -> RestoreError {
    RestoreError::InUse { database: database.clone(), by: who_is_in(session, database).await }
}

/// Who is in a database, as a sentence.
pub(crate) async fn who_is_in(session: &Session, database: &DatabaseName) -> String {
    const WHO: &str = "SELECT COALESCE(a.usename, a.backend_type)::pg_catalog.text, pg_catalog.count(*) \
        FROM pg_catalog.pg_stat_activity AS a WHERE a.datname = $1::pg_catalog.text GROUP BY 1 ORDER BY 1";
    let mut by: BTreeMap<String, i64> = BTreeMap::new();
    if let Ok(rows) = session.query(WHO, &[&database.as_str()]).await {
        by.extend(rows.iter().filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?))));
    }
    let mut words: Vec<String> = by.iter().map(|(role, count)| format!("{count} of \"{role}\"")).collect();
    let prepared = match session.query(USE_OF_DATABASE, &[&database.as_str()]).await {
        Ok(rows) => rows.first().and_then(|row| row.try_get::<_, i64>(1).ok()).unwrap_or_default(),
        Err(_) => 0,
    };
    if prepared > 0 {
        words.push(format!("{prepared} prepared transactions"));
    }
    if words.is_empty() { "Sessions came and went.".to_owned() } else { format!("Sessions: {}.", words.join(", ")) }
}

/// Logical replication slots belong to the database that they were made in, and stay with it.
pub(crate) async fn slots(session: &Session, database: &DatabaseName) -> Option<String> {
    let rows = session.query(USE_OF_DATABASE, &[&database.as_str()]).await.ok()?;
    rows.first().and_then(|row| row.try_get::<_, Option<String>>(2).ok()).flatten()
}
