//! Reading one layer: what it assigns, and the blocks in it.

use hcl_edit::Span as _;
use hcl_edit::structure::{Block, BlockLabel, Body, Structure};

use crate::diagnostic::{Code, Diagnostic};

use super::model::Environment;
use super::setting::{SETTINGS, SettingDefault, find};
use super::source::{Layer, LayerKind, TERRAFORM_PREFIX, VARIABLE_PREFIX};
use super::syntax;
use super::text::{At, Texts};
use super::value::{Evaluation, Given, Value};

/// `name = value`.
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) given: Given,
}

/// A body: a file's, or a block's.
pub(super) struct Section {
    /// The block's type; empty for a file.
    pub(super) kind: String,
    pub(super) at: At,
    pub(super) labels: Vec<(String, At)>,
    pub(super) assignments: Vec<Assignment>,
    pub(super) blocks: Vec<Section>,
}

/// Reads a file. None when it is not HCL, which is then reported.
pub(super) fn file(texts: &Texts<'_>, name: &str, index: usize, diagnostics: &mut Vec<Diagnostic>) -> Option<Section> {
    if name.ends_with(".json") {
        diagnostics.push(
            Diagnostic::error(Code::SPEC_FILE, "settings as JSON are not read")
                .at(texts.place(At { layer: index, offset: 0 }))
                .hint("Write them as HCL, in a .tfvars file."),
        );
        return None;
    }
    let parsed = syntax::parse(name, texts.get(index), diagnostics)?;
    let evaluation = Evaluation { texts, layer: index, base: 0, huge_numbers: &parsed.huge_numbers };
    let mut root = Section {
        kind: String::new(),
        at: At { layer: index, offset: 0 },
        labels: Vec::new(),
        assignments: Vec::new(),
        blocks: Vec::new(),
    };
    fill(&mut root, &parsed.body, &evaluation, diagnostics);
    Some(root)
}

fn fill(section: &mut Section, body: &Body, evaluation: &Evaluation<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for structure in body {
        match structure {
            Structure::Attribute(attribute) => section.assignments.push(Assignment {
                name: attribute.key.as_str().to_owned(),
                at: evaluation.at(attribute.key.span()),
                given: evaluation.value(&attribute.value, diagnostics),
            }),
            Structure::Block(block) => section.blocks.push(self::block(block, evaluation, diagnostics)),
        }
    }
}

fn block(block: &Block, evaluation: &Evaluation<'_>, diagnostics: &mut Vec<Diagnostic>) -> Section {
    let kind = block.ident.as_str().to_owned();
    let at = evaluation.at(block.ident.span());
    let label = |label: &BlockLabel| {
        let span = match label {
            BlockLabel::Ident(ident) => ident.span(),
            BlockLabel::String(text) => text.span(),
        };
        // A quoted label's span is missing in some positions; the block's own place is near enough.
        let at = if span.is_some() { evaluation.at(span) } else { at };
        (label.as_str().to_owned(), at)
    };
    let labels = block.labels.iter().map(label).collect();
    let mut section = Section { kind, at, labels, assignments: Vec::new(), blocks: Vec::new() };
    // What stands in a block that is not ours is another language: one error for the block is enough.
    if matches!(section.kind.as_str(), "service" | "replica") {
        fill(&mut section, &block.body, evaluation, diagnostics);
    }
    section
}

/// The name and raw value of a variable's layer. None when it has no name, which is then reported.
pub(super) fn variable<'a>(
    texts: &Texts<'a>,
    layer: &'a Layer,
    index: usize,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<(&'a str, &'a str, At)> {
    let text = texts.get(index);
    let prefix = match layer.kind {
        LayerKind::Variable => VARIABLE_PREFIX,
        LayerKind::TerraformVariable => TERRAFORM_PREFIX,
        _ => {
            // The text is not shown: without its name it may well be a password.
            let Some((name, raw)) = text.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
                diagnostics.push(
                    Diagnostic::error(Code::SPEC_VARIABLE, "-var takes NAME=VALUE")
                        .hint("Write -var postgres_port=5433, with quotes around the whole where the shell needs them."),
                );
                return None;
            };
            return Some((name.trim(), raw, At { layer: index, offset: name.len() + 1 }));
        }
    };
    let name = layer.name.strip_prefix(prefix).unwrap_or(&layer.name);
    Some((name, text, At { layer: index, offset: 0 }))
}

/// The environment that wins in the layers.
pub(super) fn environment(layers: &[&Layer]) -> Option<Environment> {
    let mut unused = Vec::new();
    let texts = Texts::new(layers, &mut unused);
    let mut word = default_environment().to_owned();
    for (index, layer) in layers.iter().enumerate() {
        let value = if layer.kind.is_file() {
            let Some(section) = file(&texts, &layer.name, index, &mut unused) else { continue };
            section.assignments.into_iter().find(|assignment| assignment.name == "environment").map(|found| found.given.value)
        } else {
            let variable = variable(&texts, layer, index, &mut unused);
            variable.filter(|(name, ..)| *name == "environment").map(|(_, raw, _)| Value::Text(raw.to_owned()))
        };
        match value {
            Some(Value::Text(text)) => word = text,
            Some(Value::Null) => default_environment().clone_into(&mut word),
            _ => {}
        }
    }
    Environment::from_word(&word)
}

fn default_environment() -> &'static str {
    match find(SETTINGS, "environment").map(|info| info.default) {
        Some(SettingDefault::Value(word)) => word.trim_matches('"'),
        _ => "",
    }
}
