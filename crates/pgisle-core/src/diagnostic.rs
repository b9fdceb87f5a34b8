//! What pgisle has to say about a file, a cluster or a plan: one shape for every finding.
//!
//! The text follows PostgreSQL's style: the summary is lower case, names the kind of object, quotes its name and has no full
//! stop; detail and hint are sentences; a command to paste stands alone. No diagnostic holds a row value or a secret.

mod code;

use std::fmt;

use serde::Serialize;

pub use code::{Code, CodeInfo, all_codes, code_info};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing can go on until it is mended.
    Error,
    /// The work goes on, and someone should look.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// A position in a text that a person wrote. Lines and columns count from 1; a column counts characters, not bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
pub struct Place {
    /// The file as the user named it, or where else the text came from (`-var`, `PGISLE_VAR_postgres_port`).
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column } = self;
        write!(f, "{file}:{line}:{column}")
    }
}

/// One finding: what, where, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable identity, for `pgisle explain`. The code is API, the text is not.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// One line: lower case, no full stop.
    pub summary: String,
    /// Where in the user's files, if anywhere.
    pub place: Option<Place>,
    /// The thing it is about, as the user would name it: `service "orders"`, `database "billing"`.
    pub subject: Option<String>,
    /// What is wrong with this thing, as sentences.
    pub detail: Option<String>,
    /// What to do, as sentences.
    pub hint: Option<String>,
    /// Lines to paste into a shell or psql, each whole.
    pub commands: Vec<String>,
}

impl Diagnostic {
    /// Makes an error.
    #[must_use]
    pub fn error(code: Code, summary: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, summary.into())
    }

    /// Makes a warning.
    #[must_use]
    pub fn warning(code: Code, summary: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, summary.into())
    }

    /// Makes a note.
    #[must_use]
    pub fn note(code: Code, summary: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, summary.into())
    }

    fn new(severity: Severity, code: Code, summary: String) -> Self {
        Self { code, severity, summary, place: None, subject: None, detail: None, hint: None, commands: Vec::new() }
    }

    /// Adds where it stands.
    #[must_use]
    pub fn at(mut self, place: impl Into<Option<Place>>) -> Self {
        self.place = place.into();
        self
    }

    /// Adds what it is about.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Adds what is wrong with this thing.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What is wrong, in one line: for where there is no room for more.
    #[must_use]
    pub fn brief(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {}", self.summary, detail.trim_end_matches('.')),
            None => self.summary.clone(),
        }
    }

    /// Adds a line to paste.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }
}

/// The plain rendering, without colour: what a log or a test sees.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, severity, summary, place, subject, detail, hint, commands } = self;
        writeln!(f, "{severity}[{code}]: {summary}")?;
        match (place, subject) {
            (Some(place), Some(subject)) => writeln!(f, "  --> {place}  {subject}")?,
            (Some(place), None) => writeln!(f, "  --> {place}")?,
            (None, Some(subject)) => writeln!(f, "  --> {subject}")?,
            (None, None) => {}
        }
        if let Some(detail) = detail {
            writeln!(f, "  detail: {detail}")?;
        }
        if let Some(hint) = hint {
            writeln!(f, "  hint: {hint}")?;
        }
        if !commands.is_empty() {
            writeln!(f)?;
            for command in commands {
                writeln!(f, "      {command}")?;
            }
        }
        Ok(())
    }
}

/// True when any finding is an error.
#[must_use]
pub fn any_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}
