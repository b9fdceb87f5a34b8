//! What may be said of it, and no more: which part of the gain is the pools', and which the databases'.

use super::report::{Bulkhead, Leg, Report, Way};
use crate::spec::PoolMode;

/// The verdict, a sentence or two each.
#[must_use]
pub fn sentences(report: &Report) -> Vec<String> {
    let mut sentences = vec![connections(&report.before, report.after.as_ref())];
    if let Way::Own { because } = &report.before.way {
        sentences.push(format!("Before: into their own databases, not into the shared one: {because}."));
    }
    sentences.extend(report.after.iter().flat_map(pooled));
    sentences.extend(report.bulkhead.iter().flat_map(bulkhead));
    sentences
}

fn connections(before: &Leg, after: Option<&Leg>) -> String {
    let without = format!(
        "{} held {} of the server's without pools",
        count(before.clients, "client"),
        count(before.connections, "connection")
    );
    match after {
        Some(after) => format!(
            "{without}, and {} through them. The cap comes from the pools: databases of their own, reached directly, take as many \
             connections as a shared one.",
            after.connections
        ),
        None => format!("{without}. A database for each service does not change that: the cap comes from pools."),
    }
}

/// What a reader must know of the pools that it came through.
fn pooled(after: &Leg) -> Vec<String> {
    let Way::Pooled { private_because, pool_mode, .. } = &after.way else { return Vec::new() };
    let mut sentences = Vec::new();
    if after.connections_before > 0 {
        sentences.push(format!("After: connections of the services before the load began: {}.", after.connections_before));
    }
    if *pool_mode == PoolMode::Session {
        sentences.push("After: in pool mode session every client keeps a connection, so that pools only bound them.".to_owned());
    }
    if let Some(because) = private_because {
        sentences.push(format!("After: through a PgBouncer on this machine, started for this on the generated files: {because}."));
    }
    sentences
}

fn bulkhead(bulkhead: &Bulkhead) -> [String; 2] {
    let Bulkhead { noisy, noisy_clients, hold_ms, victim, shared, own, .. } = bulkhead;
    let measured = format!(
        "While {noisy_clients} clients of \"{noisy}\" keep transactions of {hold_ms} ms open, 99 of 100 of \"{victim}\" take {} at most \
         in a pool that both share, and {} in a pool of their own: {} times less.",
        duration(shared.latency.p99_us),
        duration(own.latency.p99_us),
        bulkhead.ratio()
    );
    let meaning = "That is what a database, a login and a pool for each service buy: nobody waits in another's queue. They do not divide \
                   the server's processors, memory and disk; a neighbour that uses those up is still felt.";
    [measured, meaning.to_owned()]
}

fn count(number: u32, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Microseconds, as people read them.
#[must_use]
pub fn duration(time_us: u64) -> String {
    match time_us {
        0..1_000 => format!("{time_us} µs"),
        1_000..10_000 => format!("{}.{} ms", time_us / 1000, time_us % 1000 / 100),
        10_000..1_000_000 => format!("{} ms", time_us / 1000),
        _ => format!("{}.{} s", time_us / 1_000_000, time_us % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        let all = [(7, "7 µs"), (1_250, "1.2 ms"), (48_900, "48 ms"), (7_100_000, "7.1 s")];
        assert!(all.iter().all(|(time, text)| duration(*time) == *text));
    }
}
