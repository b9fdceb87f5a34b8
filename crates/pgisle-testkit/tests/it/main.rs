//! The throw-away clusters themselves, on every version that is installed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;
mod ending;
mod tls;
