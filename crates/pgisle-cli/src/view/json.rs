//! For machines: one document for each command.

use pgisle_core::diagnostic::Diagnostic;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exit::Exit;
use crate::report::Report;

/// The documents' version. The first number changes when a member goes or changes its meaning, the second when one comes.
const FORMAT_VERSION: &str = "1.0";

#[derive(Serialize)]
struct Document<'a> {
    format_version: &'static str,
    command: &'a str,
    exit_code: u8,
    diagnostics: &'a [Diagnostic],
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

/// The document of a command, with a line end.
pub(crate) fn document(command: &str, exit: Exit, report: &Report) -> String {
    let document = Document {
        format_version: FORMAT_VERSION,
        command,
        exit_code: exit.number(),
        diagnostics: &report.diagnostics,
        members: &report.members,
    };
    // Strings, numbers and maps with string keys always serialise.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}
