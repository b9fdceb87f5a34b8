//! The messages of tfplugin6, up to 6.8: those that are used, with those of their fields that are.
//!
//! The numbers are the contract. Fields that are not here are skipped when they come, as protobuf has it.

use std::collections::BTreeMap;

use prost::Message;

/// [`Diagnostic::severity`] of what stops Terraform.
pub(super) const SEVERITY_ERROR: i32 = 1;

/// [`Diagnostic::severity`] of the rest.
pub(super) const SEVERITY_WARNING: i32 = 2;

/// `description_kind`.
pub(super) const MARKDOWN: i32 = 1;

/// [`NestedBlock::nesting`] of a block that is there once at most.
pub(super) const NESTING_SINGLE: i32 = 1;

/// [`Health::status`] of a server that serves.
pub(super) const SERVING: i32 = 1;

/// A message without fields, or whose fields do not matter.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Health {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// A value, in one of two encodings.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct DynamicValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) msgpack: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) json: Vec<u8>,
}

/// A value as the state file has it.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct RawState {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) json: Vec<u8>,
}

// Any value may hold a password.
impl std::fmt::Debug for DynamicValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DynamicValue")
    }
}

impl std::fmt::Debug for RawState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawState")
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Diagnostic {
    #[prost(int32, tag = "1")]
    pub(super) severity: i32,
    #[prost(string, tag = "2")]
    pub(super) summary: String,
    #[prost(string, tag = "3")]
    pub(super) detail: String,
    #[prost(message, optional, tag = "4")]
    pub(super) attribute: Option<AttributePath>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AttributePath {
    #[prost(message, repeated, tag = "1")]
    pub(super) steps: Vec<PathStep>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PathStep {
    #[prost(oneof = "Selector", tags = "1, 2, 3")]
    pub(super) selector: Option<Selector>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Selector {
    #[prost(string, tag = "1")]
    AttributeName(String),
    #[prost(string, tag = "2")]
    ElementKeyString(String),
    #[prost(int64, tag = "3")]
    ElementKeyInt(i64),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Schema {
    #[prost(int64, tag = "1")]
    pub(super) version: i64,
    #[prost(message, optional, tag = "2")]
    pub(super) block: Option<Block>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Block {
    #[prost(message, repeated, tag = "2")]
    pub(super) attributes: Vec<Attribute>,
    #[prost(message, repeated, tag = "3")]
    pub(super) block_types: Vec<NestedBlock>,
    #[prost(string, tag = "4")]
    pub(super) description: String,
    #[prost(int32, tag = "5")]
    pub(super) description_kind: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// The type, as JSON.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) kind: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(super) description: String,
    #[prost(bool, tag = "4")]
    pub(super) required: bool,
    #[prost(bool, tag = "5")]
    pub(super) optional: bool,
    #[prost(bool, tag = "6")]
    pub(super) computed: bool,
    #[prost(bool, tag = "7")]
    pub(super) sensitive: bool,
    #[prost(int32, tag = "8")]
    pub(super) description_kind: i32,
    #[prost(bool, tag = "11")]
    pub(super) write_only: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NestedBlock {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) block: Option<Block>,
    #[prost(int32, tag = "3")]
    pub(super) nesting: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ServerCapabilities {
    #[prost(bool, tag = "1")]
    pub(super) plan_destroy: bool,
    #[prost(bool, tag = "2")]
    pub(super) get_provider_schema_optional: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ClientCapabilities {
    #[prost(bool, tag = "2")]
    pub(super) write_only_attributes_allowed: bool,
}

/// The name of a resource or of a data source.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TypeName {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetadataResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) server_capabilities: Option<ServerCapabilities>,
    #[prost(message, repeated, tag = "2")]
    pub(super) diagnostics: Vec<Diagnostic>,
    #[prost(message, repeated, tag = "3")]
    pub(super) data_sources: Vec<TypeName>,
    #[prost(message, repeated, tag = "4")]
    pub(super) resources: Vec<TypeName>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SchemaResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) provider: Option<Schema>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(super) resource_schemas: BTreeMap<String, Schema>,
    #[prost(btree_map = "string, message", tag = "3")]
    pub(super) data_source_schemas: BTreeMap<String, Schema>,
    #[prost(message, repeated, tag = "4")]
    pub(super) diagnostics: Vec<Diagnostic>,
    #[prost(message, optional, tag = "6")]
    pub(super) server_capabilities: Option<ServerCapabilities>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ValidateProviderRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) config: Option<DynamicValue>,
}

/// The answer to `ValidateProviderConfig`, and to `GetFunctions` when there are none.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValidateProviderResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// `ValidateResourceConfig` and `ValidateDataResourceConfig`, which has no capabilities.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValidateRequest {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) config: Option<DynamicValue>,
    #[prost(message, optional, tag = "3")]
    pub(super) client_capabilities: Option<ClientCapabilities>,
}

/// The answer to those, and to `ConfigureProvider`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValidateResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfigureRequest {
    #[prost(string, tag = "1")]
    pub(super) terraform_version: String,
    #[prost(message, optional, tag = "2")]
    pub(super) config: Option<DynamicValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct UpgradeRequest {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
    #[prost(int64, tag = "2")]
    pub(super) version: i64,
    #[prost(message, optional, tag = "3")]
    pub(super) raw_state: Option<RawState>,
}

/// The answer to `UpgradeResourceState`, and to `MoveResourceState`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct UpgradeResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) upgraded_state: Option<DynamicValue>,
    #[prost(message, repeated, tag = "2")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadRequest {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) current_state: Option<DynamicValue>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) private: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) new_state: Option<DynamicValue>,
    #[prost(message, repeated, tag = "2")]
    pub(super) diagnostics: Vec<Diagnostic>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) private: Vec<u8>,
}

/// `PlanResourceChange` and `ApplyResourceChange`: what is proposed in the one is planned in the other.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ChangeRequest {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) prior_state: Option<DynamicValue>,
    #[prost(message, optional, tag = "3")]
    pub(super) planned_state: Option<DynamicValue>,
    #[prost(message, optional, tag = "4")]
    pub(super) config: Option<DynamicValue>,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) private: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PlanResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) planned_state: Option<DynamicValue>,
    #[prost(message, repeated, tag = "2")]
    pub(super) requires_replace: Vec<AttributePath>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) planned_private: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ApplyResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) new_state: Option<DynamicValue>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) private: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ImportRequest {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ImportedResource {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) state: Option<DynamicValue>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) private: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ImportResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) imported_resources: Vec<ImportedResource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MoveRequest {
    #[prost(string, tag = "2")]
    pub(super) source_type_name: String,
    #[prost(string, tag = "5")]
    pub(super) target_type_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadDataRequest {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) config: Option<DynamicValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadDataResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) state: Option<DynamicValue>,
    #[prost(message, repeated, tag = "2")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StopResponse {
    #[prost(string, tag = "1")]
    pub(super) error: String,
}
