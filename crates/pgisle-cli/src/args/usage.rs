//! What clap has to say, in pgisle's words: help and version on standard output, mistakes as a diagnostic.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use pgisle_core::diagnostic::{Code, Diagnostic};

use crate::console::Console;
use crate::exit::Exit;
use crate::report::Report;
use crate::view::human::help;

/// Prints what clap answered instead of arguments, and says how that ends.
pub(crate) fn finish(console: &Console, command: &str, error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            console.show(&help::single_dash(&error.render().ansi().to_string()));
            Exit::Done
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            console.note(&help::single_dash(&error.render().ansi().to_string()));
            Exit::Usage
        }
        _ => console.finish(command, Report::failure(diagnostic(command, error))),
    }
}

fn diagnostic(command: &str, error: &clap::Error) -> Diagnostic {
    let context = |kind| texts(error.get(kind)).join(", ");
    let invalid = one_dash(&context(ContextKind::InvalidArg));
    let value = context(ContextKind::InvalidValue);
    let summary = match error.kind() {
        ErrorKind::InvalidSubcommand => format!("there is no command \"{}\"", context(ContextKind::InvalidSubcommand)),
        ErrorKind::MissingSubcommand => "a command is missing".to_owned(),
        ErrorKind::UnknownArgument if invalid.starts_with('-') => format!("there is no option \"{invalid}\" here"),
        ErrorKind::UnknownArgument => format!("there is one argument too many, \"{invalid}\""),
        ErrorKind::InvalidValue if value.is_empty() => format!("option \"{invalid}\" needs a value"),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => format!("value \"{value}\" does not fit \"{invalid}\""),
        ErrorKind::MissingRequiredArgument => format!("an argument is missing, {invalid}"),
        ErrorKind::ArgumentConflict => match one_dash(&context(ContextKind::PriorArg)) {
            prior if prior == invalid => format!("option \"{invalid}\" can be given once only"),
            prior => format!("option \"{invalid}\" cannot be used with \"{prior}\""),
        },
        ErrorKind::TooManyValues => format!("option \"{invalid}\" takes no value, and was given \"{value}\""),
        _ => first_line(error),
    };
    let mut diagnostic = Diagnostic::error(Code::USAGE, summary);
    if error.kind() == ErrorKind::ValueValidation
        && let Some(reason) = std::error::Error::source(error)
    {
        diagnostic = diagnostic.detail(sentence(&reason.to_string()));
    }
    if error.kind() == ErrorKind::InvalidValue
        && let words = texts(error.get(ContextKind::ValidValue))
        && !words.is_empty()
    {
        diagnostic = diagnostic.detail(format!("It takes one of {}.", words.join(", ")));
    }
    let suggested: Vec<String> = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
        .into_iter()
        .flat_map(|kind| texts(error.get(kind)))
        .collect();
    if !suggested.is_empty() {
        diagnostic = diagnostic.hint(format!("Did you mean {}?", one_dash(&suggested.join(" or "))));
    }
    diagnostic.command(if command.is_empty() { "pgisle help".to_owned() } else { format!("pgisle help {command}") })
}

fn texts(value: Option<&ContextValue>) -> Vec<String> {
    match value {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// `--out <FILE>` as pgisle writes it: `-out FILE`.
fn one_dash(text: &str) -> String {
    help::single_dash(text).replace(['<', '>'], "").replace("...", "")
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Clap's and our own reasons as a sentence.
fn sentence(reason: &str) -> String {
    let mut characters = reason.chars();
    characters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), characters.as_str()))
}
