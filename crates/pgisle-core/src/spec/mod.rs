//! What is wanted: the settings and services of one environment, parsed, layered and validated.
//!
//! A [`Spec`] is free of secrets and can be saved; what the user gave of passwords travels beside it in [`SpecSecrets`].

mod model;

pub use model::{
    Access, ConnectionLimit, Environment, MonitoringAccess, PoolMode, Replica, ReplicaMode, Service, Settings, Spec, SpecSecrets,
    SslMode,
};
