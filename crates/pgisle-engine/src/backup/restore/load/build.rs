//! Building indexes and constraints on several sessions at once.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use pgisle_core::backup::arrange::{Build, Builds};
use pgisle_core::backup::select::{Disposition, disposition};

use super::{first_words, statements};
use crate::backup::restore::error::RestoreError;
use crate::fault;
use crate::postgres::Session;

/// The server ended a wait in a circle. What is built locks tables that the archive does not tell of, such as the parts of a
/// partitioned one.
const DEADLOCK: &str = "40P01";

/// How often one is begun in all.
const ATTEMPTS: u32 = 5;

/// Builds all, and gives the sessions back.
pub(super) async fn build(sessions: Vec<Session>, mut builds: Builds) -> Result<Vec<Session>, RestoreError> {
    let mut idle = sessions;
    let mut at_work = FuturesUnordered::new();
    let mut attempts_left = ATTEMPTS;
    loop {
        while !idle.is_empty()
            && let Some(next) = builds.begin()
            && let Some(session) = idle.pop()
        {
            at_work.push(Box::pin(one(session, next)));
        }
        let Some((session, number, outcome)) = at_work.next().await else { return Ok(idle) };
        idle.push(session);
        match outcome {
            Ok(()) => builds.finish(number),
            Err(RestoreError::Load { source, .. })
                if attempts_left > 0 && source.code().is_some_and(|code| code.code() == DEADLOCK) =>
            {
                attempts_left -= 1;
                builds.postpone(number);
            }
            Err(error) => return Err(error),
        }
    }
}

async fn one(mut session: Session, build: Build) -> (Session, i64, Result<(), RestoreError>) {
    let outcome = run(&mut session, &build).await;
    (session, build.number, outcome)
}

async fn run(session: &mut Session, build: &Build) -> Result<(), RestoreError> {
    for statement in statements(&build.definition)? {
        if disposition(&statement) != Disposition::Run {
            continue;
        }
        let run = session.run_foreign(&statement).await;
        run.map_err(|source| RestoreError::Load { statement: first_words(&statement), line: 0, source: Box::new(source) })?;
        fault::after(fault::Moment::Statement);
    }
    Ok(())
}
