//! Terraform's way of writing options, brought into clap's: one dash before a long name, and options of every command on
//! either side of it.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

/// Rewrites a command line, the program's name first: `-json` becomes `--json`, and what stands before the command moves behind
/// it, where clap adds repeated options up instead of forgetting the first ones. From `--` on nothing is touched.
pub(crate) fn normalise(cli: &Command, arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut built = cli.clone();
    built.build();
    let mut arguments = arguments.into_iter();
    let mut command_line: Vec<OsString> = arguments.next().into_iter().collect();
    // Options of every command that were met before the command itself.
    let mut early: Vec<OsString> = Vec::new();
    let mut current = &built;

    while let Some(argument) = arguments.next() {
        if argument == "--" {
            command_line.append(&mut early);
            command_line.push(argument);
            command_line.extend(arguments);
            return command_line;
        }
        let argument = double_dash(current, argument);
        let option = find_option(current, &argument);
        // The value of an option is the next argument, whatever it looks like.
        let value = if option.is_some_and(takes_value) && !has_value(&argument) { arguments.next() } else { None };
        let place =
            if option.is_some_and(Arg::is_global_set) && current.has_subcommands() { &mut early } else { &mut command_line };
        place.push(argument);
        place.extend(value);
        if option.is_none()
            && let Some(next) = place.last().and_then(|name| current.find_subcommand(name))
        {
            current = next;
            if !current.has_subcommands() {
                command_line.append(&mut early);
            }
        }
    }
    command_line.append(&mut early);
    command_line
}

/// `-json` and `-var=x=y` with a second dash, unless it is a cluster of short options.
fn double_dash(command: &Command, argument: OsString) -> OsString {
    let Some(text) = argument.to_str() else { return argument };
    let Some(rest) = text.strip_prefix('-') else { return argument };
    let name = rest.split_once('=').map_or(rest, |(name, _)| name);
    let is_word = name.len() > 1 && name.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_cluster = name.chars().all(|character| command.get_arguments().any(|option| option.get_short() == Some(character)));
    if is_word && !is_cluster { format!("-{text}").into() } else { argument }
}

fn find_option<'c>(command: &'c Command, argument: &OsStr) -> Option<&'c Arg> {
    let name = argument.to_str()?.strip_prefix("--")?;
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    command.get_arguments().find(|option| option.get_long() == Some(name))
}

fn takes_value(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Set | ArgAction::Append)
}

fn has_value(argument: &OsStr) -> bool {
    argument.to_str().is_some_and(|text| text.contains('='))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn normalised(line: &str) -> String {
        let arguments = line.split(' ').map(OsString::from);
        let rewritten = normalise(&Cli::command(), arguments);
        rewritten.iter().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn command_lines() {
        for (given, expected) in [
            ("pgisle", "pgisle"),
            ("pgisle -help", "pgisle --help"),
            ("pgisle -h", "pgisle -h"),
            ("pgisle -V", "pgisle -V"),
            ("pgisle -version", "pgisle --version"),
            ("pgisle version -json", "pgisle version --json"),
            ("pgisle version --json", "pgisle version --json"),
            ("pgisle -chdir=x version", "pgisle version --chdir=x"),
            ("pgisle -chdir x version -var a=b", "pgisle version --chdir x --var a=b"),
            ("pgisle version -vv -q", "pgisle version -vv -q"),
            // A value is never an option.
            ("pgisle version -var -json", "pgisle version --var -json"),
            ("pgisle version -- -json", "pgisle version -- -json"),
            ("pgisle -json -- version -json", "pgisle --json -- version -json"),
            ("pgisle version -jsom", "pgisle version --jsom"),
            ("pgisle version -5 -", "pgisle version -5 -"),
            ("pgisle -json", "pgisle --json"),
        ] {
            assert_eq!(normalised(given), expected, "{given}");
        }
    }
}
