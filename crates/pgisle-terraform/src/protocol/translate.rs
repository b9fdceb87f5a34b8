//! Between the messages and what a provider knows: schemas, findings, values.

use super::msgpack::Misfit;
use super::{json, msgpack, wire};
use crate::provider::Finding;
use crate::schema::{Attribute, Block, Given, Nested, ProviderSchema, Type};
use crate::value::{Path, Step, Value};

/// Everything that a provider has.
pub(super) fn schema(schema: &ProviderSchema) -> wire::SchemaResponse {
    let ProviderSchema { provider, resources, data_sources } = schema;
    wire::SchemaResponse {
        provider: Some(top(provider)),
        resource_schemas: resources.iter().map(|(name, block)| (name.clone(), top(block))).collect(),
        data_source_schemas: data_sources.iter().map(|(name, block)| (name.clone(), top(block))).collect(),
        diagnostics: Vec::new(),
        server_capabilities: Some(capabilities()),
    }
}

/// What it has, by name alone.
pub(super) fn metadata(schema: &ProviderSchema) -> wire::MetadataResponse {
    let name = |name: &String| wire::TypeName { type_name: name.clone() };
    wire::MetadataResponse {
        server_capabilities: Some(capabilities()),
        diagnostics: Vec::new(),
        data_sources: schema.data_sources.keys().map(name).collect(),
        resources: schema.resources.keys().map(name).collect(),
    }
}

/// A destruction is planned too, so that its plan can say what it comes to; and a schema that is known need not be asked for.
fn capabilities() -> wire::ServerCapabilities {
    wire::ServerCapabilities { plan_destroy: true, get_provider_schema_optional: true }
}

fn top(block: &Block) -> wire::Schema {
    wire::Schema { version: 0, block: Some(wire_block(block)) }
}

fn wire_block(block: &Block) -> wire::Block {
    let Block { attributes, blocks, description } = block;
    wire::Block {
        attributes: attributes.iter().map(attribute).collect(),
        block_types: blocks.iter().map(nested).collect(),
        description: description.clone(),
        description_kind: wire::MARKDOWN,
    }
}

fn nested(nested: &Nested) -> wire::NestedBlock {
    let Nested { name, block } = nested;
    wire::NestedBlock { type_name: name.clone(), block: Some(wire_block(block)), nesting: wire::NESTING_SINGLE }
}

fn attribute(attribute: &Attribute) -> wire::Attribute {
    let Attribute { name, kind, given, is_sensitive, is_write_only, description } = attribute;
    wire::Attribute {
        name: name.clone(),
        kind: json::of_type(kind).to_string().into_bytes(),
        description: description.clone(),
        required: *given == Given::Required,
        optional: matches!(given, Given::Optional | Given::OptionalComputed),
        computed: matches!(given, Given::Computed | Given::OptionalComputed),
        sensitive: *is_sensitive,
        description_kind: wire::MARKDOWN,
        write_only: *is_write_only,
    }
}

/// What is told to the user.
pub(super) fn diagnostics(findings: Vec<Finding>) -> Vec<wire::Diagnostic> {
    findings.into_iter().map(diagnostic).collect()
}

fn diagnostic(finding: Finding) -> wire::Diagnostic {
    let Finding { is_error, summary, detail, path } = finding;
    let severity = if is_error { wire::SEVERITY_ERROR } else { wire::SEVERITY_WARNING };
    wire::Diagnostic { severity, summary, detail, attribute: path.as_ref().and_then(attribute_path) }
}

/// An error that is about no finding of the provider.
pub(super) fn error(summary: impl Into<String>, detail: impl Into<String>) -> wire::Diagnostic {
    let (summary, detail) = (summary.into(), detail.into());
    wire::Diagnostic { severity: wire::SEVERITY_ERROR, summary, detail, attribute: None }
}

/// None for what is about the whole.
pub(super) fn attribute_path(path: &Path) -> Option<wire::AttributePath> {
    let step = |step: &Step| wire::PathStep {
        selector: Some(match step {
            Step::Attribute(name) => wire::Selector::AttributeName(name.clone()),
            Step::Key(key) => wire::Selector::ElementKeyString(key.clone()),
            Step::Index(index) => wire::Selector::ElementKeyInt(*index),
        }),
    };
    (!path.0.is_empty()).then(|| wire::AttributePath { steps: path.0.iter().map(step).collect() })
}

/// A value that came. What did not come is null.
pub(super) fn value(encoded: Option<&wire::DynamicValue>, kind: &Type) -> Result<Value, wire::Diagnostic> {
    let Some(wire::DynamicValue { msgpack, json }) = encoded else { return Ok(Value::Null) };
    let read = if msgpack.is_empty() && !json.is_empty() { json::read(json, kind) } else { msgpack::read(msgpack, kind) };
    read.map_err(|misfit| misfit_error("a value from Terraform does not fit the provider's schema", misfit))
}

/// A value that goes.
pub(super) fn encoded(value: &Value, kind: &Type) -> Result<Option<wire::DynamicValue>, wire::Diagnostic> {
    let msgpack = msgpack::write(value, kind);
    let msgpack = msgpack.map_err(|misfit| misfit_error("the provider made a value that does not fit its schema", misfit))?;
    Ok(Some(wire::DynamicValue { msgpack, json: Vec::new() }))
}

pub(super) fn misfit_error(summary: &str, misfit: Misfit) -> wire::Diagnostic {
    let Misfit { what, path } = misfit;
    let detail =
        format!("At this place {what}. This is a bug: please report it with the versions of Terraform and of the provider.");
    wire::Diagnostic { attribute: attribute_path(&path), ..error(summary, detail) }
}

/// The same value with every write-only attribute null, as plans and states must have it.
pub(super) fn without_write_only(mut value: Value, block: &Block) -> Value {
    if let Value::Map(elements) = &mut value {
        for attribute in block.attributes.iter().filter(|attribute| attribute.is_write_only) {
            elements.insert(attribute.name.clone(), Value::Null);
        }
        for Nested { name, block } in &block.blocks {
            if let Some(inner) = elements.get_mut(name) {
                *inner = without_write_only(std::mem::replace(inner, Value::Null), block);
            }
        }
    }
    value
}

/// Write-only attributes that are given a value.
pub(super) fn given_write_only(config: &Value, block: &Block) -> Vec<Path> {
    let Value::Map(elements) = config else { return Vec::new() };
    let is_given = |name: &str| elements.get(name).is_some_and(|value| *value != Value::Null);
    let own = block.attributes.iter().filter(|attribute| attribute.is_write_only && is_given(&attribute.name));
    let mut paths: Vec<Path> = own.map(|attribute| Path::attribute(&attribute.name)).collect();
    for Nested { name, block } in &block.blocks {
        let inner = elements.get(name).map_or_else(Vec::new, |value| given_write_only(value, block));
        paths.extend(inner.into_iter().map(|path| {
            let mut steps = Path::attribute(name);
            steps.0.extend(path.0);
            steps
        }));
    }
    paths
}
