//! Values as the file has them: what an expression means when it is a plain value.

use std::collections::{BTreeMap, BTreeSet};

use hcl_edit::Span as _;
use hcl_edit::expr::{Expression, Object, ObjectKey, UnaryOperator};
use hcl_edit::template::{Element, Template};

use crate::diagnostic::{Code, Diagnostic};

use super::text::{At, Texts, quoted};

/// A value, and where it stands.
#[derive(Clone, PartialEq)]
pub(super) struct Given {
    pub(super) value: Value,
    pub(super) at: At,
}

/// A plain value.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A number as it was written, with its sign.
    Number(String),
    Text(String),
    List(Vec<Given>),
    Map(Vec<(Key, Given)>),
    /// Something that is reported already.
    Invalid,
}

/// A map's key, and where it stands.
#[derive(Clone, PartialEq)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) at: At,
}

impl Value {
    /// What kind of value it is, for "found …".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Invalid => "an invalid value",
        }
    }
}

/// Evaluates the expressions of one layer.
pub(super) struct Evaluation<'a> {
    pub(super) texts: &'a Texts<'a>,
    pub(super) layer: usize,
    /// Where the parsed text begins in the layer's text.
    pub(super) base: usize,
    pub(super) huge_numbers: &'a BTreeSet<usize>,
}

impl Evaluation<'_> {
    /// The position of a span in the layer.
    pub(super) fn at(&self, span: Option<std::ops::Range<usize>>) -> At {
        At { layer: self.layer, offset: self.base + span.map_or(0, |span| span.start) }
    }

    /// The value of an expression. What is not a plain value is reported.
    pub(super) fn value(&self, expression: &Expression, diagnostics: &mut Vec<Diagnostic>) -> Given {
        let at = self.at(expression.span());
        let value = match expression {
            Expression::Null(_) => Value::Null,
            Expression::Bool(value) => Value::Bool(*value.value()),
            Expression::Number(_) if self.huge_numbers.contains(&(at.offset - self.base)) => Value::Invalid,
            Expression::Number(number) => {
                Value::Number(number.as_repr().map_or_else(|| number.value().to_string(), |written| written.to_string()))
            }
            Expression::String(text) => Value::Text(text.value().clone()),
            Expression::Array(array) => Value::List(array.iter().map(|element| self.value(element, diagnostics)).collect()),
            Expression::Object(object) => self.map(object, diagnostics),
            Expression::HeredocTemplate(heredoc) => match literal(&heredoc.template) {
                Some(text) => Value::Text(text),
                None => self.refuse("a template", at, diagnostics),
            },
            Expression::Parenthesis(inner) => return self.value(inner.inner(), diagnostics),
            Expression::UnaryOp(operation) => match (operation.operator.value(), &operation.expr) {
                (UnaryOperator::Neg, Expression::Number(_)) => match self.value(&operation.expr, diagnostics).value {
                    Value::Number(number) => Value::Number(format!("-{number}")),
                    _ => Value::Invalid,
                },
                _ => self.refuse("an operation", at, diagnostics),
            },
            Expression::StringTemplate(_) => self.refuse("a template", at, diagnostics),
            Expression::Variable(_) | Expression::Traversal(_) => self.refuse("a reference", at, diagnostics),
            Expression::Conditional(_) => self.refuse("a condition", at, diagnostics),
            Expression::FuncCall(_) => self.refuse("a function call", at, diagnostics),
            Expression::BinaryOp(_) => self.refuse("an operation", at, diagnostics),
            Expression::ForExpr(_) => self.refuse("a for expression", at, diagnostics),
        };
        Given { value, at }
    }

    fn map(&self, object: &Object, diagnostics: &mut Vec<Diagnostic>) -> Value {
        let mut entries: Vec<(Key, Given)> = Vec::with_capacity(object.len());
        let mut firsts: BTreeMap<String, At> = BTreeMap::new();
        for (key, value) in object {
            let key = self.key(key, diagnostics);
            let value = self.value(value.expr(), diagnostics);
            let Some(key) = key else { continue };
            // The parser notices a second `a`, but not `"a"` beside `a`.
            if let Some(first) = firsts.get(&key.text) {
                let first = self.texts.place(*first).map(|place| format!("The first definition is at {place}."));
                diagnostics.push(
                    Diagnostic::error(Code::SPEC_DUPLICATE, format!("{} is defined twice", quoted(&key.text)))
                        .at(self.texts.place(key.at))
                        .detail(first.unwrap_or_default()),
                );
                continue;
            }
            firsts.insert(key.text.clone(), key.at);
            entries.push((key, value));
        }
        Value::Map(entries)
    }

    fn key(&self, key: &ObjectKey, diagnostics: &mut Vec<Diagnostic>) -> Option<Key> {
        match key {
            ObjectKey::Ident(ident) => Some(Key { text: ident.as_str().to_owned(), at: self.at(ident.span()) }),
            ObjectKey::Expression(expression) => {
                let Given { value, at } = self.value(expression, diagnostics);
                let text = match value {
                    Value::Text(text) | Value::Number(text) => text,
                    // As keys, HCL's keywords are words like any other.
                    Value::Bool(value) => value.to_string(),
                    Value::Null => "null".to_owned(),
                    Value::List(_) | Value::Map(_) => {
                        self.refuse("a compound key", at, diagnostics);
                        return None;
                    }
                    Value::Invalid => return None,
                };
                Some(Key { text, at })
            }
        }
    }

    /// Reports an expression that pgisle does not evaluate. The expression itself is not shown: it may be a password
    /// without its quotes.
    fn refuse(&self, what: &str, at: At, diagnostics: &mut Vec<Diagnostic>) -> Value {
        let hint = match what {
            "a reference" => "Text stands in quotes. References belong to Terraform; write the value, or pass it with -var.",
            "a template" => "Write the value itself, or pass it with -var. A literal ${ is written $${.",
            _ => "Write the value itself, or pass it with -var.",
        };
        diagnostics.push(
            Diagnostic::error(Code::SPEC_EXPRESSION, format!("the value is {what}, and pgisle takes plain values"))
                .at(self.texts.place(at))
                .hint(hint),
        );
        Value::Invalid
    }
}

/// The text of a template without interpolation or directive.
fn literal(template: &Template) -> Option<String> {
    template
        .iter()
        .map(|element| match element {
            Element::Literal(text) => Some(text.value().as_str()),
            Element::Interpolation(_) | Element::Directive(_) => None,
        })
        .collect()
}
