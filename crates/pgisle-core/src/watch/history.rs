//! What it was like before: a bounded memory of the last hour, day and week, each coarser than the one before.

use std::collections::{BTreeMap, VecDeque};

use serde::{Serialize, Serializer};

use super::SessionState;
use super::board::{Board, to_f64};
use crate::moment::Moment;
use crate::name::ServiceName;

/// What is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Series {
    /// Sessions in the database; of the server, all of them.
    Connections,
    /// Those of them that run a statement.
    Active,
    /// Clients that wait for a connection in PgBouncer.
    Waiting,
    /// Transactions a second.
    Transactions,
    /// Bytes on disk.
    Bytes,
    /// How far the standby is behind that is furthest, seconds.
    Behind,
}

/// Whose, and what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesKey {
    /// The service; the server as a whole without one.
    pub service: Option<ServiceName>,
    /// What.
    pub series: Series,
}

/// How far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Range {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week.
    Week,
}

impl Range {
    /// All, the finest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// Takes `1h`, `24h` or `7d`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "1h" => Some(Self::Hour),
            "24h" => Some(Self::Day),
            "7d" => Some(Self::Week),
            _ => None,
        }
    }

    /// How much one point stands for, seconds, when it is looked every so many.
    const fn step_s(self, every_s: u64) -> u64 {
        let step = match self {
            Self::Hour => 1,
            Self::Day => 60,
            Self::Week => 600,
        };
        if every_s > step { every_s } else { step }
    }

    const fn span_s(self) -> u64 {
        match self {
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
            Self::Week => 7 * 24 * 60 * 60,
        }
    }
}

/// What held in one step of time. As JSON: `[seconds since 1970, mean, highest]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When the step began.
    pub at: Moment,
    sum: f64,
    count: u32,
    /// The highest value in it.
    pub max: f64,
}

impl Point {
    /// The mean.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / f64::from(self.count.max(1))
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.at.unix_s(), self.mean(), self.max).serialize(serializer)
    }
}

/// Everything that is remembered. What was not seen has no point: a gap is a gap.
#[derive(Debug, Clone)]
pub struct History {
    every_s: u64,
    tracks: BTreeMap<SeriesKey, [VecDeque<Point>; 3]>,
}

impl History {
    /// Remembers nothing yet. It is looked every so many seconds.
    #[must_use]
    pub fn new(every_s: u64) -> Self {
        Self { every_s: every_s.max(1), tracks: BTreeMap::new() }
    }

    /// Takes what holds now.
    pub fn record(&mut self, board: &Board) {
        let is_fresh = |part: &str| board.freshness.get(part).is_some_and(|freshness| freshness.is_fresh);
        let mut values = Vec::new();
        if is_fresh("server") {
            if let Some(server) = &board.server {
                values.push((None, Series::Connections, f64::from(server.connections)));
            }
            if let Some(behind) = board.receivers.iter().filter_map(|one| one.behind_ms).max() {
                values.push((None, Series::Behind, to_f64(behind) / 1_000.0));
            }
        }
        for row in &board.services {
            let service = || Some(row.service.clone());
            if is_fresh("server") {
                let active = row.sessions.iter().filter(|(state, _)| matches!(state, SessionState::Active | SessionState::Waiting));
                values.push((service(), Series::Connections, f64::from(row.connections)));
                values.push((service(), Series::Active, f64::from(active.map(|(_, count)| count).sum::<u32>())));
                values.extend(row.bytes.map(|bytes| (service(), Series::Bytes, to_f64(bytes))));
                values.extend(row.rates.map(|rates| (service(), Series::Transactions, rates.commits + rates.rollbacks)));
            }
            if is_fresh("pools") {
                let waiting: u32 = row.pools.iter().map(|pool| pool.clients_waiting).sum();
                values.push((service(), Series::Waiting, f64::from(waiting)));
            }
        }
        for (service, series, value) in values {
            self.add(SeriesKey { service, series }, board.at, value);
        }
        // Also of what is not seen any more.
        for tiers in self.tracks.values_mut() {
            for (range, points) in Range::ALL.into_iter().zip(tiers) {
                while points.front().is_some_and(|first| board.at.seconds_since(first.at) > range.span_s()) {
                    points.pop_front();
                }
            }
        }
        self.tracks.retain(|_, tiers| tiers.iter().any(|points| !points.is_empty()));
    }

    fn add(&mut self, key: SeriesKey, now: Moment, value: f64) {
        let tiers = self.tracks.entry(key).or_default();
        for (range, points) in Range::ALL.into_iter().zip(tiers) {
            let step = range.step_s(self.every_s);
            let at = Moment::from_unix_s(now.unix_s() / step * step);
            match points.back_mut() {
                Some(last) if last.at == at => {
                    last.sum += value;
                    last.count += 1;
                    last.max = last.max.max(value);
                }
                // A clock that was set back begins again: times must rise.
                Some(last) if last.at > at => points.clear(),
                _ => points.push_back(Point { at, sum: value, count: 1, max: value }),
            }
        }
    }

    /// What is remembered of one, oldest first.
    #[must_use]
    pub fn points(&self, key: &SeriesKey, range: Range) -> Vec<Point> {
        let tiers = self.tracks.get(key);
        let points = tiers.and_then(|tiers| Range::ALL.iter().position(|one| *one == range).map(|index| &tiers[index]));
        points.map(|points| points.iter().copied().collect()).unwrap_or_default()
    }

    /// Of whom what is remembered.
    pub fn keys(&self) -> impl Iterator<Item = &SeriesKey> {
        self.tracks.keys()
    }
}
