//! What `verify -load` shows.

use std::fmt::Write as _;

use pgisle_core::load::{Bulkhead, Figures, Leg, Report, Way, duration, sentences};

use super::style::{BAD, STRONG, harmless, paint};
use super::table::{left, render, right};
use super::text::wrap;

/// How long the lines of the verdict are.
const WIDTH: usize = 110;

/// The whole of it.
pub(crate) fn report(report: &Report) -> String {
    let legs = std::iter::once(&report.before).chain(&report.after);
    let columns = [
        left("clients of all services"),
        right("clients"),
        right("connections"),
        right("a second"),
        right("p50"),
        right("p99"),
        right("max"),
        right("failed"),
    ];
    let mut text = render(&columns, &legs.map(leg).collect::<Vec<_>>());
    text.push('\n');
    text.push_str(&services(report));
    if let Some(bulkhead) = &report.bulkhead {
        text.push('\n');
        text.push_str(&neighbour(bulkhead));
    }
    for sentence in sentences(report) {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "\n{}\n", wrap(&harmless(&sentence), WIDTH));
    }
    text
}

fn leg(leg: &Leg) -> Vec<String> {
    let way = match &leg.way {
        Way::Shared { database } => format!("before: direct, all in {}", harmless(database.as_str())),
        Way::Own { .. } => "before: direct".to_owned(),
        Way::Pooled { connections_max, .. } => format!("after: pools of {connections_max}"),
    };
    let mut row = vec![way, leg.clients.to_string(), paint(STRONG, leg.connections)];
    row.extend(figures(&leg.all));
    row
}

fn figures(figures: &Figures) -> [String; 5] {
    let Figures { transactions: _, failed, per_second, latency, errors: _ } = figures;
    let failed = if *failed > 0 { paint(BAD, failed) } else { failed.to_string() };
    let [p50, p99, max] = [latency.p50_us, latency.p99_us, latency.max_us].map(duration);
    [per_second.to_string(), p50, p99, max, failed]
}

/// Each service before and after, side by side.
fn services(report: &Report) -> String {
    let columns =
        [left("service"), right("clients"), right("before: p50"), right("p99"), right("after: p50"), right("p99"), right("failed")];
    let rows = report.before.services.iter().enumerate().map(|(place, before)| {
        let after = report.after.as_ref().and_then(|after| after.services.get(place)).map(|service| &service.figures);
        let of = |figures: &Figures| [duration(figures.latency.p50_us), duration(figures.latency.p99_us)];
        let failed = before.figures.failed + after.map_or(0, |figures| figures.failed);
        let mut row = vec![before.service.to_string(), before.clients.to_string()];
        row.extend(of(&before.figures));
        row.extend(after.map_or_else(|| ["-".to_owned(), "-".to_owned()], of));
        row.push(if failed > 0 { paint(BAD, failed) } else { failed.to_string() });
        row
    });
    render(&columns, &rows.collect::<Vec<_>>())
}

fn neighbour(bulkhead: &Bulkhead) -> String {
    let Bulkhead { noisy, noisy_clients, victim, shared_size, own_size, shared, own, .. } = bulkhead;
    let columns = [
        left("beside a noisy neighbour"),
        right("pool"),
        right("transactions"),
        right("p50"),
        right("p99"),
        right("max"),
        right("failed"),
    ];
    let row = |what: String, size: u32, met: &Figures| {
        let [_, p50, p99, max, failed] = figures(met);
        vec![what, size.to_string(), met.transactions.to_string(), p50, p99, max, failed]
    };
    let rows = [
        row(format!("{victim}, in one pool with {noisy_clients} clients of {noisy}"), *shared_size, shared),
        row(format!("{victim}, in a pool of its own"), *own_size, own),
    ];
    render(&columns, &rows)
}
