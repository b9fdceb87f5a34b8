//! The report as JUnit XML, which every CI system shows.

use std::fmt::Write as _;

use crate::diagnostic::Severity;

use super::leak::{Leak, Who};
use super::report::{Cell, CellState, Report};
use super::trial::Outcome;

/// Above so many cells, a row of the matrix becomes one test case.
const CELLS_MAX: usize = 1000;

/// What became of a test case.
enum Case<'a> {
    Passed,
    Failed(String),
    Errored(String),
    Skipped(&'a str),
}

/// Writes the report as JUnit XML: a suite each for the matrix, the leaks and the trials. A leak is a failure, what could not be
/// proved an error.
#[must_use]
pub fn junit_xml(report: &Report) -> String {
    let mut suites = [Suite::new("matrix"), Suite::new("leaks"), Suite::new("trials")];
    let [matrix, leaks, trials] = &mut suites;
    matrix_cases(report, matrix);
    for leak in &report.leaks {
        let text = || format!("{} {}\n{}", leak.path_text(), leak.hint, leak.commands.join("\n"));
        let name = format!("{} {}", leak.code, leak.summary());
        match leak.severity {
            Severity::Error => leaks.case(&leak.from.to_string(), &name, &Case::Failed(text())),
            Severity::Warning | Severity::Note => leaks.case(&leak.from.to_string(), &name, &Case::Skipped(&text())),
        }
    }
    for unproved in &report.unproved {
        leaks.case("not proved", &unproved.what, &Case::Errored(unproved.because.clone()));
    }
    for probe in &report.probes {
        let name = format!("{} in {}", probe.title, probe.database);
        let case = match &probe.outcome {
            Outcome::Passed => Case::Passed,
            Outcome::Failed(because) => Case::Failed(because.clone()),
            Outcome::NotProved(because) => Case::Errored(because.clone()),
            Outcome::Skipped(because) => Case::Skipped(because),
        };
        trials.case(&probe.who.to_string(), &name, &case);
    }
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let sum = |count: fn(&Suite) -> usize| suites.iter().map(count).sum::<usize>();
    let (tests, failures, errors) = (sum(|suite| suite.tests), sum(|suite| suite.failures), sum(|suite| suite.errors));
    let _ = writeln!(xml, "<testsuites name=\"pgisle verify\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\">");
    for suite in &suites {
        suite.write(&mut xml);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn matrix_cases(report: &Report, suite: &mut Suite) {
    let fold = report.rows.len() * report.columns.len() > CELLS_MAX;
    for row in &report.rows {
        let mut worst: Vec<(String, Case<'_>)> = Vec::new();
        for (cell, column) in row.cells.iter().zip(&report.columns) {
            let leak = report.leaks.iter().find(|leak| {
                let from = leak.from.service() == Some(&row.service) || leak.from == Who::Everyone;
                from && leak.to.as_ref() == Some(&column.database) && leak.severity == Severity::Error
            });
            let case = cell_case(cell, leak);
            if !fold {
                suite.case(row.service.as_str(), &format!("{} to {}", row.service, column.database), &case);
            } else if matches!(case, Case::Failed(_) | Case::Errored(_)) {
                worst.push((column.database.to_string(), case));
            }
        }
        if !fold {
            continue;
        }
        if worst.is_empty() {
            suite.case(row.service.as_str(), &format!("{} to every database", row.service), &Case::Passed);
        }
        for (database, case) in worst {
            suite.case(row.service.as_str(), &format!("{} to {database}", row.service), &case);
        }
    }
}

fn cell_case(cell: &Cell, leak: Option<&Leak>) -> Case<'static> {
    let path = || leak.map_or_else(String::new, Leak::path_text);
    match cell.state {
        CellState::Works | CellState::Denied => Case::Passed,
        CellState::Open => Case::Skipped("open, and not yet meant to be closed"),
        CellState::Leak => Case::Failed(format!("leak: {}", path())),
        CellState::Down => Case::Failed(format!("the service's own database does not work: {}", path())),
        CellState::NotProved => Case::Errored("not proved".to_owned()),
    }
}

struct Suite {
    name: &'static str,
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
    body: String,
}

impl Suite {
    fn new(name: &'static str) -> Self {
        Self { name, tests: 0, failures: 0, errors: 0, skipped: 0, body: String::new() }
    }

    fn case(&mut self, class: &str, name: &str, case: &Case<'_>) {
        self.tests += 1;
        let _ = write!(self.body, "    <testcase classname=\"{}\" name=\"{}\"", escaped(class), escaped(name));
        let (element, text) = match case {
            Case::Passed => {
                self.body.push_str("/>\n");
                return;
            }
            Case::Failed(text) => {
                self.failures += 1;
                ("failure", text.as_str())
            }
            Case::Errored(text) => {
                self.errors += 1;
                ("error", text.as_str())
            }
            Case::Skipped(text) => {
                self.skipped += 1;
                ("skipped", *text)
            }
        };
        let first = text.lines().next().unwrap_or_default();
        let _ = writeln!(self.body, "><{element} message=\"{}\">{}</{element}></testcase>", escaped(first), escaped(text));
    }

    fn write(&self, xml: &mut String) {
        let Self { name, tests, failures, errors, skipped, body } = self;
        let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"");
        let _ = writeln!(xml, "  <testsuite name=\"{name}\" {counts}>\n{body}  </testsuite>");
    }
}

/// Escapes a text for an element or an attribute; what XML 1.0 cannot hold at all becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' | '\t' => {
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(escaped("<a b=\"c\">&'\u{1}\u{ffff}\n]]>é"), "&lt;a b=&quot;c&quot;&gt;&amp;&apos;\u{fffd}\u{fffd}&#10;]]&gt;é");
    }
}
