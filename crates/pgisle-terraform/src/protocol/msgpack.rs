//! Values as msgpack, as Terraform's type system (cty) writes and reads them.
//!
//! The type leads: what does not fit is refused, so neither depth nor length is the sender's choice.

use std::collections::BTreeMap;

use rmp::Marker;
use rmp::encode::{write_array_len, write_bool, write_f64, write_map_len, write_nil, write_sint, write_str};

use crate::schema::Type;
use crate::value::{Path, Step, Value};

/// The extension of an unknown value.
const UNKNOWN: i8 = 0;

/// The extension of an unknown value of which something is known, such as that it will not be null.
const REFINED_UNKNOWN: i8 = 12;

/// Up to here every whole number is a 64-bit float, so that it can be told as an integer.
pub(super) const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Why a value cannot be read or written. It does not say what the value is: it may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Misfit {
    /// What is wrong, as a line.
    pub(super) what: String,
    /// Where.
    pub(super) path: Path,
}

impl Misfit {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), path: Path::default() }
    }

    /// The same, as seen from one step further out.
    pub(super) fn under(mut self, step: Step) -> Self {
        self.path.0.insert(0, step);
        self
    }
}

fn cut() -> Misfit {
    Misfit::new("the value is cut off")
}

/// Reads a value that is the whole of `bytes`.
pub(super) fn read(mut bytes: &[u8], kind: &Type) -> Result<Value, Misfit> {
    let value = read_value(&mut bytes, kind)?;
    if bytes.is_empty() { Ok(value) } else { Err(Misfit::new("something follows the value")) }
}

fn read_value(input: &mut &[u8], kind: &Type) -> Result<Value, Misfit> {
    let marker = read_marker(input)?;
    if marker == Marker::Null {
        return Ok(Value::Null);
    }
    if let Some(length) = extension_length(input, marker)? {
        let extension = i8::from_be_bytes(fixed(input)?);
        take(input, length)?;
        return match extension {
            UNKNOWN | REFINED_UNKNOWN => Ok(Value::Unknown),
            _ => Err(Misfit::new(format!("extension {extension} is not known"))),
        };
    }
    match kind {
        Type::Bool => match marker {
            Marker::True => Ok(Value::Bool(true)),
            Marker::False => Ok(Value::Bool(false)),
            _ => Err(Misfit::new("a bool is expected")),
        },
        Type::Number => read_number(input, marker),
        Type::String => Ok(Value::String(read_text(input, marker)?)),
        Type::List(of) => read_list(input, marker, of),
        Type::Map(of) => read_map(input, marker, of),
        Type::Object(attributes) => read_object(input, marker, attributes),
    }
}

/// None when it is no extension.
fn extension_length(input: &mut &[u8], marker: Marker) -> Result<Option<usize>, Misfit> {
    Ok(Some(match marker {
        Marker::FixExt1 => 1,
        Marker::FixExt2 => 2,
        Marker::FixExt4 => 4,
        Marker::FixExt8 => 8,
        Marker::FixExt16 => 16,
        Marker::Ext8 => usize::from(u8::from_be_bytes(fixed(input)?)),
        Marker::Ext16 => usize::from(u16::from_be_bytes(fixed(input)?)),
        Marker::Ext32 => u32::from_be_bytes(fixed(input)?) as usize,
        _ => return Ok(None),
    }))
}

fn read_marker(input: &mut &[u8]) -> Result<Marker, Misfit> {
    let [byte] = fixed(input)?;
    Ok(Marker::from_u8(byte))
}

fn fixed<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], Misfit> {
    let (taken, rest) = input.split_first_chunk().ok_or_else(cut)?;
    *input = rest;
    Ok(*taken)
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], Misfit> {
    let (taken, rest) = input.split_at_checked(length).ok_or_else(cut)?;
    *input = rest;
    Ok(taken)
}

/// Whole numbers come as integers, others as floats or, when no float is exactly that, as decimals.
fn read_number(input: &mut &[u8], marker: Marker) -> Result<Value, Misfit> {
    #[expect(clippy::cast_precision_loss, reason = "what is that large is out of every attribute's range")]
    let number = match marker {
        Marker::FixPos(number) => f64::from(number),
        Marker::FixNeg(number) => f64::from(number),
        Marker::U8 => f64::from(u8::from_be_bytes(fixed(input)?)),
        Marker::U16 => f64::from(u16::from_be_bytes(fixed(input)?)),
        Marker::U32 => f64::from(u32::from_be_bytes(fixed(input)?)),
        Marker::U64 => u64::from_be_bytes(fixed(input)?) as f64,
        Marker::I8 => f64::from(i8::from_be_bytes(fixed(input)?)),
        Marker::I16 => f64::from(i16::from_be_bytes(fixed(input)?)),
        Marker::I32 => f64::from(i32::from_be_bytes(fixed(input)?)),
        Marker::I64 => i64::from_be_bytes(fixed(input)?) as f64,
        Marker::F32 => f64::from(f32::from_be_bytes(fixed(input)?)),
        Marker::F64 => f64::from_be_bytes(fixed(input)?),
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => parse_number(&read_text(input, marker)?)?,
        _ => return Err(Misfit::new("a number is expected")),
    };
    if number.is_finite() { Ok(Value::Number(number)) } else { Err(Misfit::new("the number is not finite")) }
}

pub(super) fn parse_number(text: &str) -> Result<f64, Misfit> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| Misfit::new("a number is expected"))
}

fn read_text(input: &mut &[u8], marker: Marker) -> Result<String, Misfit> {
    let length = match marker {
        Marker::FixStr(length) => usize::from(length),
        Marker::Str8 => usize::from(u8::from_be_bytes(fixed(input)?)),
        Marker::Str16 => usize::from(u16::from_be_bytes(fixed(input)?)),
        Marker::Str32 => u32::from_be_bytes(fixed(input)?) as usize,
        _ => return Err(Misfit::new("a string is expected")),
    };
    let text = std::str::from_utf8(take(input, length)?).map_err(|_| Misfit::new("the string is not UTF-8"))?;
    Ok(text.to_owned())
}

fn read_key(input: &mut &[u8]) -> Result<String, Misfit> {
    let marker = read_marker(input)?;
    read_text(input, marker)
}

fn read_list(input: &mut &[u8], marker: Marker, of: &Type) -> Result<Value, Misfit> {
    let length = match marker {
        Marker::FixArray(length) => u32::from(length),
        Marker::Array16 => u32::from(u16::from_be_bytes(fixed(input)?)),
        Marker::Array32 => u32::from_be_bytes(fixed(input)?),
        _ => return Err(Misfit::new("a list is expected")),
    };
    // Grown as elements come, because the length is a claim.
    let mut elements = Vec::new();
    for index in 0..i64::from(length) {
        elements.push(read_value(input, of).map_err(|misfit| misfit.under(Step::Index(index)))?);
    }
    Ok(Value::List(elements))
}

fn read_map_length(input: &mut &[u8], marker: Marker, expected: &str) -> Result<u32, Misfit> {
    Ok(match marker {
        Marker::FixMap(length) => u32::from(length),
        Marker::Map16 => u32::from(u16::from_be_bytes(fixed(input)?)),
        Marker::Map32 => u32::from_be_bytes(fixed(input)?),
        _ => return Err(Misfit::new(expected)),
    })
}

fn read_map(input: &mut &[u8], marker: Marker, of: &Type) -> Result<Value, Misfit> {
    let mut elements = BTreeMap::new();
    for _ in 0..read_map_length(input, marker, "a map is expected")? {
        let key = read_key(input)?;
        let value = read_value(input, of).map_err(|misfit| misfit.under(Step::Key(key.clone())))?;
        if elements.insert(key, value).is_some() {
            return Err(Misfit::new("a key is there twice"));
        }
    }
    Ok(Value::Map(elements))
}

fn read_object(input: &mut &[u8], marker: Marker, attributes: &BTreeMap<String, Type>) -> Result<Value, Misfit> {
    let mut elements = BTreeMap::new();
    for _ in 0..read_map_length(input, marker, "an object is expected")? {
        let name = read_key(input)?;
        let Some(kind) = attributes.get(&name) else { return Err(Misfit::new("an attribute is not in the schema")) };
        let value = read_value(input, kind).map_err(|misfit| misfit.under(Step::Attribute(name.clone())))?;
        if elements.insert(name, value).is_some() {
            return Err(Misfit::new("an attribute is there twice"));
        }
    }
    match attributes.keys().find(|name| !elements.contains_key(*name)) {
        Some(missing) => Err(Misfit::new("the attribute is missing").under(Step::Attribute(missing.clone()))),
        None => Ok(Value::Map(elements)),
    }
}

/// Writes a value, if it is of this type.
pub(super) fn write(value: &Value, kind: &Type) -> Result<Vec<u8>, Misfit> {
    let mut out = Vec::new();
    write_value(&mut out, value, kind)?;
    Ok(out)
}

fn full<E>(_error: E) -> Misfit {
    Misfit::new("the value is too large")
}

fn count(length: usize) -> Result<u32, Misfit> {
    u32::try_from(length).map_err(full)
}

fn write_value(out: &mut Vec<u8>, value: &Value, kind: &Type) -> Result<(), Misfit> {
    match (value, kind) {
        (Value::Null, _) => write_nil(out).map_err(full),
        (Value::Unknown, _) => {
            out.extend([Marker::FixExt1.to_u8(), UNKNOWN.cast_unsigned(), 0]);
            Ok(())
        }
        (Value::Bool(truth), Type::Bool) => write_bool(out, *truth).map_err(full),
        (Value::Number(number), Type::Number) => write_number(out, *number),
        (Value::String(text), Type::String) => write_str(out, text).map_err(full),
        (Value::List(elements), Type::List(of)) => {
            write_array_len(out, count(elements.len())?).map_err(full)?;
            for (index, element) in (0..).zip(elements) {
                write_value(out, element, of).map_err(|misfit| misfit.under(Step::Index(index)))?;
            }
            Ok(())
        }
        (Value::Map(elements), Type::Map(of)) => {
            write_map_len(out, count(elements.len())?).map_err(full)?;
            for (key, element) in elements {
                write_str(out, key).map_err(full)?;
                write_value(out, element, of).map_err(|misfit| misfit.under(Step::Key(key.clone())))?;
            }
            Ok(())
        }
        (Value::Map(elements), Type::Object(attributes)) => write_object(out, elements, attributes),
        _ => Err(Misfit::new("the value is not of the attribute's type")),
    }
}

fn write_object(out: &mut Vec<u8>, elements: &BTreeMap<String, Value>, attributes: &BTreeMap<String, Type>) -> Result<(), Misfit> {
    if let Some(stranger) = elements.keys().find(|name| !attributes.contains_key(*name)) {
        return Err(Misfit::new("the attribute is not in the schema").under(Step::Attribute(stranger.clone())));
    }
    write_map_len(out, count(attributes.len())?).map_err(full)?;
    for (name, kind) in attributes {
        let here = |misfit: Misfit| misfit.under(Step::Attribute(name.clone()));
        let element = elements.get(name).ok_or_else(|| here(Misfit::new("the attribute is missing")))?;
        write_str(out, name).map_err(full)?;
        write_value(out, element, kind).map_err(here)?;
    }
    Ok(())
}

/// Terraform reckons in decimals: 0.1 told as a float is not 0.1 to it, so what is not whole is told in digits.
fn write_number(out: &mut Vec<u8>, number: f64) -> Result<(), Misfit> {
    if !number.is_finite() {
        return Err(Misfit::new("the number is not finite"));
    }
    if number.fract() != 0.0 {
        return write_str(out, &number.to_string()).map_err(full);
    }
    if number.abs() > WHOLE_MAX {
        return write_f64(out, number).map_err(full);
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within the range")]
    let whole = number as i64;
    write_sint(out, whole).map(drop).map_err(full)
}
