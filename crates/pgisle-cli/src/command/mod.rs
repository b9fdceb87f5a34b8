//! One file for each command: what it takes, with the text that teaches it, and one function that calls the engine.

mod adopt;
mod apply;
mod backup;
mod budget;
mod change;
mod completions;
mod destroy;
mod dev;
mod doctor;
mod explain;
mod export;
mod fmt;
mod import;
mod init;
mod man;
mod monitor;
mod output;
mod plan;
mod reference;
mod reload;
mod restore;
mod retire;
mod rotate;
mod serve;
mod split;
mod status;
mod validate;
mod verify;
mod version;

use std::ffi::OsString;

use std::future::Future;

use clap::Subcommand;
use pgisle_core::diagnostic::{Code, Diagnostic};

pub(crate) use init::Fate;

use crate::exit::Exit;
use crate::report::Report;
use crate::session::Session;

/// The commands, in the order in which a newcomer meets them.
#[derive(Subcommand)]
pub(crate) enum Command {
    Init(init::Args),
    Validate(validate::Args),
    Fmt(fmt::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Destroy(destroy::Args),
    Output(output::Args),
    Import(import::Args),
    Adopt(adopt::Args),
    Retire(retire::Args),
    Rotate(rotate::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Verify(verify::Args),
    Status(status::Args),
    Monitor(monitor::Args),
    Doctor(doctor::Args),
    Serve(serve::Args),
    Budget(budget::Args),
    Split(split::Args),
    Export(export::Args),
    Dev(dev::Args),
    Explain(explain::Args),
    Completions(completions::Args),
    Man(man::Args),
    Version(version::Args),
    #[command(hide = true)]
    Reference(reference::Args),
}

/// Their names, in the same order.
const NAMES: &[&str] = &[
    "init",
    "validate",
    "fmt",
    "plan",
    "apply",
    "destroy",
    "output",
    "import",
    "adopt",
    "retire",
    "rotate",
    "backup",
    "restore",
    "verify",
    "status",
    "monitor",
    "doctor",
    "serve",
    "budget",
    "split",
    "export",
    "dev",
    "explain",
    "completions",
    "man",
    "version",
    "reference",
];

/// What stands for the command where none was understood.
pub(crate) const UNKNOWN: &str = "";

/// The command that a normalised command line names, or [`UNKNOWN`].
pub(crate) fn name_in(arguments: &[OsString]) -> &'static str {
    arguments.iter().skip(1).find_map(|argument| NAMES.iter().find(|name| argument == **name)).copied().unwrap_or(UNKNOWN)
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Validate(_) => "validate",
            Self::Fmt(_) => "fmt",
            Self::Plan(_) => "plan",
            Self::Apply(_) => "apply",
            Self::Destroy(_) => "destroy",
            Self::Output(_) => "output",
            Self::Import(_) => "import",
            Self::Adopt(_) => "adopt",
            Self::Retire(_) => "retire",
            Self::Rotate(_) => "rotate",
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
            Self::Verify(_) => "verify",
            Self::Status(_) => "status",
            Self::Monitor(_) => "monitor",
            Self::Doctor(_) => "doctor",
            Self::Serve(_) => "serve",
            Self::Budget(_) => "budget",
            Self::Split(_) => "split",
            Self::Export(_) => "export",
            Self::Dev(_) => "dev",
            Self::Explain(_) => "explain",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
            Self::Version(_) => "version",
            Self::Reference(_) => "reference",
        }
    }
}

/// Runs a command and prints what it came to.
pub(crate) fn run(session: Session, command: Command) -> Exit {
    let name = command.name();
    let report = match session.enter_directory() {
        Ok(()) => report(&session, command),
        Err(diagnostics) => Report::failures(diagnostics),
    };
    session.console.finish(name, report)
}

fn report(session: &Session, command: Command) -> Report {
    match command {
        Command::Init(args) => init::run(&args),
        Command::Validate(args) => validate::run(session, &args),
        Command::Fmt(args) => fmt::run(&args),
        Command::Plan(args) => wait(plan::run(session, &args)),
        Command::Apply(args) => wait(apply::run(session, &args)),
        Command::Destroy(args) => wait(destroy::run(session, &args)),
        Command::Output(args) => wait(output::run(session, &args)),
        Command::Import(args) => wait(import::run(session, &args)),
        Command::Adopt(args) => wait(adopt::run(session, &args)),
        Command::Retire(args) => wait(retire::run(session, &args)),
        Command::Rotate(args) => wait(rotate::run(session, &args)),
        Command::Backup(args) => wait(backup::run(session, &args)),
        Command::Restore(args) => wait(restore::run(session, &args)),
        Command::Verify(args) => wait(verify::run(session, &args)),
        Command::Status(args) => wait(status::run(session, &args)),
        Command::Monitor(args) => until_stopped(monitor::run(session, &args)),
        Command::Doctor(args) => wait(doctor::run(session, &args)),
        Command::Serve(args) => until_stopped(serve::run(session, &args)),
        Command::Budget(args) => wait(budget::run(session, &args)),
        Command::Split(args) => wait(split::run(session, &args)),
        Command::Export(args) => export::run(session, &args).unwrap_or_else(Report::failures),
        Command::Dev(args) => wait(dev::run(session, &args)),
        Command::Explain(args) => explain::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Version(args) => version::run(&args),
        Command::Reference(args) => reference::run(&args),
    }
}

/// Runs a command that talks to a server. Interrupted, it lets go of everything it holds: the server undoes what is not whole.
fn wait(work: impl Future<Output = Result<Report, Vec<Diagnostic>>>) -> Report {
    until_stopped(async {
        tokio::select! {
            outcome = work => outcome,
            _ = tokio::signal::ctrl_c() => Err(vec![
                Diagnostic::error(Code::INTERRUPTED, "interrupted")
                    .detail("Every statement is either done or not done, and a database that is half made is closed.")
                    .hint("Run the same command again: it goes on where this one stopped."),
            ]),
        }
    })
}

/// Runs one that goes on until it is told to stop, which is no failure then.
fn until_stopped(work: impl Future<Output = Result<Report, Vec<Diagnostic>>>) -> Report {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => {
            return Report::failure(
                Diagnostic::error(Code::IO, "no event loop can be had").detail(format!("The system says: {source}.")),
            );
        }
    };
    runtime.block_on(work).unwrap_or_else(Report::failures)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn the_names_are_claps() {
        let cli = Cli::command();
        let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(names, NAMES);
    }

    #[test]
    fn every_command_teaches() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(command.get_about().is_some(), "{} says nothing", command.get_name());
            assert!(command.get_after_long_help().is_some(), "{} shows no example", command.get_name());
        }
    }
}
