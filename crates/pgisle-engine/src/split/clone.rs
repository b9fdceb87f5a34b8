//! The clone: the files of the whole shared database are copied, and what is not the service's is dropped in the copy before anyone
//! gets in.
//!
//! Nothing is closed that would have to be opened again. `CREATE DATABASE … TEMPLATE` has the server keep everyone out of the
//! template for as long as it copies: who wants to connect waits, and is let in when it ends, also when pgisle is gone by then. The
//! gate is decided by a transaction in another database that never commits, so it is open again once that is gone. Behind the
//! copying, a SHARE lock holds the service's writers, and all others go on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ExtensionName;
use pgisle_core::sql::Statement;
use pgisle_core::sql::clone::{CANCEL, UNBOUND_STATEMENTS, WATCH_CLIENT, bound_statements, clone_database};
use pgisle_core::sql::restore::USE_OF_DATABASE;
use pgisle_core::sql::split::Gate;

use super::cutover::{Ready, carry_sequences, hold_writers};
use super::run::Ground;
use super::{Request, SplitError, act_as, journal, prune};
use crate::backup::restore::{Site, look, stage, swap};
use crate::event::{Event, Events};
use crate::fault;
use crate::postgres::connect::describe;
use crate::postgres::{RunLock, Session};

/// Sessions that are in the middle of something get so long to finish it.
const GRACE: Duration = Duration::from_millis(1_000);

/// Looked at so often, while the server waits for sessions to leave.
const END_EVERY: Duration = Duration::from_millis(20);

/// What can be told before anybody is disturbed.
pub(super) async fn check(
    site: &Site<'_>,
    request: &Request<'_>,
    (session, control): (&Session, &Session),
    ground: &Ground,
) -> Result<(), SplitError> {
    let shared = request.shared();
    if site.connect().database == *shared {
        return Err(Diagnostic::error(Code::SPLIT_STRATEGY, format!("database \"{shared}\" cannot be cloned from within"))
            .detail("pgisle itself is connected to it, for its locks.")
            .hint("Have pgisle connect to another database, such as postgres.")
            .into());
    }
    let rows = session.query(USE_OF_DATABASE, &[&shared.as_str()]).await.map_err(SplitError::query("look who is connected"))?;
    let prepared: i64 = rows.first().and_then(|row| row.try_get(1).ok()).unwrap_or_default();
    if prepared > 0 {
        return Err(Diagnostic::error(
            Code::SPLIT_TRANSACTION,
            format!("database \"{shared}\" has {prepared} prepared transactions"),
        )
        .detail("The server copies no database that has some.")
        .hint("Commit them or roll them back (pg_prepared_xacts).")
        .into());
    }
    if ground.is_superuser { Ok(()) } else { prune::check_owners(control, ground).await }
}

/// Has as little as possible to be written while everyone waits. Whoever may not ask for it waits a little longer.
pub(super) async fn write_out(ready: &Ready) {
    drop(ready.control.batch("CHECKPOINT").await);
}

/// Copies the shared database, holds the service's writers, and leaves nothing in the copy but what is the service's. In the end the
/// decider has the lock, within a transaction.
pub(super) async fn take(
    site: &Site<'_>,
    run: &RunLock,
    request: &Request<'_>,
    ready: &mut Ready,
    events: Events<'_>,
) -> Result<(), SplitError> {
    // Nobody but the session that copies may be in the shared database.
    let outside = Session::connect(site.connect()).await?;
    std::mem::replace(&mut ready.control, outside).close().await;
    let taken = tokio::time::timeout(request.pause_max, Box::pin(take_now(site, run, request, ready, events))).await;
    let outcome = match taken {
        Ok(outcome) => outcome,
        Err(_) => {
            let session = Session::connect(site.connect()).await?;
            let there = swap::who_is_in(&session, request.shared()).await;
            let pid = ready.decider.backend_pid();
            session.query(CANCEL, &[&pid]).await.map_err(SplitError::query("stop the copying"))?;
            session.close().await;
            Err(too_long(request, &there))
        }
    };
    if outcome.is_err() {
        // It may be in any state.
        let _undone = ready.decider.batch("ROLLBACK").await;
        let _unbound = ready.decider.batch(UNBOUND_STATEMENTS).await;
        ready.control = request.session(request.shared()).await?;
    }
    outcome
}

fn too_long(request: &Request<'_>, there: &str) -> SplitError {
    let shared = request.shared();
    Diagnostic::error(
        Code::SPLIT_PAUSE,
        format!("database \"{shared}\" could not be cloned within {} ms", request.pause_max.as_millis()),
    )
    .detail(format!("The copy was given up, and everyone goes on in the shared database as before. {there}"))
    .hint("Allow a longer pause with -pause, or take the strategy stream.")
    .into()
}

async fn take_now(
    site: &Site<'_>,
    run: &RunLock,
    request: &Request<'_>,
    ready: &mut Ready,
    events: Events<'_>,
) -> Result<(), SplitError> {
    events(Event::Restoring("copying the shared database, whose clients wait"));
    // Its transaction is in another database: nobody but the session that copies may be in the shared one.
    let keeper = Session::connect(site.connect()).await?;
    keeper.batch("BEGIN").await.map_err(SplitError::query("close the fence's gate"))?;
    copy(request, ready, &keeper).await?;
    fault::stage("split.cloned");
    events(Event::Restoring("holding writers off"));
    ready.control = request.session(request.shared()).await?;
    hold_writers(request, ready, true).await?;
    // The lock holds writers now: they wait where the gate would have them fail. A keeper that was ended has let them through.
    keeper.batch("ROLLBACK").await.map_err(SplitError::query("keep the fence's gate closed until writers are held off"))?;
    keeper.close().await;
    fault::stage("split.held");
    events(Event::Restoring("dropping what is not the service's"));
    let mut session = Session::connect(site.connect()).await?;
    stage::open_bare(site, &mut session, &ready.stage).await?;
    let mut inside = request.session(&ready.stage.database).await?;
    check_shapes(ready, &inside).await?;
    let extensions: BTreeSet<ExtensionName> = site.request.spec.extensions(request.service).into_iter().collect();
    prune::prune(request, &ready.ground, &mut inside, &extensions).await?;
    let failed = || SplitError::query("set the sequences of the clone");
    inside.batch("BEGIN").await.map_err(failed())?;
    act_as(&mut inside, &request.service.owner(), ready.ground.is_superuser).await?;
    carry_sequences(&ready.job, &ready.control, &mut inside).await?;
    inside.batch("COMMIT").await.map_err(failed())?;
    inside.close().await;
    fault::stage("split.pruned");
    let inventory = look(site, &ready.stage.database).await?;
    ready.wanted = swap::wanted(site, &inventory, &ready.stage.database)?;
    swap::furnish(site, run, &mut session, &inventory, &ready.wanted, &ready.stage.database).await?;
    session.close().await;
    Ok(())
}

/// The fence stops no one who changes a table's definition, and that can happen between the copying and the lock.
async fn check_shapes(ready: &Ready, inside: &Session) -> Result<(), SplitError> {
    let relations: Vec<u32> = ready.ground.moved.relations.iter().copied().collect();
    if prune::shape(&ready.control, &relations).await? == prune::shape(inside, &relations).await? {
        return Ok(());
    }
    Err(Diagnostic::error(Code::SPLIT_STATE, "a table that moves was changed while the shared database was copied")
        .detail("Its definition is not what was copied. Everyone goes on in the shared database as before.")
        .hint("Try again, while nobody migrates.")
        .into())
}

/// The copying. The server has those wait who want to come in, and waits for those to leave who are there.
async fn copy(request: &Request<'_>, ready: &mut Ready, keeper: &Session) -> Result<(), SplitError> {
    let Ready { decider, control, ground, stage, job, .. } = ready;
    let failed = || SplitError::query("prepare to copy the shared database");
    let shared = request.shared();
    let number = swap::number_of(control, shared).await?;
    let gate = Gate::DecidedBy(journal::transaction_number(keeper).await?);
    journal::set(decider, &job.service, gate).await?;
    // Should pgisle be killed, the server stops on its own, and nobody waits longer than was allowed.
    let _unknown_here = decider.batch(WATCH_CLIENT).await;
    let timeout_ms = u32::try_from(request.pause_max.as_millis()).unwrap_or(u32::MAX).max(1);
    decider.run(bound_statements(timeout_ms).expose()).await.map_err(failed())?;
    fault::stage("split.closed");
    let spare = decider.backend_pid();
    let create = clone_database(shared, &stage.database);
    let copied = {
        let copying = decider.run(create.expose());
        let ending = end_others(control, ground, number, spare);
        tokio::select! {
            copied = copying => copied.map_err(|error| refused(request, &create, &error)),
            error = ending => Err(error),
        }
    };
    // What it lent itself to end sessions goes with its transaction.
    let _ended = control.batch("ROLLBACK").await;
    copied?;
    fault::after(fault::Moment::Statement);
    decider.batch(UNBOUND_STATEMENTS).await.map_err(failed())
}

/// Asks those to leave who are idle, and a moment later all others. Comes back only when it cannot go on.
async fn end_others(control: &mut Session, ground: &Ground, database: u32, spare: i32) -> SplitError {
    let started = Instant::now();
    let (admin, major) = (&ground.inventory.admin, ground.server_major());
    loop {
        let whom = swap::Whom { database, spare, busy_too: started.elapsed() >= GRACE };
        if let Err(error) = swap::end_once(control, admin, major, &whom).await {
            return error.into();
        }
        tokio::time::sleep(END_EVERY).await;
    }
}

fn refused(request: &Request<'_>, create: &Statement, error: &tokio_postgres::Error) -> SplitError {
    let shared = request.shared();
    let detail = error.as_db_error().and_then(|error| error.detail()).map(|detail| format!(" {detail}")).unwrap_or_default();
    let in_use = error.code().is_some_and(|code| code.code() == swap::OBJECT_IN_USE);
    let hint = if in_use {
        "A superuser's sessions can be ended by a superuser only. Have them leave, or take the strategy stream."
    } else {
        "Everyone goes on in the shared database as before: try again once the cause is gone."
    };
    Diagnostic::error(Code::SPLIT_FAILED, format!("database \"{shared}\" could not be cloned"))
        .detail(format!("{create}: {}.{detail}", describe(error)))
        .hint(hint)
        .into()
}
