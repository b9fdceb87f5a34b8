//! What `verify -failover` shows.

use std::fmt::Write as _;

use pgisle_core::failover::{Balance, Report, Timeline, sentences};

use super::style::{BAD, STRONG, harmless, paint};
use super::table::{left, render, right};
use super::text::wrap;

/// How long the lines of the verdict are.
const WIDTH: usize = 110;

/// The whole of it.
pub(crate) fn report(report: &Report) -> String {
    let mut text = timeline(report);
    text.push('\n');
    text.push_str(&writes(report));
    for sentence in sentences(report) {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "\n{}\n", wrap(&harmless(&sentence), WIDTH));
    }
    text
}

fn timeline(report: &Report) -> String {
    let Timeline { detected_ms, fenced_ms, promoted_ms, repointed_ms, written_ms, old_started_ms, rejoined_ms } = report.timeline;
    let row = |what: String, at: Option<u64>| vec![what, at.map_or_else(|| paint(BAD, "never"), |at| format!("{at} ms"))];
    let rows = [
        row(format!("primary on port {} taken for dead", report.old_port), Some(detected_ms)),
        row("fenced: it cannot come back as one that takes writes".to_owned(), Some(fenced_ms)),
        row(format!("standby on port {} promoted", report.new_port), Some(promoted_ms)),
        row("PgBouncer leads there".to_owned(), Some(repointed_ms)),
        row(paint(STRONG, "every service has written again"), written_ms),
        row("old primary started again, read-only".to_owned(), Some(old_started_ms)),
        row("old primary is the standby".to_owned(), Some(rejoined_ms)),
    ];
    render(&[left("what happened"), right("after the kill")], &rows)
}

fn writes(report: &Report) -> String {
    let columns = [
        left("writes"),
        right("acknowledged"),
        right("lost"),
        right("unknown"),
        right("of them done"),
        right("twice"),
        right("refused"),
        right("back after"),
    ];
    let row = |who: String, balance: &Balance| {
        let Balance { acknowledged, lost, unknown, unknown_committed, duplicates, refused, back_after_ms, .. } = balance;
        let bad = |number: &u64| if *number > 0 { paint(BAD, number) } else { number.to_string() };
        vec![
            who,
            acknowledged.to_string(),
            bad(lost),
            unknown.to_string(),
            unknown_committed.to_string(),
            bad(duplicates),
            refused.to_string(),
            back_after_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
        ]
    };
    let mut rows: Vec<Vec<String>> =
        report.services.iter().map(|service| row(service.service.to_string(), &service.balance)).collect();
    rows.push(row(format!("{}, to the old address", report.stale.service), &report.stale.balance));
    render(&columns, &rows)
}
