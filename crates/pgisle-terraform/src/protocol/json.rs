//! Values and types as JSON: Terraform's state file has values so, and schemas have types so.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::msgpack::{Misfit, parse_number};
use crate::schema::Type;
use crate::value::{Step, Value};

/// The type as a schema tells it.
pub(super) fn of_type(kind: &Type) -> Json {
    match kind {
        Type::Bool => "bool".into(),
        Type::Number => "number".into(),
        Type::String => "string".into(),
        Type::List(of) => Json::Array(vec!["list".into(), of_type(of)]),
        Type::Map(of) => Json::Array(vec!["map".into(), of_type(of)]),
        Type::Object(attributes) => {
            let attributes = attributes.iter().map(|(name, kind)| (name.clone(), of_type(kind))).collect();
            Json::Array(vec!["object".into(), Json::Object(attributes)])
        }
    }
}

/// Reads a value. What an earlier version of the provider stored has perhaps not all attributes, or some that are gone: the missing
/// ones are null, and the others are left out.
pub(super) fn read(text: &[u8], kind: &Type) -> Result<Value, Misfit> {
    let json = serde_json::from_slice(text).map_err(|_| Misfit::new("the value is not JSON"))?;
    convert(json, kind)
}

fn convert(json: Json, kind: &Type) -> Result<Value, Misfit> {
    match (json, kind) {
        (Json::Null, _) => Ok(Value::Null),
        (Json::Bool(truth), Type::Bool) => Ok(Value::Bool(truth)),
        (Json::Number(number), Type::Number) => Ok(Value::Number(parse_number(&number.to_string())?)),
        (Json::String(text), Type::Number) => Ok(Value::Number(parse_number(&text)?)),
        (Json::String(text), Type::String) => Ok(Value::String(text)),
        (Json::Array(elements), Type::List(of)) => {
            let elements =
                (0..).zip(elements).map(|(index, element)| convert(element, of).map_err(|misfit| misfit.under(Step::Index(index))));
            Ok(Value::List(elements.collect::<Result<_, _>>()?))
        }
        (Json::Object(elements), Type::Map(of)) => {
            let elements = elements.into_iter().map(|(key, element)| match convert(element, of) {
                Ok(element) => Ok((key, element)),
                Err(misfit) => Err(misfit.under(Step::Key(key))),
            });
            Ok(Value::Map(elements.collect::<Result<_, _>>()?))
        }
        (Json::Object(mut elements), Type::Object(attributes)) => {
            let mut converted = BTreeMap::new();
            for (name, kind) in attributes {
                let element = elements.remove(name).unwrap_or(Json::Null);
                let element = convert(element, kind).map_err(|misfit| misfit.under(Step::Attribute(name.clone())))?;
                converted.insert(name.clone(), element);
            }
            Ok(Value::Map(converted))
        }
        _ => Err(Misfit::new("the value is not of the attribute's type")),
    }
}
