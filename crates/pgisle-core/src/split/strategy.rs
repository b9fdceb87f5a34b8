//! Which way a service is split out, and what it costs. The figures were measured on two cores with a database of 1.76 GB
//! (`cargo xtask bench split`), and are estimates anywhere else: `pgisle split cutover -rehearse` measures the true pause.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::observed::{Identity, Relation, Shared};

const MIB: u64 = 1 << 20;
/// CREATE DATABASE … STRATEGY FILE_COPY: 1.76 GB in 2 to 3 s, both checkpoints included.
const CLONE_MIB_PER_S: u64 = 500;
/// Ending sessions, the lock, pruning and the swap.
const CLONE_FIXED_MS: u64 = 700;
/// Processor time of the copying: the kernel does most of it.
const CLONE_CPU_MS_PER_GIB: u64 = 1_700;
/// Processor time of reading both sides row by row behind the cutover, which each strategy does.
const COMPARE_CPU_MS_PER_GIB: u64 = 4_500;
/// Rows read, sent, written and indexed again.
const COPY_MIB_PER_S: u64 = 45;
/// Connecting, locking, swapping.
const COPY_FIXED_MS: u64 = 800;
/// Processor time of a copy.
const COPY_CPU_MS_PER_GIB: u64 = 17_500;
/// The last changes' way through the slot, the sequences and the swap: 20 to 80 ms at 400 transactions a second.
const STREAM_PAUSE_MS: u64 = 150;
/// The write-ahead log of rows and indexes that are written again, in percent of their bytes.
const REWRITE_WAL_PERCENT: u64 = 90;

/// How a service is split out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The files of the whole shared database are copied, and what is not the service's is dropped.
    Clone,
    /// Rows are copied while everything runs, changes follow by logical replication.
    Stream,
    /// Rows are copied while the service stands still.
    Copy,
}

impl Strategy {
    /// The words on the command line.
    pub const WORDS: &[&str] = &["clone", "stream", "copy"];

    /// Takes one of the words.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "clone" => Some(Self::Clone),
            "stream" => Some(Self::Stream),
            "copy" => Some(Self::Copy),
            _ => None,
        }
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Stream => "stream",
            Self::Copy => "copy",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a strategy would cost for one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// The strategy.
    pub strategy: Strategy,
    /// How long the service cannot write, milliseconds. With a clone, nobody can use the shared database meanwhile.
    pub pause_ms: u64,
    /// How long it takes in all, milliseconds.
    pub time_ms: u64,
    /// Processor time, milliseconds, the server's included.
    pub cpu_ms: u64,
    /// Write-ahead log, bytes.
    pub wal_bytes: u64,
    /// Disk that is needed at the peak, bytes.
    pub disk_bytes: u64,
    /// Why it cannot be used; empty when it can.
    pub obstacles: Vec<String>,
}

/// A strategy, and why it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The strategy; none when none can be used.
    pub strategy: Option<Strategy>,
    /// Why, as a sentence.
    pub because: String,
}

/// Estimates every strategy for a service with these tables.
#[must_use]
pub fn estimates(shared: &Shared, tables: &[&Relation]) -> Vec<Estimate> {
    let bytes: u64 = tables.iter().map(|table| table.bytes).sum();
    let clone_ms = CLONE_FIXED_MS + per_rate(shared.bytes, CLONE_MIB_PER_S);
    let copy_ms = COPY_FIXED_MS + per_rate(bytes, COPY_MIB_PER_S);
    let compare_ms = per_gib(bytes, COMPARE_CPU_MS_PER_GIB);
    let wal = bytes.saturating_mul(REWRITE_WAL_PERCENT) / 100;
    vec![
        Estimate {
            strategy: Strategy::Clone,
            pause_ms: clone_ms,
            time_ms: clone_ms,
            cpu_ms: per_gib(shared.bytes, CLONE_CPU_MS_PER_GIB) + compare_ms,
            wal_bytes: MIB,
            disk_bytes: shared.bytes,
            obstacles: clone_obstacles(shared),
        },
        Estimate {
            strategy: Strategy::Stream,
            pause_ms: STREAM_PAUSE_MS,
            time_ms: copy_ms + STREAM_PAUSE_MS,
            cpu_ms: per_gib(bytes, COPY_CPU_MS_PER_GIB) + compare_ms,
            wal_bytes: wal,
            disk_bytes: bytes,
            obstacles: stream_obstacles(shared, tables),
        },
        Estimate {
            strategy: Strategy::Copy,
            pause_ms: copy_ms,
            time_ms: copy_ms,
            cpu_ms: per_gib(bytes, COPY_CPU_MS_PER_GIB) + compare_ms,
            wal_bytes: wal,
            disk_bytes: bytes,
            obstacles: Vec::new(),
        },
    ]
}

fn per_rate(bytes: u64, mib_per_s: u64) -> u64 {
    bytes.saturating_mul(1000) / (mib_per_s * MIB)
}

fn per_gib(bytes: u64, ms_per_gib: u64) -> u64 {
    bytes.saturating_mul(ms_per_gib) / (1024 * MIB)
}

fn clone_obstacles(shared: &Shared) -> Vec<String> {
    let mut obstacles = Vec::new();
    if !shared.can_be_template {
        obstacles.push(format!("The administrator does not own database \"{}\", so it cannot be a template.", shared.database));
    }
    obstacles
}

fn stream_obstacles(shared: &Shared, tables: &[&Relation]) -> Vec<String> {
    let replication = &shared.replication;
    let mut obstacles = Vec::new();
    if replication.wal_level != "logical" {
        obstacles.push(format!("wal_level is {}, and logical replication needs logical (a restart).", replication.wal_level));
    }
    if !replication.may_replicate {
        obstacles.push(
            "The administrator may not make replication slots: it takes a superuser, or the attribute REPLICATION.".to_owned(),
        );
    }
    if replication.slots_free == 0 {
        obstacles.push("No replication slot is free: raise max_replication_slots.".to_owned());
    }
    let nameless: Vec<String> =
        tables.iter().filter(|table| table.identity == Identity::Nothing).map(|table| table.full_name()).collect();
    if !nameless.is_empty() {
        let tables = nameless.join(", ");
        obstacles.push(format!("Updates and deletes cannot be replicated without a primary key or REPLICA IDENTITY: {tables}."));
    }
    let unlogged: Vec<String> = tables.iter().filter(|table| table.is_unlogged).map(|table| table.full_name()).collect();
    if !unlogged.is_empty() {
        obstacles.push(format!("Unlogged tables are not replicated: {}.", unlogged.join(", ")));
    }
    obstacles
}

/// Takes the cheapest strategy whose pause is short enough, else the one with the shortest pause.
#[must_use]
pub fn choose(estimates: &[Estimate], wanted: Option<Strategy>, pause_max_ms: u64) -> Choice {
    if let Some(wanted) = wanted {
        let estimate = estimates.iter().find(|estimate| estimate.strategy == wanted);
        return match estimate {
            Some(estimate) if estimate.obstacles.is_empty() => {
                Choice { strategy: Some(wanted), because: "It was asked for.".to_owned() }
            }
            Some(estimate) => Choice {
                strategy: None,
                because: format!("{wanted} was asked for and cannot be used. {}", estimate.obstacles.join(" ")),
            },
            None => Choice { strategy: None, because: format!("{wanted} was not considered.") },
        };
    }
    let usable: Vec<&Estimate> = estimates.iter().filter(|estimate| estimate.obstacles.is_empty()).collect();
    let short: Vec<&&Estimate> = usable.iter().filter(|estimate| estimate.pause_ms <= pause_max_ms).collect();
    if let Some(best) = short.iter().min_by_key(|estimate| (estimate.cpu_ms, estimate.strategy)) {
        let all = if best.strategy == Strategy::Clone { " Everyone on the shared database waits meanwhile." } else { "" };
        let because = format!(
            "Its pause of some {} is within the {} allowed, and it takes the least processor time of those.{all}",
            duration(best.pause_ms),
            duration(pause_max_ms)
        );
        return Choice { strategy: Some(best.strategy), because };
    }
    match usable.iter().min_by_key(|estimate| estimate.pause_ms) {
        Some(best) => Choice {
            strategy: Some(best.strategy),
            because: format!(
                "No strategy stays within a pause of {}; this one's is the shortest, some {}.",
                duration(pause_max_ms),
                duration(best.pause_ms)
            ),
        },
        None => Choice { strategy: None, because: "No strategy can be used.".to_owned() },
    }
}

/// Milliseconds for people: `250 ms`, `3.2 s`, `4 min`.
#[must_use]
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min", ms.div_ceil(60_000)),
    }
}
