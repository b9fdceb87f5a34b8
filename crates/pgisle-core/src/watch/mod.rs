//! Watching a cluster: what is seen, how long that holds, what is wrong, and what it was like before. Pure; looking is the engine's.

mod alert;
mod board;
mod history;
mod metrics;
mod sample;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::moment::Moment;
use crate::name::ServiceName;
use crate::status::State;
use crate::verify::Leak;

pub use alert::{Alert, AlertKind};
pub(crate) use alert::{BACKUP_AGE_S, BEHIND_S, FROZEN_AGE, IDLE_IN_TRANSACTION_S, RECOVERY_AGE_S, SLOT_BYTES, WAIT_MS};
pub(crate) use board::NEAR_PERCENT;
pub use board::{Board, Freshness, LoginRow, ServiceRow, Strain, board};
pub use history::{History, Point, Range, Series, SeriesKey};
pub use metrics::metrics;
pub use sample::{
    BackupSample, Counters, DatabaseSample, PoolSample, ReceiverSample, ServerSample, SessionSample, SessionState, SlotSample,
};
pub use standing::standing;

/// Something that is looked at again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct Part<T> {
    /// How often, seconds.
    pub every_s: u64,
    /// What was last seen, and when.
    pub seen: Option<(Moment, T)>,
    /// Why it could not be seen when it was last looked at; none when it could.
    pub error: Option<String>,
}

impl<T> Part<T> {
    /// Nothing was seen yet.
    #[must_use]
    pub const fn new(every_s: u64) -> Self {
        Self { every_s, seen: None, error: None }
    }

    /// It was looked at.
    pub fn update(&mut self, now: Moment, outcome: Result<T, String>) {
        match outcome {
            Ok(value) => (self.seen, self.error) = (Some((now, value)), None),
            Err(reason) => self.error = Some(reason),
        }
    }

    /// What holds now: nothing that was seen before the last look failed, or so long ago that two looks have been missed.
    #[must_use]
    pub fn fresh(&self, now: Moment) -> Option<&T> {
        let (at, value) = self.seen.as_ref()?;
        (self.error.is_none() && now.seconds_since(*at) <= self.every_s.saturating_mul(3).saturating_add(1)).then_some(value)
    }

    /// What was last seen, whether it still holds or not.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.seen.as_ref().map(|(_, value)| value)
    }
}

/// How the islands stand, by the shared catalogs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Standing {
    /// The state of each service.
    pub states: BTreeMap<ServiceName, State>,
    /// Where the cluster is not as the file says, a line each.
    pub drift: Vec<String>,
    /// What reaches across islands.
    pub leaks: Vec<Leak>,
}

/// Everything that is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// The server's statistics, and those of the time before.
    pub server: Part<ServerSample>,
    /// The time before.
    pub before: Option<(Moment, ServerSample)>,
    /// PgBouncer's pools; nothing is looked at without one.
    pub pools: Option<Part<Vec<PoolSample>>>,
    /// The backups, by service.
    pub backups: Part<BTreeMap<ServiceName, BackupSample>>,
    /// The catalogs.
    pub standing: Part<Standing>,
}

/// A rate: so many a second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Rates {
    /// Transactions that were committed.
    pub commits: f64,
    /// Transactions that were rolled back.
    pub rollbacks: f64,
    /// Rows that were written.
    pub rows_written: f64,
    /// The share of blocks that were in memory, 0 to 1; none when none were asked for.
    pub hit_ratio: Option<f64>,
}
