//! The write-ahead log as files: what they are called, what stands at their beginning, which follow each other, and which of them
//! a recovery needs.
//!
//! A server cuts its log into segments of one size and archives each when it is full. A promotion begins another timeline, whose
//! history file says where it left the one before.

mod name;
mod point;
mod proof;
mod seal;
pub mod setup;
mod span;
mod timeline;

pub use name::{Segment, SegmentBytes, SegmentHeader, WalName};
pub use point::PointInTime;
pub use proof::{RECOVERY_FORMAT, RecoveryProof};
pub use seal::{WAL_FORMAT, WalSeal};
pub use span::{Reach, Run, first_missing, is_needed, reach, runs};
pub use timeline::{Branch, History, carried_on, history_at};
