//! What `verify` shows: the core's lines, in colour.

use pgisle_core::verify::{Line, Report, Style, text};

use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, harmless, paint};

/// The matrix, the leaks with their paths, and what it comes to.
pub(crate) fn report(report: &Report, width: usize) -> String {
    text(report, width).iter().map(line).collect()
}

fn line(line: &Line) -> String {
    let Line(spans) = line;
    let mut painted: String = spans.iter().take(spans.len().saturating_sub(1)).map(|each| span(each.style, &each.text)).collect();
    // The last column is padded like the others, which nobody sees and a log keeps.
    if let Some(last) = spans.last() {
        painted.push_str(&span(last.style, last.text.trim_end()));
    }
    painted.push('\n');
    painted
}

fn span(style: Style, text: &str) -> String {
    let text = harmless(text);
    match style {
        Style::Plain => text,
        Style::Heading => paint(STRONG, text),
        Style::Good => paint(GOOD, text),
        Style::Quiet => paint(FAINT, text),
        Style::Warning => paint(CHANGE, text),
        Style::Bad => paint(BAD.bold(), text),
    }
}
