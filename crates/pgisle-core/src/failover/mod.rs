//! A failover that was provoked: what clients were told, what the servers hold, and what may be said of it.
//!
//! Clients write down what they sent and what they were told: acknowledged, refused, or nothing, because the connection broke while the
//! answer was awaited. Afterwards that is compared with the rows that are there. Four things can be wrong: an acknowledged write that is
//! missing, a write that is there twice, a service that did not come back, and a write that a server took after it was replaced.

mod ledger;
mod report;
mod text;

pub use ledger::{Answer, Attempt, Balance, Entry, Kill, Rows, Server, compare, latency};
pub use report::{Log, OldPrimary, Pace, Report, ServiceBalance, StaleClient, Timeline};
pub use text::sentences;

#[cfg(test)]
mod tests;
