//! From a value in the file to a value of a setting's type.
//!
//! The conversions are Terraform's, because its users' files must load: `"5432"` is a number where a number is wanted, and
//! a number or truth value is a text where a text is wanted.

use std::collections::BTreeMap;

use hcl_edit::parser::parse_expr;

use crate::diagnostic::{Code, Diagnostic};

use super::check::Check;
use super::scan::scan;
use super::setting::{SettingInfo, SettingKind};
use super::suggestion::nearest;
use super::text::{At, Texts, quoted};
use super::value::{Evaluation, Given, Key, Value};

/// A value of a setting's type.
#[derive(Clone, PartialEq)]
pub(super) enum Typed {
    /// Not given, or given as null.
    Absent,
    Text(String),
    Integer(u64),
    Bool(bool),
    List(Vec<Item>),
    Map(BTreeMap<String, Item>),
}

/// An element of a list or map.
#[derive(Clone, PartialEq)]
pub(super) struct Item {
    pub(super) text: String,
    pub(super) at: At,
}

/// What a setting of one text takes.
const TEXT: &str = "a text";
const LIST: &str = "a list of texts";
const MAP: &str = "a map of texts";

/// Converts values, and collects what is wrong with them.
pub(super) struct Conversion<'a> {
    pub(super) texts: &'a Texts<'a>,
    pub(super) info: &'static SettingInfo,
    /// What the message is about, where the setting's name alone does not say it: `service "users"`.
    pub(super) subject: Option<&'a str>,
}

impl Conversion<'_> {
    /// The value as the setting's type; none when something is wrong, which is then reported.
    pub(super) fn convert(&self, given: &Given, diagnostics: &mut Vec<Diagnostic>) -> Option<Typed> {
        let Given { value, at } = given;
        match value {
            Value::Null => return Some(Typed::Absent),
            Value::Invalid => return None,
            _ => {}
        }
        match self.info.kind {
            SettingKind::Text(check) => {
                let text = self.text(value, *at, TEXT, diagnostics)?;
                if text.is_empty() && self.info.is_optional() {
                    return Some(Typed::Absent);
                }
                self.checked(check, &text, *at, diagnostics)?;
                Some(Typed::Text(text))
            }
            SettingKind::Word(words) => {
                let text = self.text(value, *at, TEXT, diagnostics)?;
                self.word(words, text, *at, diagnostics)
            }
            SettingKind::Integer { min, max } => self.integer(value, *at, min, max, diagnostics),
            SettingKind::Bool => self.truth(value, *at, diagnostics),
            SettingKind::List(check) => match value {
                Value::List(elements) => self.list(check, elements, diagnostics),
                _ => self.wrong_type(LIST, value, *at, diagnostics),
            },
            SettingKind::Map(check) => match value {
                Value::Map(entries) => self.map(check, entries, diagnostics),
                _ => self.wrong_type(MAP, value, *at, diagnostics),
            },
        }
    }

    fn word(&self, words: &[&str], text: String, at: At, diagnostics: &mut Vec<Diagnostic>) -> Option<Typed> {
        if words.contains(&text.as_str()) {
            return Some(Typed::Text(text));
        }
        let list = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let mut diagnostic = self
            .error(Code::SPEC_RANGE, "is none of the allowed words", at)
            .detail(format!("{} was given; allowed are {list}.", quoted(&text)));
        if let Some(near) = nearest(&text, words.iter().copied()) {
            diagnostic = diagnostic.hint(format!("Did you mean {near:?}?"));
        }
        diagnostics.push(diagnostic);
        None
    }

    fn truth(&self, value: &Value, at: At, diagnostics: &mut Vec<Diagnostic>) -> Option<Typed> {
        match value {
            Value::Bool(value) => Some(Typed::Bool(*value)),
            Value::Text(text) if matches!(text.trim(), "true" | "1") => Some(Typed::Bool(true)),
            Value::Text(text) if matches!(text.trim(), "false" | "0") => Some(Typed::Bool(false)),
            other => self.wrong_type("true or false", other, at, diagnostics),
        }
    }

    fn list(&self, check: Check, elements: &[Given], diagnostics: &mut Vec<Diagnostic>) -> Option<Typed> {
        let mut items: Vec<Item> = Vec::with_capacity(elements.len());
        for Given { value, at } in elements {
            let text = self.text(value, *at, LIST, diagnostics);
            if let Some(text) = text.filter(|text| self.checked(check, text, *at, diagnostics).is_some()) {
                items.push(Item { text, at: *at });
            }
        }
        // All elements are looked at, so that all that is wrong is reported; the list counts only when all are right.
        (items.len() == elements.len()).then_some(Typed::List(items))
    }

    fn map(&self, check: Check, entries: &[(Key, Given)], diagnostics: &mut Vec<Diagnostic>) -> Option<Typed> {
        let mut items = BTreeMap::new();
        let mut is_whole = true;
        for (Key { text: key, at: key_at }, Given { value, at }) in entries.iter().filter(|(_, given)| given.value != Value::Null) {
            if key.is_empty() || key.chars().any(char::is_control) {
                diagnostics.push(
                    self.error(Code::SPEC_NAME, "has a key that cannot be used", *key_at)
                        .detail(format!("{} is empty or contains a control character.", quoted(key))),
                );
                is_whole = false;
                continue;
            }
            let text = self.text(value, *at, MAP, diagnostics);
            match text.filter(|text| self.checked(check, text, *at, diagnostics).is_some()) {
                Some(text) => drop(items.insert(key.clone(), Item { text, at: *key_at })),
                None => is_whole = false,
            }
        }
        is_whole.then_some(Typed::Map(items))
    }

    /// The value that a raw text stands for, as an environment variable or `-var` gives it: itself, or for lists and maps
    /// the HCL expression that it is.
    pub(super) fn raw(&self, raw: &str, at: At, diagnostics: &mut Vec<Diagnostic>) -> Given {
        if !matches!(self.info.kind, SettingKind::List(_) | SettingKind::Map(_)) {
            return Given { value: Value::Text(raw.to_owned()), at };
        }
        let trimmed = raw.trim();
        let base = at.offset + (raw.len() - raw.trim_start().len());
        let parsed = if scan(trimmed).is_ok() { parse_expr(trimmed).ok() } else { None };
        match parsed {
            Some(expression) => {
                let huge_numbers = std::collections::BTreeSet::new();
                let evaluation = Evaluation { texts: self.texts, layer: at.layer, base, huge_numbers: &huge_numbers };
                evaluation.value(&expression, diagnostics)
            }
            None => {
                let example = match self.info.kind {
                    SettingKind::Map(_) => r#"{ name = "value" }"#,
                    _ => r#"["one", "two"]"#,
                };
                diagnostics.push(
                    self.error(Code::SPEC_VARIABLE, "cannot be read as HCL", at)
                        .hint(format!("Lists and maps are written as in a file: {example}.")),
                );
                Given { value: Value::Invalid, at }
            }
        }
    }

    fn error(&self, code: Code, what: &str, at: At) -> Diagnostic {
        let diagnostic = Diagnostic::error(code, format!("{:?} {what}", self.info.name)).at(self.texts.place(at));
        match self.subject {
            Some(subject) => diagnostic.about(subject),
            None => diagnostic,
        }
    }

    fn wrong_type(&self, wanted: &str, found: &Value, at: At, diagnostics: &mut Vec<Diagnostic>) -> Option<Typed> {
        // What is invalid is reported already.
        if *found != Value::Invalid {
            let kind = found.kind();
            diagnostics.push(self.error(Code::SPEC_TYPE, &format!("takes {wanted}"), at).detail(format!("{}.", sentence(kind))));
        }
        None
    }

    fn text(&self, value: &Value, at: At, wanted: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
        match value {
            Value::Text(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(number) if is_plain(number) => Some(number.clone()),
            // As Terraform: 1.10 is the text "1.1". A password that changes so is never what was meant.
            Value::Number(number) if !self.info.is_sensitive && canonical(number).is_some() => canonical(number),
            Value::Number(_) => {
                diagnostics.push(
                    self.error(Code::SPEC_TYPE, &format!("takes {wanted}"), at)
                        .detail("A number was given that would not be the same when written as text.")
                        .hint("Put it in quotes."),
                );
                None
            }
            Value::Invalid => None,
            other if wanted == TEXT => {
                self.wrong_type(wanted, other, at, diagnostics);
                None
            }
            other => {
                let diagnostic = self.error(Code::SPEC_TYPE, &format!("takes {wanted}"), at);
                diagnostics.push(diagnostic.detail(format!("One of its elements is {}.", other.kind())));
                None
            }
        }
    }

    fn checked(&self, check: Check, text: &str, at: At, diagnostics: &mut Vec<Diagnostic>) -> Option<()> {
        let refusal = match check.check(text) {
            Ok(()) => return Some(()),
            Err(refusal) => refusal,
        };
        let what = if refusal.code == Code::SPEC_NAME { "is a name that cannot be used" } else { "cannot be used" };
        let summary = if self.info.is_sensitive {
            format!("{:?} cannot be used", self.info.name)
        } else {
            format!("{:?}: {} {what}", self.info.name, quoted(text))
        };
        let diagnostic = Diagnostic::error(refusal.code, summary).at(self.texts.place(at)).detail(refusal.detail);
        diagnostics.push(match self.subject {
            Some(subject) => diagnostic.about(subject),
            None => diagnostic,
        });
        None
    }

    fn integer(&self, value: &Value, at: At, min: u64, max: u64, diagnostics: &mut Vec<Diagnostic>) -> Option<Typed> {
        let text = match value {
            Value::Number(number) => number.as_str(),
            Value::Text(text) => text.trim(),
            other => return self.wrong_type("a whole number", other, at, diagnostics),
        };
        let number = match whole_number(text) {
            Number::Whole(number) => number,
            Number::Fraction => {
                diagnostics.push(
                    self.error(Code::SPEC_TYPE, "takes a whole number", at).detail(format!("{} was given.", shown(value, text))),
                );
                return None;
            }
            Number::None => return self.wrong_type("a whole number", value, at, diagnostics),
        };
        match u64::try_from(number) {
            Ok(number) if (min..=max).contains(&number) => Some(Typed::Integer(number)),
            _ => {
                let range = format!("must be from {min} to {max}");
                diagnostics.push(self.error(Code::SPEC_RANGE, &range, at).detail(format!("{} was given.", shown(value, text))));
                None
            }
        }
    }
}

/// A number as the message shows it.
fn shown(value: &Value, text: &str) -> String {
    const DIGITS_SHOWN_MAX: usize = 40;
    match value {
        Value::Number(_) if text.len() <= DIGITS_SHOWN_MAX => text.to_owned(),
        Value::Number(_) => "A number of many digits".to_owned(),
        _ => quoted(text),
    }
}

enum Number {
    Whole(i128),
    Fraction,
    None,
}

/// The whole number that a text is; `1e2` is one, as in Terraform.
fn whole_number(text: &str) -> Number {
    // Doubles are exact up to here, and no setting takes more.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let looks_like_number =
        text.starts_with(|c: char| c.is_ascii_digit() || c == '-') && text.ends_with(|c: char| c.is_ascii_digit());
    if !looks_like_number {
        return Number::None;
    }
    if let Ok(number) = text.parse::<i128>() {
        return Number::Whole(number);
    }
    match text.parse::<f64>() {
        Ok(number) if number.fract() != 0.0 => Number::Fraction,
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and no larger than a double holds exactly")]
        Ok(number) if number.abs() <= EXACT_MAX => Number::Whole(number as i128),
        // Anything larger is out of every range, which is all that matters.
        Ok(number) if number < 0.0 => Number::Whole(-1),
        Ok(_) => Number::Whole(i128::MAX),
        Err(_) => Number::None,
    }
}

/// True when a number's text is the one way to write it, so that it survives as text.
fn is_plain(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "1"));
    let all_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    all_digits(whole)
        && all_digits(fraction)
        && (whole == "0" || !whole.starts_with('0'))
        && !fraction.ends_with('0')
        && digits.len() <= 15
}

/// The shortest way to write a number that is not too large to be written out.
fn canonical(number: &str) -> Option<String> {
    const DIGITS_MAX: usize = 15;
    let text = number.parse::<f64>().ok()?.to_string();
    (text.len() <= DIGITS_MAX).then_some(text)
}

fn sentence(kind: &str) -> String {
    let mut characters = kind.chars();
    let first: String = characters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{} was given", characters.as_str())
}
