//! Figures for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::meter::Cost;
use super::{Figures, Subject};

/// A Markdown table. A ratio is pgisle's figure by that of the line, so below 1 pgisle is the quicker one.
pub(super) fn render(figures: &Figures) -> String {
    let Figures { services, statements, version, costs } = figures;
    let mut text = format!("{services} services, {statements} statements, PostgreSQL {version}, {} processors\n\n", processors());
    text.push_str(
        "| | wall s | ratio | client CPU s | ratio | server CPU s | ratio | memory MB |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (subject, cost) in costs {
        let Cost { wall_s, client_cpu_s, server_cpu_s, memory_bytes } = cost;
        let ratio = |own: fn(&Cost) -> f64| ratio_text(figures, *subject, own);
        let _ = writeln!(
            text,
            "| {} | {wall_s:.2} | {} | {client_cpu_s:.2} | {} | {server_cpu_s:.2} | {} | {} |",
            subject.name(),
            ratio(|cost| cost.wall_s),
            ratio(|cost| cost.client_cpu_s),
            ratio(|cost| cost.server_cpu_s),
            memory_bytes.div_ceil(1_000_000),
        );
    }
    text
}

pub(super) fn json(all: &[Figures], rounds: u16) -> Value {
    let cost = |(subject, cost): &(Subject, Cost)| {
        let Cost { wall_s, client_cpu_s, server_cpu_s, memory_bytes } = cost;
        json!({
            "subject": subject.name(),
            "wall_s": wall_s,
            "client_cpu_s": client_cpu_s,
            "server_cpu_s": server_cpu_s,
            "memory_bytes": memory_bytes,
        })
    };
    let figures = |figures: &Figures| {
        let Figures { services, statements, version, costs } = figures;
        let costs: Vec<Value> = costs.iter().map(cost).collect();
        json!({ "services": services, "statements": statements, "postgresql": version, "costs": costs })
    };
    json!({ "processors": processors(), "rounds": rounds, "results": all.iter().map(figures).collect::<Vec<_>>() })
}

fn ratio_text(figures: &Figures, subject: Subject, own: fn(&Cost) -> f64) -> String {
    let of = |wanted: Subject| figures.costs.iter().find(|(subject, _)| *subject == wanted).map(|(_, cost)| own(cost));
    match (of(subject.ours()), of(subject)) {
        // A figure of a few ticks says nothing.
        (Some(ours), Some(theirs)) if subject != subject.ours() && theirs >= 0.05 => format!("{:.2}", ours / theirs),
        _ => String::new(),
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
