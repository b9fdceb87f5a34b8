//! What may be said of it, and no more.

use super::report::Report;
use crate::load::{Latency, duration};

/// The verdict, a sentence or two each.
#[must_use]
pub fn sentences(report: &Report) -> Vec<String> {
    vec![lost(report), back(report), twice(report), split_brain(report), cost(report)]
        .into_iter()
        .filter(|sentence| !sentence.is_empty())
        .collect()
}

fn lost(report: &Report) -> String {
    let (lost, acknowledged) = (report.sum(|balance| balance.lost), report.sum(|balance| balance.acknowledged));
    let span = report.balances().filter_map(|balance| balance.lost_span_ms).max().unwrap_or(0);
    let log = format!("{} bytes of the old primary's log were nowhere else", report.log.lost_bytes);
    let meaning = match (report.is_synchronous, lost) {
        (true, _) => {
            "Every commit waited until the standby had it: that is what makes this number zero, and not the absence of bad luck."
        }
        (false, 0) => {
            "No commit waited for the standby, so this is luck and a fast standby, not a promise: a primary acknowledges what only it has."
        }
        (false, _) => "No commit waited for the standby: the primary had acknowledged what only it had.",
    };
    let what = match lost {
        0 => "none is missing".to_owned(),
        _ => format!("{lost} are missing, the first from {span} ms before the kill"),
    };
    format!("Lost (RPO): of {acknowledged} acknowledged writes {what}; {log}. {meaning}")
}

fn back(report: &Report) -> String {
    let timeline = &report.timeline;
    let Some(written) = timeline.written_ms else { return "Back (RTO): not every service came back.".to_owned() };
    format!(
        "Back (RTO): after {written} ms every service had written again. Of that {} ms went by until the primary was taken for dead, {} ms until \
         the standby took writes, {} ms until PgBouncer led there, and the rest until it had asked again, which it does once a second (server_login_retry). Whoever watches \
         from another machine waits longer before calling a server dead: seconds, so as not to take a slow network for one.",
        timeline.detected_ms,
        timeline.promoted_ms.saturating_sub(timeline.detected_ms),
        timeline.repointed_ms.saturating_sub(timeline.promoted_ms),
    )
}

fn twice(report: &Report) -> String {
    let (unknown, committed) = (report.sum(|balance| balance.unknown), report.sum(|balance| balance.unknown_committed));
    let without = report.sum(|balance| balance.duplicates_without_key);
    format!(
        "Twice: {unknown} attempts ended without the client knowing what came of them, and {committed} of those writes had been committed. \
         Clients tried again: with a key that is unique {} are there twice, without one {without}.",
        report.sum(|balance| balance.duplicates)
    )
}

fn split_brain(report: &Report) -> String {
    let stale = &report.stale;
    format!(
        "Split brain: a client of \"{}\" went on to the old address and was told {} times that the server there only reads (SQLSTATE 25006); \
         {} writes were taken there after the kill. The old primary was fenced before the other was promoted, and is its standby now.",
        stale.service,
        stale.read_only,
        report.sum(|balance| balance.accepted_by_old)
    )
}

fn cost(report: &Report) -> String {
    let words = |latency: &Latency| format!("{} (p99 {})", duration(latency.p50_us), duration(latency.p99_us));
    match (&report.pace.asynchronous, &report.pace.synchronous) {
        (Some(before), Some(waiting)) => format!(
            "What -sync costs: a write took {} without waiting for the standby and {} with it, both on this machine. Over a network a round trip \
             comes on top, and when the standby is away every write waits. Between the promotion and the return of a standby no write waited.",
            words(before),
            words(waiting)
        ),
        _ => String::new(),
    }
}
