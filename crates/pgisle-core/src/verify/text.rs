//! The report for people: lines of spans, each with what it means, so that the front end adds colour and nothing else.

use std::fmt;

use crate::diagnostic::Severity;

use super::leak::Leak;
use super::report::{CellState, Report, Row, Verdict};
use super::trial::Outcome;

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Nothing special.
    Plain,
    /// A heading.
    Heading,
    /// As it should be.
    Good,
    /// As it should be, and nothing to look at.
    Quiet,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
}

/// A piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it means.
    pub style: Style,
    /// What it says.
    pub text: String,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line(pub Vec<Span>);

impl Line {
    fn new(style: Style, text: impl Into<String>) -> Self {
        Self::default().and(style, text)
    }

    fn and(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push(Span { style, text: text.into() });
        self
    }
}

/// Without colour, and without blanks at the end.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.0.iter().map(|span| span.text.as_str()).collect();
        f.write_str(text.trim_end())
    }
}

/// So many leaks are told at length; the JSON has all of them.
const LEAKS_MAX: usize = 40;

/// So much of what was seen of one leak is told.
const SEEN_MAX: usize = 3;

/// Renders the report for a terminal of so many columns.
#[must_use]
pub fn text(report: &Report, width: usize) -> Vec<Line> {
    let mut lines = matrix(report, width);
    lines.push(Line::default());
    lines.extend(leaks(report));
    if !report.probes.is_empty() {
        lines.push(trials(report));
    }
    lines.push(Line::new(Style::Quiet, report.coverage.text.clone()));
    lines.push(verdict(report));
    lines
}

fn word(state: CellState) -> (&'static str, char, Style) {
    match state {
        CellState::Works => ("ok", 'o', Style::Good),
        CellState::Down => ("DOWN", '!', Style::Bad),
        CellState::Denied => ("denied", '.', Style::Quiet),
        CellState::Leak => ("LEAK", 'X', Style::Bad),
        CellState::Open => ("open", 's', Style::Warning),
        CellState::NotProved => ("?", '?', Style::Warning),
    }
}

fn matrix(report: &Report, width: usize) -> Vec<Line> {
    let name_width = report.rows.iter().map(|row| chars(row.service.as_str())).max().unwrap_or_default().max("service".len());
    let widths: Vec<usize> = report.columns.iter().map(|column| chars(&column.label).max("denied*".len())).collect();
    let columns = report.columns.len() + usize::from(reaches_cluster(report));
    let number_width = columns.to_string().len().max(1) + 1;
    let compact_width = name_width + 5 + columns * number_width;
    let cluster_width = if reaches_cluster(report) { CLUSTER.len() + 2 } else { 0 };
    if name_width + widths.iter().map(|width| width + 2).sum::<usize>() + cluster_width <= width {
        wide(report, name_width, &widths)
    } else if compact_width <= width {
        compact(report, name_width, number_width)
    } else {
        folded(report, name_width)
    }
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// What heads the column of leaks that lead to no database but to all that the server has.
const CLUSTER: &str = "cluster";

/// True when that column is worth showing.
fn reaches_cluster(report: &Report) -> bool {
    report.rows.iter().any(|row| row.cluster)
}

/// What that column says of a service.
fn cluster_word(row: &Row) -> (&'static str, char, Style) {
    if row.cluster { word(CellState::Leak) } else { ("-", '.', Style::Quiet) }
}

/// True when some cells were tried and others were not, which is worth telling apart.
fn is_mixed(report: &Report) -> bool {
    let cells = || report.rows.iter().flat_map(|row| &row.cells);
    cells().any(|cell| cell.tried) && cells().any(|cell| !cell.tried)
}

fn wide(report: &Report, name_width: usize, widths: &[usize]) -> Vec<Line> {
    let mixed = is_mixed(report);
    let mut head = Line::new(Style::Heading, format!("{:name_width$}", "service"));
    for (column, width) in report.columns.iter().zip(widths) {
        head = head.and(Style::Heading, format!("  {:width$}", column.label));
    }
    if reaches_cluster(report) {
        head = head.and(Style::Heading, format!("  {CLUSTER}"));
    }
    let mut lines = vec![head];
    for row in &report.rows {
        let mut line = Line::new(Style::Plain, format!("{:name_width$}", row.service.as_str()));
        for (cell, width) in row.cells.iter().zip(widths) {
            let (word, _, style) = word(cell.state);
            let star = if mixed && !cell.tried { "*" } else { "" };
            line = line.and(style, format!("  {:width$}", format!("{word}{star}")));
        }
        if reaches_cluster(report) {
            let (word, _, style) = cluster_word(row);
            line = line.and(style, format!("  {word}"));
        }
        lines.push(line);
    }
    if mixed {
        lines.push(Line::new(Style::Quiet, "* by the catalogs alone, not tried on the server"));
    }
    lines
}

fn compact(report: &Report, name_width: usize, number_width: usize) -> Vec<Line> {
    let mut head = Line::new(Style::Heading, format!("{:1$}", "", name_width + 5));
    for number in 1..=report.columns.len() + usize::from(reaches_cluster(report)) {
        head = head.and(Style::Heading, format!("{number:>number_width$}"));
    }
    let mut lines = vec![head];
    for (number, row) in (1..).zip(&report.rows) {
        let mut line = Line::new(Style::Plain, format!("{number:>3}  {:name_width$}", row.service.as_str()));
        for cell in &row.cells {
            let (_, mark, style) = word(cell.state);
            line = line.and(style, format!("{mark:>number_width$}"));
        }
        if reaches_cluster(report) {
            let (_, mark, style) = cluster_word(row);
            line = line.and(style, format!("{mark:>number_width$}"));
        }
        lines.push(line);
    }
    for (number, column) in (1..).zip(&report.columns).skip(report.rows.len()) {
        lines.push(Line::new(Style::Plain, format!("{number:>3}  {}", column.label)));
    }
    if reaches_cluster(report) {
        lines.push(Line::new(Style::Plain, format!("{:>3}  {CLUSTER}", report.columns.len() + 1)));
    }
    lines.push(Line::new(Style::Quiet, legend(report)));
    lines
}

fn legend(report: &Report) -> String {
    let states = [CellState::Works, CellState::Denied, CellState::Open, CellState::Leak, CellState::Down, CellState::NotProved];
    let is_there = |state: &CellState| {
        *state == CellState::Leak && reaches_cluster(report)
            || report.rows.iter().flat_map(|row| &row.cells).any(|cell| cell.state == *state)
    };
    let meaning = |state: CellState| match state {
        CellState::Works => "own database, works",
        CellState::Denied => "denied",
        CellState::Open => "open, not fenced yet",
        CellState::Leak => "LEAK",
        CellState::Down => "own database, DOWN",
        CellState::NotProved => "not proved",
    };
    let entries: Vec<_> =
        states.into_iter().filter(is_there).map(|state| format!("{} {}", word(state).1, meaning(state))).collect();
    entries.join("   ")
}

/// Too many for a table: what is wrong row by row, and the rest as numbers.
fn folded(report: &Report, name_width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let is_fine = |row: &&Row| {
        !row.cluster && row.cells.iter().all(|cell| matches!(cell.state, CellState::Works | CellState::Denied | CellState::Open))
    };
    for row in report.rows.iter().filter(|row| !is_fine(row)) {
        let mut line = Line::new(Style::Plain, format!("{:name_width$}", row.service.as_str()));
        for state in [CellState::Leak, CellState::Down, CellState::NotProved] {
            let labels: Vec<&str> = row
                .cells
                .iter()
                .zip(&report.columns)
                .filter(|(cell, _)| cell.state == state)
                .map(|(_, column)| column.label.as_str())
                .collect();
            if let Some((first, others)) = labels.split_first() {
                let (word, _, style) = word(state);
                let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
                line = line.and(style, format!("  {word} {first}{more}"));
            }
        }
        if row.cluster {
            let (word, _, style) = cluster_word(row);
            line = line.and(style, format!("  {word} {CLUSTER}"));
        }
        lines.push(line);
    }
    let open: Vec<&str> = report
        .columns
        .iter()
        .enumerate()
        .filter(|(place, _)| report.rows.iter().any(|row| row.cells.get(*place).is_some_and(|cell| cell.state == CellState::Open)))
        .map(|(_, column)| column.label.as_str())
        .collect();
    let fine = report.rows.iter().filter(is_fine).count();
    if fine > 0 {
        let which = if lines.is_empty() { "all" } else { "the other" };
        let databases = report.columns.len().saturating_sub(1 + open.len());
        let text = format!("{which} {fine} services: each works in its own database, and is denied the {databases} others");
        lines.push(Line::new(Style::Good, text));
    }
    if !open.is_empty() {
        lines.push(Line::new(Style::Warning, format!("open, not fenced yet: {}", open.join(", "))));
    }
    lines
}

fn leaks(report: &Report) -> Vec<Line> {
    let mut lines = Vec::new();
    for leak in report.leaks.iter().take(LEAKS_MAX) {
        let style = if leak.severity == Severity::Error { Style::Bad } else { Style::Warning };
        lines
            .push(Line::new(style, format!("{}[{}]", leak.severity, leak.code)).and(Style::Plain, format!(": {}", leak.summary())));
        lines.push(Line::new(Style::Plain, format!("  path: {}", leak.path_text())));
        lines.extend(seen(leak));
        lines.push(Line::new(Style::Quiet, format!("  hint: {}", leak.hint)));
        lines.extend(leak.commands.iter().map(|command| Line::new(Style::Plain, format!("        {command}"))));
        lines.push(Line::default());
    }
    if report.leaks.len() > LEAKS_MAX {
        let more = report.leaks.len() - LEAKS_MAX;
        lines.push(Line::new(Style::Bad, format!("and {more} more; -json has them all")));
        lines.push(Line::default());
    }
    for unproved in report.unproved.iter().take(LEAKS_MAX) {
        lines.push(Line::new(Style::Warning, "not proved").and(Style::Plain, format!(": {}", unproved.what)));
        lines.push(Line::new(Style::Quiet, format!("  {}", unproved.because)));
    }
    if report.unproved.len() > LEAKS_MAX {
        lines.push(Line::new(Style::Warning, format!("and {} more are not proved", report.unproved.len() - LEAKS_MAX)));
    }
    if !report.unproved.is_empty() {
        lines.push(Line::default());
    }
    lines
}

/// What the trials have shown of it.
fn seen(leak: &Leak) -> Option<Line> {
    let (shown, rest) = leak.seen.split_at(leak.seen.len().min(SEEN_MAX));
    let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
    (!shown.is_empty()).then(|| Line::new(Style::Plain, format!("  seen: {}{more}", shown.join(", "))))
}

fn trials(report: &Report) -> Line {
    let count = |is: fn(&Outcome) -> bool| report.probes.iter().filter(|probe| is(&probe.outcome)).count();
    let passed = count(|outcome| matches!(outcome, Outcome::Passed));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let unknown = count(|outcome| matches!(outcome, Outcome::NotProved(_)));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let mut line = Line::new(Style::Plain, format!("trials: {passed} passed"));
    for (count, style, word) in
        [(failed, Style::Bad, "failed"), (unknown, Style::Warning, "not proved"), (skipped, Style::Quiet, "skipped")]
    {
        if count > 0 {
            line = line.and(style, format!(", {count} {word}"));
        }
    }
    line
}

fn verdict(report: &Report) -> Line {
    let errors = report.leaks.iter().filter(|leak| leak.severity == Severity::Error).count();
    let plural = |count: usize, word: &str| if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") };
    match report.verdict {
        Verdict::Isolated => {
            let services = plural(report.rows.len(), "service");
            Line::new(Style::Good, format!("isolated: {services}, each alone in its database"))
        }
        Verdict::NotProved => Line::new(Style::Warning, format!("not proved: {}", plural(report.unproved.len(), "open question"))),
        Verdict::Broken => Line::new(Style::Bad, format!("broken: {} in services' own databases", plural(errors, "fault"))),
        Verdict::Leaking => Line::new(Style::Bad, format!("NOT ISOLATED: {}", plural(errors, "leak"))),
    }
}
