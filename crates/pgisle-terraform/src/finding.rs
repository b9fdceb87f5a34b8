//! From pgisle's findings to Terraform's.

use pgisle_core::diagnostic::{Diagnostic, Severity};

use crate::provider::Finding;
use crate::value::Path;

impl Finding {
    /// An error of the provider's own, about an attribute.
    pub(crate) fn error(path: Path, summary: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { is_error: true, summary: summary.into(), detail: detail.into(), path: Some(path) }
    }

    /// The same about nothing in particular.
    pub(crate) fn general(summary: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { is_error: true, summary: summary.into(), detail: detail.into(), path: None }
    }

    /// A finding of pgisle's, as the attribute's that it is about.
    pub(crate) fn of(diagnostic: &Diagnostic, path: Option<Path>) -> Self {
        let Diagnostic { code, severity, summary, place: _, subject, detail, hint, commands } = diagnostic;
        let mut rest: Vec<String> = Vec::new();
        rest.extend(subject.iter().map(|subject| format!("About {subject}.")));
        rest.extend(detail.iter().cloned());
        rest.extend(hint.iter().cloned());
        let mut text = rest.join(" ");
        if !commands.is_empty() {
            text.push_str("\n\n");
            text.push_str(&commands.iter().map(|command| format!("    {command}")).collect::<Vec<_>>().join("\n"));
        }
        Self { is_error: *severity == Severity::Error, summary: format!("{code}: {summary}"), detail: text, path }
    }
}

/// Findings that are about no attribute. Notes are left out: Terraform has no place for them.
pub(crate) fn general(diagnostics: &[Diagnostic]) -> Vec<Finding> {
    let heard = diagnostics.iter().filter(|diagnostic| diagnostic.severity != Severity::Note);
    heard.map(|diagnostic| Finding::of(diagnostic, None)).collect()
}

/// Whether any stops Terraform.
pub(crate) fn any_error(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.is_error)
}
