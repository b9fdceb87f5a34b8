//! The proof of isolation: what to look at, what it means, and the report as a value.
//!
//! Two proofs stand side by side. The static one ([`prove`]) computes from the catalogs what every login *could* do, for every
//! pair, with the path of each leak. The dynamic one (the engine's) *tries* it on the real server, with the real passwords over
//! the real address. A leak that either finds is a leak; what neither could look at is "not proved" and counts as neither.

mod cast;
mod fix;
mod interior;
mod leak;
mod proof;
mod reach;

pub use cast::LoginKind;
pub use interior::{DefinerFunction, ForeignServer, Interior, ObjectGrants};
pub use leak::{Evidence, Leak, PathStep, Unproved, Who};
pub use proof::{StaticProof, prove, prove_with};
