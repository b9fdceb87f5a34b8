//! The command line of pgisle.
//!
//! It holds no rule about databases: a command reads its arguments, calls the engine, and gives a [`report::Report`] back;
//! [`console::Console`] is the one place that prints, [`exit::Exit`] the one table of exit codes.

mod args;
mod command;
mod console;
mod exit;
mod fault;
mod progress;
mod project;
mod report;
mod serve;
mod session;
mod view;
mod watching;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, dash, usage};
use crate::console::{Console, Format};
use crate::exit::Exit;
use crate::session::Session;

/// Runs one command line, the program's name first, and says how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = dash::normalise(&Cli::command(), arguments);
    // What the user asked of the output must be known even when the rest cannot be parsed, or panics.
    let wish = console::Wish::guess(&arguments);
    fault::install_hook(command::name_in(&arguments));
    let exit = fault::guard(|| dispatch(arguments, wish)).unwrap_or_else(|| {
        if wish.format == Format::Json {
            let console = Console::new(wish);
            console.finish(command::UNKNOWN, report::Report::failure(fault::diagnostic()));
        }
        Exit::Bug
    });
    exit.into()
}

/// The reference of the whole command line, as Markdown: `docs/reference/cli.md`.
#[must_use]
pub fn reference() -> String {
    view::markdown::reference(&Cli::command())
}

fn dispatch(arguments: Vec<OsString>, wish: console::Wish) -> Exit {
    let name = command::name_in(&arguments);
    match Cli::try_parse_from(arguments) {
        Ok(cli) => {
            let console = Console::new(console::Wish { verbosity: cli.global.verbosity(), ..wish });
            command::run(Session::new(console, cli.global), cli.command)
        }
        Err(error) => usage::finish(&Console::new(wish), name, &error),
    }
}
