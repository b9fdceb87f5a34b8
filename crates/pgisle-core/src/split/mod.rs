//! Splitting services out of the shared database: who gets what, what crosses, which way is taken. Pure; doing it is the engine's.
//!
//! The file says which tables a service owns. Everything else follows from them: partitions, sequences, triggers, functions, types
//! and views go with the tables, and what belongs to several services at once is a [`Crossing`], which someone has to think about.

mod aside;
mod boundary;
pub mod change;
mod claim;
mod differing;
mod job;
mod moved;
pub mod observed;
mod picture;
mod plan;
mod strategy;

pub use aside::{Aside, put_aside};
pub use boundary::{Crossing, CrossingKind, crossings};
pub use change::{Lsn, Visible};
pub use claim::{Claims, Owners, claim, named_relations};
pub use differing::{Comparison, KeyRange, KeyedRow, Take};
pub use job::{Clock, Job, JobState, Severed};
pub use moved::{Moved, MovedTable, Phase, Schema, choose_schema, moved};
pub use observed::Shared;
pub use picture::dot;
pub use plan::{ServiceSplit, SplitOptions, SplitPlan, plan_split};
pub use strategy::{Choice, Estimate, Strategy, choose, duration, estimates};
