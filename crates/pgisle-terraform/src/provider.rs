//! What Terraform asks of a provider, and what it is answered, without the wire.

use std::future::Future;

use crate::schema::ProviderSchema;
use crate::value::{Path, Value};

/// Something to tell the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// True when it stops Terraform.
    pub is_error: bool,
    /// One line.
    pub summary: String,
    /// The rest; may be empty.
    pub detail: String,
    /// The attribute that it is about.
    pub path: Option<Path>,
}

/// A resource as it is, as the configuration wants it, and as it shall be.
#[derive(Debug)]
pub struct Change {
    /// Its type.
    pub type_name: String,
    /// As the state has it; null when it is to be made.
    pub prior: Value,
    /// While planning, what Terraform proposes; while applying, what was planned. Null when it is to go.
    pub planned: Value,
    /// As the configuration says; it alone has the write-only attributes.
    pub config: Value,
    /// What the provider keeps beside the state.
    pub private: Vec<u8>,
}

/// What is planned.
#[derive(Debug)]
pub struct Planned {
    /// As it shall be.
    pub state: Value,
    /// Attributes that cannot be changed in place.
    pub requires_replace: Vec<Path>,
    /// What the provider keeps beside the state.
    pub private: Vec<u8>,
    /// What is to be said.
    pub findings: Vec<Finding>,
}

/// A resource as it is now.
#[derive(Debug)]
pub struct Stated {
    /// Its state; null when it is not there.
    pub state: Value,
    /// What the provider keeps beside the state.
    pub private: Vec<u8>,
    /// What is to be said.
    pub findings: Vec<Finding>,
}

/// A provider. Values have exactly the shape of the schema's block, nested blocks included.
pub trait Provider: Send + Sync + 'static {
    /// What its blocks may say.
    fn schema(&self) -> &ProviderSchema;

    /// Looks at the provider's block, before anything else is known.
    fn validate_provider(&self, config: Value) -> impl Future<Output = Vec<Finding>> + Send;

    /// Takes the provider's block, in which not everything need be known while planning.
    fn configure(&self, config: Value, terraform_version: String) -> impl Future<Output = Vec<Finding>> + Send;

    /// Looks at a resource's block, before anything else is known.
    fn validate_resource(&self, type_name: String, config: Value) -> impl Future<Output = Vec<Finding>> + Send;

    /// Looks at a data source's block, before anything else is known.
    fn validate_data_source(&self, type_name: String, config: Value) -> impl Future<Output = Vec<Finding>> + Send;

    /// Looks a resource up.
    fn read(&self, type_name: String, current: Value, private: Vec<u8>) -> impl Future<Output = Stated> + Send;

    /// Says what a change comes to.
    fn plan(&self, change: Change) -> impl Future<Output = Planned> + Send;

    /// Makes a change.
    fn apply(&self, change: Change) -> impl Future<Output = Stated> + Send;

    /// Takes what is there into the state.
    fn import(&self, type_name: String, id: String) -> impl Future<Output = Stated> + Send;

    /// Reads a data source.
    fn read_data_source(&self, type_name: String, config: Value) -> impl Future<Output = (Value, Vec<Finding>)> + Send;

    /// Asks what runs to come to an end: Terraform was interrupted.
    fn stop(&self);
}
