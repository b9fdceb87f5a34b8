//! What clients were told, compared with what is there.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::{Histogram, Latency};

/// Which of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// The one that was killed.
    Old,
    /// The one that was promoted.
    New,
}

/// What a client was told about one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is committed.
    Acknowledged {
        /// Who says so.
        by: Server,
        /// An earlier attempt had been committed already: without a key the write would be there twice.
        was_there: bool,
    },
    /// Nothing: the connection broke after it was sent. It may be committed or not.
    Unknown,
    /// It was not done.
    Refused,
}

/// One attempt. Times are microseconds since the load began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// When it was sent.
    pub sent_us: u64,
    /// When the answer was there, or the connection gone.
    pub answered_us: u64,
    /// The answer.
    pub answer: Answer,
}

/// One write of a client, which tries it again until it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key, the same for every attempt.
    pub key: i64,
    /// The attempts, in order.
    pub attempts: Vec<Attempt>,
}

/// How often each key is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// In the table that takes each key once.
    pub keyed: BTreeMap<i64, u64>,
    /// In the table that takes whatever it is sent.
    pub blind: BTreeMap<i64, u64>,
}

/// When the primary was killed, microseconds since the load began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// When it was about to be killed.
    pub begun_us: u64,
    /// When nothing of it lived any more.
    pub done_us: u64,
}

/// What came of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Writes that were tried.
    pub writes: u64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Attempts whose answer never came.
    pub unknown: u64,
    /// Writes of which an attempt had no answer and was committed all the same. A client that tries again without a key writes
    /// them twice.
    pub unknown_committed: u64,
    /// Attempts that were refused.
    pub refused: u64,
    /// Acknowledged writes that are missing.
    pub lost: u64,
    /// From the first lost acknowledgement to the kill, in milliseconds: so far back goes what is missing.
    pub lost_span_ms: Option<u64>,
    /// Writes that are there more often than once, in the table with a key.
    pub duplicates: u64,
    /// The same in the table without one.
    pub duplicates_without_key: u64,
    /// Rows that nobody wrote.
    pub strangers: u64,
    /// Attempts that were sent after the kill and acknowledged by the server that was killed.
    pub accepted_by_old: u64,
    /// From the kill to the first acknowledgement of the new primary, in milliseconds.
    pub back_after_ms: Option<u64>,
}

/// Compares them. Rows of keys that are not in the ledger are strangers, so that only this ledger's rows must be given.
#[must_use]
pub fn compare(entries: &[Entry], rows: &Rows, kill: Kill) -> Balance {
    let mut balance = Balance::default();
    let mut known = std::collections::BTreeSet::new();
    let mut first_lost = None::<u64>;
    let mut first_back = None::<u64>;
    for entry in entries {
        known.insert(entry.key);
        let is_there = rows.keyed.contains_key(&entry.key);
        let mut acknowledged_us = None;
        let mut was_unknown = false;
        let mut is_unknown_committed = false;
        for Attempt { sent_us, answered_us, answer } in &entry.attempts {
            match answer {
                Answer::Unknown => {
                    balance.unknown += 1;
                    was_unknown = true;
                }
                Answer::Refused => balance.refused += 1,
                Answer::Acknowledged { by, was_there } => {
                    acknowledged_us = acknowledged_us.or(Some(*answered_us));
                    is_unknown_committed |= was_unknown && *was_there;
                    match by {
                        Server::Old => balance.accepted_by_old += u64::from(*sent_us > kill.done_us),
                        Server::New => first_back = Some(first_back.map_or(*answered_us, |first| first.min(*answered_us))),
                    }
                }
            }
        }
        balance.writes += 1;
        balance.acknowledged += u64::from(acknowledged_us.is_some());
        balance.unknown_committed += u64::from(is_unknown_committed || (was_unknown && acknowledged_us.is_none() && is_there));
        if let Some(at) = acknowledged_us.filter(|_| !is_there) {
            balance.lost += 1;
            first_lost = Some(first_lost.map_or(at, |first| first.min(at)));
        }
    }
    let surplus = |rows: &BTreeMap<i64, u64>| rows.values().map(|times| times.saturating_sub(1)).sum();
    balance.duplicates = surplus(&rows.keyed);
    balance.duplicates_without_key = surplus(&rows.blind);
    balance.strangers = rows.keyed.keys().chain(rows.blind.keys()).filter(|key| !known.contains(key)).count() as u64;
    balance.lost_span_ms = first_lost.map(|at| kill.begun_us.saturating_sub(at) / 1000);
    balance.back_after_ms = first_back.map(|at| at.saturating_sub(kill.begun_us) / 1000);
    balance
}

/// How long acknowledged attempts took that were sent in this time; none when there was none.
#[must_use]
pub fn latency<'a>(entries: impl IntoIterator<Item = &'a Entry>, from_us: u64, to_us: u64) -> Option<Latency> {
    let mut times = Histogram::default();
    for attempt in entries.into_iter().flat_map(|entry| &entry.attempts) {
        let is_meant = (from_us..to_us).contains(&attempt.sent_us) && matches!(attempt.answer, Answer::Acknowledged { .. });
        if is_meant {
            times.record(attempt.answered_us.saturating_sub(attempt.sent_us));
        }
    }
    (times.count() > 0).then(|| Latency { p50_us: times.per_mille(500), p99_us: times.per_mille(990), max_us: times.max_us() })
}
