//! Runs trials in a transaction that is rolled back, so that nothing is left of them, whatever happens.

use std::time::Duration;

use pgisle_core::name::DatabaseName;
use pgisle_core::sql::Statement;
use pgisle_core::verify::{ActAs, Answer, Expect, Probe, Trial, Who};

use crate::postgres::Session;
use crate::postgres::connect::describe;

/// Longer than the server's own limit on a statement, for when the server says nothing any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A lock that someone else holds is not waited for: the service's own traffic goes first.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '2s'; SET LOCAL idle_in_transaction_session_timeout = '60s'; \
    SAVEPOINT pgisle_trial";

/// Undoes the last trial. The savepoint itself stays.
const AGAIN: &str = "ROLLBACK TO SAVEPOINT pgisle_trial";

/// The same, and then becomes the login itself.
const AGAIN_AS_LOGIN: &str = "ROLLBACK TO SAVEPOINT pgisle_trial; SET LOCAL ROLE NONE";

/// Runs all trials on a session, those without a transaction last.
pub(super) async fn run(session: &Session, who: &Who, database: &DatabaseName, trials: &[Trial]) -> Vec<Probe> {
    let mut probes = Vec::with_capacity(trials.len());
    let mut lost = execute(session, &Statement::new(BEGIN)).await.err().map(Failure::message);
    let (transactional, others): (Vec<_>, Vec<_>) = trials.iter().partition(|trial| trial.transactional);
    for trial in transactional {
        let answer = match &lost {
            Some(because) => Answer::Lost(because.clone()),
            None => in_savepoint(session, trial).await,
        };
        note_loss(&mut lost, &answer);
        probes.push(Probe::judge(who.clone(), database.clone(), trial, &answer));
    }
    if lost.is_none() {
        lost = execute(session, &Statement::new("ROLLBACK")).await.err().map(Failure::message);
    }
    for trial in others {
        let answer = match &lost {
            Some(because) => Answer::Lost(because.clone()),
            None => statements(session, trial).await,
        };
        note_loss(&mut lost, &answer);
        probes.push(Probe::judge(who.clone(), database.clone(), trial, &answer));
    }
    probes
}

fn note_loss(lost: &mut Option<String>, answer: &Answer) {
    if let Answer::Lost(because) = answer {
        *lost = Some(because.clone());
    }
}

async fn in_savepoint(session: &Session, trial: &Trial) -> Answer {
    let again = match trial.act_as {
        ActAs::Default => AGAIN,
        ActAs::Login => AGAIN_AS_LOGIN,
    };
    match execute(session, &Statement::new(again)).await {
        Ok(_) => statements(session, trial).await,
        Err(failure) => Answer::Lost(failure.message()),
    }
}

async fn statements(session: &Session, trial: &Trial) -> Answer {
    let mut last = None;
    for (number, statement) in trial.statements.iter().enumerate() {
        match execute(session, statement).await {
            Ok(answer) => last = answer,
            Err(failure) => return failure.answer(number),
        }
    }
    // That a statement was not refused says little of a GRANT; what the catalogs say after it does.
    if let Expect::Refused { unless: Some(check), .. } = &trial.expect {
        match execute(session, check).await {
            Ok(answer) => last = answer,
            Err(failure) => return Answer::Lost(failure.message()),
        }
    }
    Answer::Done(last)
}

enum Failure {
    Server { sqlstate: String, message: String },
    Lost(String),
}

impl Failure {
    fn answer(self, statement: usize) -> Answer {
        match self {
            Self::Server { sqlstate, message } => Answer::Failed { statement, sqlstate, message },
            Self::Lost(because) => Answer::Lost(because),
        }
    }

    fn message(self) -> String {
        match self {
            Self::Server { message, .. } | Self::Lost(message) => message,
        }
    }
}

async fn execute(session: &Session, statement: &Statement) -> Result<Option<String>, Failure> {
    match tokio::time::timeout(ANSWER_TIMEOUT, session.answer(statement)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(match error.code().filter(|_| !session.is_closed()) {
            Some(code) => Failure::Server { sqlstate: code.code().to_owned(), message: describe(&error) },
            None => Failure::Lost(describe(&error)),
        }),
        Err(_) => Err(Failure::Lost(format!("the server did not answer within {} s", ANSWER_TIMEOUT.as_secs()))),
    }
}
