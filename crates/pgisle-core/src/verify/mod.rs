//! The proof of isolation: what to look at, what it means, and the report as a value.
//!
//! Two proofs stand side by side. The static one ([`prove`]) computes from the catalogs what every login *could* do, for every
//! pair, with the path of each leak. The dynamic one (the engine's) *tries* it on the real server, with the real passwords over
//! the real address. A leak that either finds is a leak; what neither could look at is "not proved" and counts as neither.

mod attack;
mod cast;
mod finding;
mod fix;
mod interior;
mod junit;
mod leak;
mod pairs;
mod proof;
mod reach;
mod report;
mod text;
mod trial;

pub use attack::{
    Victim, attacks, find_canary, home_trials, intruder_trials, monitoring_reads_canary, monitoring_trials, plant_canary,
    remove_canary, terminate, victims,
};
pub use cast::LoginKind;
pub use interior::{DefinerFunction, ForeignServer, Interior, ObjectGrants, ObjectPlace, SystemGrant, SystemObject};
pub use junit::junit_xml;
pub use leak::{Evidence, Leak, PathStep, Unproved, Who};
pub use pairs::{Bounds, Column, ColumnKind, columns, targets};
pub use proof::{StaticProof, prove, prove_with};
pub use report::{Attempt, Cell, CellState, Coverage, Entry, Observed, Probe, Report, Row, Verdict, report};
pub use text::{Line, Span, Style, text};
pub use trial::{ActAs, Answer, Expect, Outcome, Reach, Trial};
