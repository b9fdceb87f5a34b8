//! The Terraform provider: translates between Terraform and the engine, and knows no rule about databases.
//!
//! [`serve`] speaks with Terraform (tfplugin6 over gRPC, as `go-plugin` does) and turns everything into calls of a [`Provider`];
//! [`pgisle`] implements it with calls of the engine.

mod artifacts;
mod blocks;
mod data;
mod finding;
mod monitoring;
mod pgisle;
mod protocol;
mod provider;
mod queue;
mod reference;
mod schema;
mod service;
mod site;
mod translate;
mod value;
mod worker;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

pub use protocol::serve;
pub use provider::{Change, Finding, Planned, Provider, Stated};
pub use schema::{Attribute, Block, Given, Nested, ProviderSchema, Type};
pub use value::{Path, Step, Value};

/// What configurations call the provider when they do not say where it comes from.
const ADDRESS: &str = "registry.terraform.io/pgisle/pgisle";

/// The argument that prints the reference's page, for `cargo xtask gen`.
const REFERENCE: &str = "-reference";

/// Runs the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|argument| argument == REFERENCE) {
        let written = io::stdout().write_all(reference::markdown().as_bytes());
        return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    serve(arguments, ADDRESS, pgisle::Pgisle::new)
}
