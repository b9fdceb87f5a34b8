//! From a text to HCL's tree: `hcl-edit` with better errors, and with definitions that occur twice survived.

use std::collections::BTreeSet;

use hcl_edit::structure::Body;

use crate::diagnostic::{Code, Diagnostic};

use super::scan::{ScanError, Token, TokenKind, scan};
use super::text::place;

/// The tree of a text and what is wrong with it beyond the grammar.
pub(super) struct Parsed {
    /// The tree; definitions that occur twice stand in it once.
    pub(super) body: Body,
    /// Where numbers stand that were too large for any number type. They are reported already.
    pub(super) huge_numbers: BTreeSet<usize>,
}

/// Each duplicate costs one more parse.
const DUPLICATES_MAX: usize = 20;

/// Reads a text. None when it is not HCL; every problem found is added to `diagnostics`.
pub(super) fn parse(name: &str, text: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Parsed> {
    let tokens = match scan(text) {
        Ok(tokens) => tokens,
        Err(error) => {
            diagnostics.push(scan_diagnostic(name, text, &error));
            return None;
        }
    };
    let mut work = text.to_owned();
    let huge_numbers = neutralise_huge_numbers(name, &mut work, &tokens, diagnostics);
    for _ in 0..=DUPLICATES_MAX {
        let error = match hcl_edit::parser::parse_body(&work) {
            Ok(body) => return Some(Parsed { body, huge_numbers }),
            Err(error) => error,
        };
        let offset = error.location().offset();
        if let Some(end) = error.message().contains("redefined").then(|| definition_end(&tokens, offset)).flatten() {
            diagnostics.push(duplicate_diagnostic(name, text, &tokens, offset));
            blank(&mut work, offset, end);
            continue;
        }
        // The parser's offset points at the last byte when the text ends too early; its place then is behind that.
        let behind_the_end = error.location().offset() + 1 >= text.len() && error.message().contains("newline");
        let offset = if behind_the_end { text.len() } else { offset };
        diagnostics.push(
            Diagnostic::error(Code::SPEC_SYNTAX, "the file is not valid HCL")
                .at(place(name, text, offset))
                .detail(format!("{}.", sentence(error.message()))),
        );
        return None;
    }
    None
}

/// The diagnostic of a text that cannot be split into tokens.
pub(super) fn scan_diagnostic(name: &str, text: &str, error: &ScanError) -> Diagnostic {
    match error {
        ScanError::Syntax { offset, reason, hint } => {
            Diagnostic::error(Code::SPEC_SYNTAX, reason.as_str()).at(place(name, text, *offset)).hint(*hint)
        }
        ScanError::Limit { offset, reason } => Diagnostic::error(Code::SPEC_LIMIT, *reason).at(place(name, text, *offset)),
    }
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// Overwrites `from..to` with spaces, so that all other places stay.
fn blank(text: &mut String, from: usize, to: usize) {
    text.replace_range(from..to, &" ".repeat(to - from));
}

/// A number beyond every number type is not a syntax error to a person, but it is to the parser.
fn neutralise_huge_numbers(name: &str, work: &mut String, tokens: &[Token], diagnostics: &mut Vec<Diagnostic>) -> BTreeSet<usize> {
    let mut huge = BTreeSet::new();
    for token in tokens.iter().filter(|token| token.kind == TokenKind::Number) {
        if token.text(work).parse::<f64>().is_ok_and(f64::is_infinite) {
            let diagnostic = Diagnostic::error(Code::SPEC_RANGE, "the number is too large");
            diagnostics.push(diagnostic.at(place(name, work, token.start)));
            huge.insert(token.start);
            work.replace_range(token.start..token.end, &"0".repeat(token.end - token.start));
        }
    }
    huge
}

/// Where the definition that begins at `offset` ends: at the end of its line, or with its comma in a map.
fn definition_end(tokens: &[Token], offset: usize) -> Option<usize> {
    let first = tokens.iter().position(|token| token.start == offset)?;
    let mut depth = 0_usize;
    let mut end = offset;
    for token in &tokens[first..] {
        match token.kind {
            TokenKind::Open => depth += 1,
            TokenKind::Close if depth == 0 => break,
            TokenKind::Close => depth -= 1,
            TokenKind::Newline | TokenKind::LineComment if depth == 0 => break,
            TokenKind::Comma if depth == 0 => return Some(token.end),
            _ => {}
        }
        end = token.end;
    }
    Some(end)
}

fn duplicate_diagnostic(name: &str, text: &str, tokens: &[Token], offset: usize) -> Diagnostic {
    let bare = |token: &Token| token.text(text).trim_matches('"').to_owned();
    let Some(second) = tokens.iter().position(|token| token.start == offset) else {
        return Diagnostic::error(Code::SPEC_DUPLICATE, "something is defined twice").at(place(name, text, offset));
    };
    let key = bare(&tokens[second]);
    let mut depth = 0_usize;
    let mut first = None;
    for index in (0..second).rev() {
        match tokens[index].kind {
            TokenKind::Close => depth += 1,
            TokenKind::Open if depth == 0 => break,
            TokenKind::Open => depth -= 1,
            TokenKind::Word | TokenKind::Text if depth == 0 && bare(&tokens[index]) == key => {
                let begins = index == 0 || !matches!(tokens[index - 1].kind, TokenKind::Equals | TokenKind::Other);
                if begins {
                    first = Some(tokens[index].start);
                }
            }
            _ => {}
        }
    }
    let diagnostic = Diagnostic::error(Code::SPEC_DUPLICATE, format!("{} is defined twice", super::text::quoted(&key)))
        .at(place(name, text, offset));
    match first {
        Some(first) => diagnostic.detail(format!("The first definition is at {}.", place(name, text, first))),
        None => diagnostic,
    }
}
