//! `pgisle completions SHELL`.

use clap::{CommandFactory, ValueEnum};

use crate::args::Cli;
use crate::report::Report;

/// Print the completion script of a shell.
///
/// The script completes commands, options and their values. It is printed, not installed: put it where your shell looks.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle completions bash > ~/.local/share/bash-completion/completions/pgisle
  $ pgisle completions zsh > ~/.zfunc/_pgisle
  $ pgisle completions fish > ~/.config/fish/completions/pgisle.fish")]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

#[derive(Clone, Copy, ValueEnum)]
#[expect(clippy::enum_variant_names, reason = "PowerShell's name ends so")]
enum Shell {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}

pub(crate) fn run(args: &Args) -> Report {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Elvish => clap_complete::Shell::Elvish,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::PowerShell => clap_complete::Shell::PowerShell,
        Shell::Zsh => clap_complete::Shell::Zsh,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pgisle", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Report::new().human(&script).member("script", script)
}
