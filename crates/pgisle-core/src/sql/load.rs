//! What the clients of a load send. None of it touches a table: a load that is killed has nothing to leave behind, and no lock,
//! trigger or row of the user's is in its way.

use super::Statement;

/// A little work for the server's processor, some tens of microseconds, and nothing else. One statement is one transaction, so
/// it is the same in every pool mode.
#[must_use]
pub fn work() -> Statement {
    Statement::new("SELECT pg_catalog.sum(g) FROM pg_catalog.generate_series(1, 200) AS g")
}

/// A transaction that stays open and does nothing: what one looks like, from outside, that waits for a disk, a lock, or an answer
/// from elsewhere.
#[must_use]
pub fn hold(time_ms: u32) -> Statement {
    Statement::new("SELECT pg_catalog.pg_sleep(").number(i64::from(time_ms)).sql(" / 1000.0)")
}
