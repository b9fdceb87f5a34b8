//! A load on the user's own cluster, bounded: how many clients each service gets, what was measured, and what may be said of it.
//!
//! Two questions are asked of it. How many connections does the server hold when every client has its own, and how many when they
//! come through the pools? And what does one service feel of another that keeps hundreds of transactions open, in a pool that both
//! share and in a pool of its own? The first answer is the pools' doing, the second is what a pool, a login and a database for each
//! service buy on top.

mod histogram;
mod report;
mod share;
mod text;

pub use histogram::Histogram;
pub use report::{Bulkhead, Figures, Latency, LeftOut, Leg, Report, ServiceFigures, Tally, Way};
pub use share::{Bounds, CLIENTS_MAX, Room, Share, shares};
pub use text::{duration, sentences};
