//! The command line as types. What each command takes stands beside the command.

pub(crate) mod address;
pub(crate) mod dash;
pub(crate) mod usage;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser};
use pgisle_core::budget::PARALLELISM;

use crate::command::Command;
use crate::console::Verbosity;

/// Every service its own island: isolated databases on one PostgreSQL cluster, from one file.
///
/// You describe the services in pgisle.hcl. pgisle looks at the cluster, shows what it would change, changes it when you say
/// yes, and proves by logging in as each service that none of them reaches another.
///
/// The habits are Terraform's, and so are the options: one dash or two, `-var x=y` or `-var=x=y`.
#[derive(Parser)]
#[command(
    name = "pgisle",
    bin_name = "pgisle",
    version,
    styles = crate::view::human::style::HELP,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = false,
    max_term_width = 100,
    after_help = START
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const START: &str = "To begin:

  $ pgisle init            writes pgisle.hcl, to be edited
  $ pgisle dev up          starts a private cluster to try it on
  $ pgisle plan -dev       shows what would be done there
  $ pgisle apply -dev      does it
  $ pgisle verify -dev     proves the isolation

`pgisle help COMMAND` teaches each command; `pgisle explain CODE` each error.";

/// The options that every command takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Go to this folder first, as if pgisle had been started there.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) chdir: Option<PathBuf>,
    /// Print one JSON document on standard output, and nothing else there.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print without colour. NO_COLOR does the same.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Use the private cluster of `pgisle dev up`. PGISLE_DEV=1 does the same.
    #[arg(long, global = true)]
    pub(crate) dev: bool,
    /// Set one setting (can be repeated): -var postgres_port=5433
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    pub(crate) var: Vec<Assignment>,
    /// Read settings from a file of `name = value` lines (can be repeated; a later file wins).
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) var_file: Vec<PathBuf>,
    /// Databases to work on at the same time, 1 to 64.
    #[arg(long, global = true, value_name = "N", default_value_t = PARALLELISM, value_parser = parallelism)]
    pub(crate) parallelism: u16,
    /// How long to wait for another run to end, such as 30s or 5m.
    #[arg(long, global = true, value_name = "DURATION", default_value = "0s", value_parser = pgisle_core::duration::parse)]
    pub(crate) lock_timeout: Duration,
    /// Say nothing on standard error but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more: each step as it is done.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    /// How much is said.
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, _) => Verbosity::Verbose,
        }
    }

    /// True when the private cluster is meant.
    pub(crate) fn is_dev(&self) -> bool {
        self.dev || std::env::var_os("PGISLE_DEV").is_some_and(|value| !value.is_empty() && value != "0")
    }
}

/// More connections than this help no cluster, and may use up what its services need.
const PARALLELISM_MAX: u16 = 64;

fn parallelism(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(number @ 1..=PARALLELISM_MAX) => Ok(number),
        _ => Err(format!("it is a whole number from 1 to {PARALLELISM_MAX}")),
    }
}

/// One `-var`, as it was given. It may hold a password, so it is not shown by `Debug`, and only the spec reads it.
#[derive(Clone)]
pub(crate) struct Assignment(pub(crate) String);

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assignment(…)")
    }
}

impl From<String> for Assignment {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &[&str]) -> Cli {
        let arguments = line.iter().map(Into::into);
        Cli::try_parse_from(dash::normalise(&Cli::command(), arguments)).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        for line in [
            ["pgisle", "version", "-json", "-var", "a=b=c", "-parallelism=9", "-lock-timeout=1m"],
            ["pgisle", "version", "--json", "--var", "a=b=c", "--parallelism=9", "--lock-timeout=1m"],
            ["pgisle", "-json", "-var=a=b=c", "-parallelism", "9", "-lock-timeout=1m", "version"],
        ] {
            let global = parse(&line).global;
            assert!(global.json);
            assert_eq!(global.var[0].0, "a=b=c");
            assert_eq!((global.parallelism, global.lock_timeout), (9, Duration::from_secs(60)));
        }
    }

    #[test]
    fn repeated_options_add_up_on_both_sides_of_the_command() {
        let global = parse(&["pgisle", "-var", "a=1", "-var-file=x", "version", "-var", "b=2", "-var-file", "y"]).global;
        assert_eq!(global.var.iter().map(|var| var.0.as_str()).collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(global.var_file, [PathBuf::from("x"), PathBuf::from("y")]);
    }

    #[test]
    fn a_password_is_not_in_debug_output() {
        let global = parse(&["pgisle", "version", "-var", "postgres_password=hunter2"]).global;
        let text = format!("{global:?}");
        assert!(text.contains("Assignment") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn no_long_option_could_be_meant_as_a_cluster_of_short_ones() {
        fn visit(command: &clap::Command) {
            let shorts: Vec<char> = command.get_arguments().filter_map(clap::Arg::get_short).collect();
            for long in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(!long.chars().all(|character| shorts.contains(&character)), "{} -{long}", command.get_name());
            }
            command.get_subcommands().for_each(visit);
        }
        let mut command = Cli::command();
        command.build();
        visit(&command);
    }
}
