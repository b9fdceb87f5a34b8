//! What a command has to say, before anyone decides how it is shown.

use pgisle_core::diagnostic::Diagnostic;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exit::Exit;

/// A command's outcome: the same findings for people and for machines.
#[derive(Debug, Default)]
#[must_use = "an outcome that nobody shows is lost"]
pub(crate) struct Report {
    /// For people, on standard output.
    pub(crate) human: String,
    /// For machines: the document's own members, beside those that every document has.
    pub(crate) members: Map<String, Value>,
    /// Printed in place of the document, for the few commands whose JSON must keep Terraform's shape.
    pub(crate) verbatim: Option<String>,
    /// The findings.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Whether the text for people tells the findings already.
    pub(crate) is_told: bool,
    /// How it ends when no finding is an error.
    pub(crate) exit: Option<Exit>,
}

impl Report {
    /// Nothing to say yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One finding and nothing else.
    pub(crate) fn failure(diagnostic: Diagnostic) -> Self {
        Self::failures(vec![diagnostic])
    }

    /// Findings and nothing else.
    pub(crate) fn failures(diagnostics: Vec<Diagnostic>) -> Self {
        Self { diagnostics, ..Self::default() }
    }

    /// Adds text for people.
    pub(crate) fn human(mut self, text: impl AsRef<str>) -> Self {
        self.human.push_str(text.as_ref());
        self
    }

    /// Adds a member for machines.
    pub(crate) fn member(mut self, name: &str, value: impl Serialize) -> Self {
        // Every type of ours serialises; should one not, the machine sees null rather than nothing.
        self.members.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
        self
    }

    /// Says that the text for people tells the findings already.
    pub(crate) fn told(mut self) -> Self {
        self.is_told = true;
        self
    }

    /// Adds findings.
    pub(crate) fn diagnostics(mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) -> Self {
        self.diagnostics.extend(diagnostics);
        self
    }

    /// Says how it ends when no finding is an error.
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = Some(exit);
        self
    }

    /// How it ends.
    pub(crate) fn ending(&self) -> Exit {
        Exit::of(&self.diagnostics).or(self.exit).unwrap_or(Exit::Done)
    }
}
