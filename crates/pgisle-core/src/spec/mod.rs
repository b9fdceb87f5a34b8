//! What is wanted: the settings and services of one environment, parsed, layered and validated.
//!
//! A [`Spec`] is free of secrets and can be saved; what the user gave of passwords travels beside it in [`SpecSecrets`].
//!
//! The caller reads files and variables into [`Sources`]; [`load()`] makes them a spec, or says everything that is wrong
//! with them. One table, [`settings()`], knows every setting's name, type, range and default; reading, checking,
//! suggestions and the reference follow from it.

mod check;
mod clash;
mod format;
mod hcl;
mod layer;
mod load;
mod model;
mod parameter;
mod reference;
mod resolved;
mod scaffold;
mod scan;
mod service;
mod setting;
mod source;
mod suggestion;
mod syntax;
mod text;
mod typed;
mod value;

pub use check::Check;
pub use format::format;
pub use hcl::{hcl_text, hcl_value};
pub use load::{Loaded, Origin, load};
pub use model::{
    Access, ConnectionLimit, Environment, HostPort, MonitoringAccess, PoolMode, Replica, ReplicaMode, Service, Settings, Spec,
    SpecSecrets, SslMode,
};
pub use reference::reference_markdown;
pub use scaffold::{ScaffoldOptions, scaffold};
pub use setting::{SettingDefault, SettingGroup, SettingInfo, SettingKind, settings};
pub use source::{Layer, LayerKind, SPEC_FILE, Sources};
