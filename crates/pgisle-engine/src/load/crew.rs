//! Groups of clients that work at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use pgisle_core::load::Tally;
use pgisle_core::sql::Statement;
use tokio::task::JoinSet;

use super::client::{self, Connected, Counter, Hours, Work};
use crate::postgres::ConnectOptions;

/// How many log in at once: each login is a new process of the server, and four thousand rounds of a hash here.
const LOGINS_AT_ONCE: usize = 8;

/// Clients that do the same.
pub(super) struct Group {
    pub(super) clients: u32,
    pub(super) options: ConnectOptions,
    pub(super) statement: Statement,
    /// Between two transactions of a client. The clients begin evenly spread over it.
    pub(super) pause: Duration,
    /// How much later than the others they begin.
    pub(super) delay: Duration,
}

/// What the groups met.
pub(super) struct Met {
    pub(super) groups: Vec<Tally>,
    pub(super) took_ms: u64,
}

/// A client that has logged in, or not, and what it is to do.
struct Ready {
    connected: Option<Connected>,
    work: Arc<Work>,
    after: Duration,
}

/// Logs all of them in, lets them work for so long, and waits for the last.
pub(super) async fn work(groups: Vec<Group>, duration: Duration, stop: &Arc<AtomicBool>) -> Met {
    let counters: Vec<Counter> = groups.iter().map(|_| Counter::default()).collect();
    let longest_delay = groups.iter().map(|group| group.delay).max().unwrap_or_default();
    let mut ready = Vec::new();
    for (group, counter) in groups.into_iter().zip(&counters) {
        ready.extend(log_in(group, counter, stop).await);
    }
    let start = Instant::now();
    let end = start + longest_delay + duration;
    let mut tasks = JoinSet::new();
    for Ready { connected, work, after } in ready {
        let hours = Hours { begin: start + after, end, stop: Arc::clone(stop) };
        tasks.spawn(client::run(connected, work, Arc::new(hours)));
    }
    // A task that panicked has counted what it met until then.
    while tasks.join_next().await.is_some() {}
    let took = start.elapsed().saturating_sub(longest_delay);
    Met {
        groups: counters.iter().map(|counter| client::count(counter).clone()).collect(),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

async fn log_in(group: Group, counter: &Counter, stop: &AtomicBool) -> Vec<Ready> {
    let Group { clients, options, statement, pause, delay } = group;
    let work = Arc::new(Work { options, statement, pause, counter: Arc::clone(counter) });
    let logins = futures_util::stream::iter(0..clients).map(|number| {
        let work = Arc::clone(&work);
        async move {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let connected = match client::connect(&work.options).await {
                Ok(connected) => Some(connected),
                Err(reason) => {
                    client::count(&work.counter).failed(reason);
                    None
                }
            };
            Some(Ready { connected, after: delay + work.pause * number / clients.max(1), work })
        }
    });
    logins.buffer_unordered(LOGINS_AT_ONCE).filter_map(std::future::ready).collect().await
}
