//! Findings, in the shape of `Diagnostic`'s own `Display`, with colours.

use std::fmt::Write as _;

use anstyle::Style;
use pgisle_core::diagnostic::{Diagnostic, Severity};

use super::style::{BAD, CHANGE, FAINT, NAME, STRONG, harmless, paint};
use crate::console::Verbosity;

/// All findings that this much talk allows, with a blank line between them.
pub(crate) fn all(diagnostics: &[Diagnostic], verbosity: Verbosity) -> String {
    let shown = diagnostics.iter().filter(|diagnostic| verbosity > Verbosity::Quiet || diagnostic.severity == Severity::Error);
    shown.map(one).collect::<Vec<_>>().join("\n")
}

/// One finding.
pub(crate) fn one(diagnostic: &Diagnostic) -> String {
    let Diagnostic { code, severity, summary, place, subject, detail, hint, commands } = diagnostic;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        text,
        "{}{} {}",
        paint(tone(*severity), format_args!("{severity}[{code}]")),
        paint(STRONG, ":"),
        paint(STRONG, harmless(summary))
    );
    let place = place.as_ref().map(|place| harmless(&place.to_string()));
    let subject = subject.as_ref().map(|subject| harmless(subject));
    let _infallible = match (place, subject) {
        (Some(place), Some(subject)) => writeln!(text, "  {} {}  {subject}", paint(FAINT, "-->"), paint(NAME, place)),
        (Some(only), None) | (None, Some(only)) => writeln!(text, "  {} {}", paint(FAINT, "-->"), paint(NAME, only)),
        (None, None) => Ok(()),
    };
    for (label, sentences) in [("detail", detail), ("hint", hint)] {
        if let Some(sentences) = sentences {
            let _infallible = writeln!(text, "  {} {}", paint(FAINT, format_args!("{label}:")), indented(&harmless(sentences)));
        }
    }
    if !commands.is_empty() {
        text.push('\n');
        for command in commands {
            let _infallible = writeln!(text, "      {}", paint(NAME, harmless(command)));
        }
    }
    text
}

/// Lines after the first stand under the first.
fn indented(sentences: &str) -> String {
    sentences.trim_end().replace('\n', "\n    ")
}

fn tone(severity: Severity) -> Style {
    match severity {
        Severity::Error => BAD.bold(),
        Severity::Warning => CHANGE.bold(),
        Severity::Note => NAME.bold(),
    }
}

#[cfg(test)]
mod tests {
    use pgisle_core::diagnostic::{Code, Place};

    use super::*;

    #[test]
    fn without_colours_it_is_the_plain_rendering() {
        let place = Place { file: "pgisle.hcl".into(), line: 14, column: 1 };
        let full = Diagnostic::error(Code::LEAK_CONNECT, "role \"orders_app\" can connect to database \"billing\"")
            .at(place)
            .about("service \"orders\"")
            .detail("CONNECT on \"billing\" is granted to PUBLIC, so every login has it.")
            .hint("Plan the revocation:")
            .command("pgisle plan -target=service.billing");
        for diagnostic in [full, Diagnostic::note(Code::IO, "x").about("file \"y\"")] {
            assert_eq!(anstream::adapter::strip_str(&one(&diagnostic)).to_string(), diagnostic.to_string());
        }
    }
}
