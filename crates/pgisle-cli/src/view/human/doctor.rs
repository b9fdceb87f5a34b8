//! What `doctor` shows.

use pgisle_core::doctor::{Checked, Checkup, Counts, Outcome};

use super::diagnostic;
use super::style::{BAD, CHANGE, FAINT, GOOD, harmless, paint};
use super::table::{left, render};
use super::text::count;
use crate::console::Verbosity;

/// The whole of it: a line for each check, what is wrong, and how much that is.
pub(crate) fn checkup(checkup: &Checkup) -> String {
    let Checkup { counts, checks } = checkup;
    let rows: Vec<Vec<String>> = checks.iter().map(row).collect();
    let mut text = render(&[left("check"), left(""), left("seen")], &rows);
    let findings = checkup.diagnostics();
    if !findings.is_empty() {
        text.push('\n');
        text.push_str(&diagnostic::all(&findings, Verbosity::Normal));
    }
    text.push('\n');
    text.push_str(&verdict(*counts));
    text
}

fn row(checked: &Checked) -> Vec<String> {
    let Checked { check, outcome, seen, findings: _ } = checked;
    let (tone, word) = match outcome {
        Outcome::Ok => (GOOD, "ok"),
        Outcome::Skipped => (FAINT, "-"),
        Outcome::Warning => (CHANGE, "warning"),
        Outcome::Failed => (BAD, "failed"),
    };
    // As wide as it can get, so that a line looks the same whatever came of the others.
    let gap = " ".repeat("warning".len().saturating_sub(word.len()));
    let outcome = format!("{}{gap}", paint(tone, word));
    vec![check.as_str().to_owned(), outcome, harmless(seen)]
}

fn verdict(counts: Counts) -> String {
    let Counts { ok, warning, failed, skipped } = counts;
    let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} not looked at") };
    let text = if failed + warning == 0 {
        paint(GOOD, format_args!("Nothing is wrong: {ok} ok{skipped}."))
    } else {
        let tone = if failed > 0 { BAD } else { CHANGE };
        paint(tone, format_args!("{failed} failed, {}, {ok} ok{skipped}.", count(warning, "warning")))
    };
    format!("{text}\n")
}
