//! The `pgisle` command. Everything is in the library, so that tests and the project's own chores can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgisle_cli::run(std::env::args_os())
}
