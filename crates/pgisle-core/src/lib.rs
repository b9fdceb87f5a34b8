//! The pure part of pgisle.
//!
//! Text becomes a [`spec::Spec`], observation becomes an [`inventory::Inventory`], and [`plan::plan`] decides the ordered
//! steps that bring the one to the other. Nothing in this crate reads a file, a clock, the environment or a random number:
//! what it needs is an argument, and the same arguments give the same answer, byte for byte.

pub mod artifact;
pub mod backup;
pub mod budget;
pub mod credential;
pub mod diagnostic;
pub mod doctor;
pub mod duration;
pub mod export;
pub mod failover;
pub mod inventory;
pub mod load;
pub mod marker;
pub mod moment;
pub mod name;
pub mod output;
pub mod plan;
pub mod secret;
pub mod spec;
pub mod split;
pub mod sql;
pub mod status;
pub mod verify;
pub mod watch;
