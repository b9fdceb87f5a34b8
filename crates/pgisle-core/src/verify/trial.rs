//! A trial: something that a probe does on the real server, and what its answer means.
//!
//! The engine runs trials without knowing what they are for; the judgement is here, where it can be tested without a server.

use serde::Serialize;

use crate::diagnostic::Code;
use crate::name::DatabaseName;
use crate::sql::Statement;

/// As whom a trial runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActAs {
    /// As whoever the login becomes by its `SET role` default.
    Default,
    /// As the login itself.
    Login,
}

/// What a trial does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Short and stable, such as `create-role`.
    pub id: &'static str,
    /// For people: `create a role`.
    pub title: String,
    /// As whom.
    pub act_as: ActAs,
    /// In a savepoint of the probe's transaction, or, for what PostgreSQL refuses to do in one, by itself.
    pub transactional: bool,
    /// What to run, in order, until one fails.
    pub statements: Vec<Statement>,
    /// What should come of it.
    pub expect: Expect,
    /// What it is when it does not.
    pub code: Code,
    /// What it reaches when it does not.
    pub reaches: Reach,
}

/// How far something goes wrong when a trial does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// As far as the database that the trial runs in.
    Here,
    /// Another island's database.
    Database(DatabaseName),
    /// The whole cluster.
    Cluster,
}

/// What should come of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Each statement succeeds.
    Works,
    /// Each statement succeeds and the last one answers `t`.
    Holds,
    /// The last statement is refused for want of a privilege.
    Refused {
        /// SQLSTATEs that the server gives only to those whom it has let pass the privilege check.
        passed_by: &'static [&'static str],
        /// A query that answers `t` when the statement, though it did not fail, had no effect: a GRANT by who may not grant is
        /// a mere warning.
        unless: Option<Statement>,
    },
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// All statements succeeded; the last one's first field, if it had rows.
    Done(Option<String>),
    /// A statement failed: which one, from 0.
    Failed {
        /// Which one.
        statement: usize,
        /// SQLSTATE.
        sqlstate: String,
        /// The server's words.
        message: String,
    },
    /// The session was lost, or the trial was never begun.
    Lost(String),
}

/// What a trial has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "because", rename_all = "snake_case")]
pub enum Outcome {
    /// What should be is so.
    Passed,
    /// It is not, and how.
    Failed(String),
    /// Nothing was shown.
    NotProved(String),
    /// There was nothing to show: an extension that the server does not have.
    Skipped(String),
}

/// The server ended the statement before it could tell.
const INTERRUPTED: &[&str] =
    &["57014", "55P03", "40P01", "40001", "53100", "53200", "53300", "53400", "57P01", "57P02", "57P03", "25P03"];

/// There is no such thing on this server, so there is nothing to abuse.
const ABSENT: &[&str] = &["0A000", "58P01", "42704", "42883", "42710"];

impl Trial {
    /// What the server's answer means.
    #[must_use]
    pub fn judge(&self, answer: &Answer) -> Outcome {
        let last = self.statements.len().saturating_sub(1);
        match (answer, &self.expect) {
            (Answer::Lost(because), _) => Outcome::NotProved(because.clone()),
            (Answer::Failed { sqlstate, message, .. }, _) if INTERRUPTED.contains(&sqlstate.as_str()) => {
                Outcome::NotProved(message.clone())
            }
            (Answer::Done(_), Expect::Works) => Outcome::Passed,
            (Answer::Done(Some(text)), Expect::Holds) if text == "t" => Outcome::Passed,
            (Answer::Done(_), Expect::Holds) => Outcome::Failed("it does not hold".to_owned()),
            (Answer::Failed { message, .. }, Expect::Works | Expect::Holds) => Outcome::Failed(message.clone()),
            (Answer::Done(Some(text)), Expect::Refused { unless: Some(_), .. }) if text == "t" => Outcome::Passed,
            (Answer::Done(_), Expect::Refused { .. }) => Outcome::Failed("the server let it".to_owned()),
            (Answer::Failed { sqlstate, message, .. }, Expect::Refused { passed_by, .. }) => match sqlstate.as_str() {
                state if passed_by.contains(&state) => Outcome::Failed("the server let it".to_owned()),
                // 42501: insufficient privilege; 0LP01: a grant that is not allowed.
                "42501" | "0LP01" => Outcome::Passed,
                state if ABSENT.contains(&state) => Outcome::Skipped(message.clone()),
                _ => Outcome::NotProved(message.clone()),
            },
        }
        .noting(answer, last)
    }
}

impl Outcome {
    /// A refusal that came before the statement it is about shows nothing.
    fn noting(self, answer: &Answer, last: usize) -> Self {
        match (self, answer) {
            (Self::Passed, Answer::Failed { statement, message, .. }) if *statement != last => Self::NotProved(message.clone()),
            (outcome, _) => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(expect: Expect) -> Trial {
        Trial {
            id: "x",
            title: String::new(),
            act_as: ActAs::Default,
            transactional: true,
            statements: vec![Statement::new("one"), Statement::new("two")],
            expect,
            code: Code::LEAK_ROLE,
            reaches: Reach::Here,
        }
    }

    fn failed(statement: usize, sqlstate: &str) -> Answer {
        Answer::Failed { statement, sqlstate: sqlstate.to_owned(), message: "no".to_owned() }
    }

    #[test]
    fn only_a_want_of_privilege_is_a_refusal() {
        let refused = trial(Expect::Refused { passed_by: &["3D000"], unless: None });
        assert_eq!(refused.judge(&failed(1, "42501")), Outcome::Passed);
        assert!(matches!(refused.judge(&failed(1, "3D000")), Outcome::Failed(_)), "it was past the privilege check");
        assert!(matches!(refused.judge(&failed(1, "57014")), Outcome::NotProved(_)), "a timeout shows nothing");
        assert!(matches!(refused.judge(&failed(1, "42601")), Outcome::NotProved(_)), "nor does a mistake of ours");
        assert!(matches!(refused.judge(&failed(0, "42501")), Outcome::NotProved(_)), "nor a refusal of the preparation");
        assert!(matches!(refused.judge(&failed(1, "58P01")), Outcome::Skipped(_)));
        assert!(matches!(refused.judge(&Answer::Done(None)), Outcome::Failed(_)));
        assert!(matches!(refused.judge(&Answer::Lost("gone".to_owned())), Outcome::NotProved(_)));
    }

    #[test]
    fn a_grant_without_effect_is_no_leak() {
        let refused = trial(Expect::Refused { passed_by: &[], unless: Some(Statement::new("check")) });
        assert_eq!(refused.judge(&Answer::Done(Some("t".to_owned()))), Outcome::Passed);
        assert!(matches!(refused.judge(&Answer::Done(Some("f".to_owned()))), Outcome::Failed(_)));
    }
}
