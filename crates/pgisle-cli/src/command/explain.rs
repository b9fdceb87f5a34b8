//! `pgisle explain CODE`.

use pgisle_core::diagnostic::{Code, CodeInfo, Diagnostic, all_codes, code_info};
use serde_json::json;

use crate::exit::Exit;
use crate::report::Report;
use crate::view::human;

/// Explain a diagnostic code.
///
/// Every error, warning and note carries a code, such as PI0103. The code is stable; the text may get better. Without a code,
/// all of them are listed.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle explain PI0401
  PI0401: another run holds the lock

  Two runs at once would undo each other's work, so only one may change the
  cluster. Wait for it (-lock-timeout), or end it.

  pgisle exits with 75 when this is what stopped it.")]
pub(crate) struct Args {
    /// The code, in any case.
    code: Option<String>,
}

pub(crate) fn run(args: &Args) -> Report {
    let Some(code) = &args.code else {
        return Report::new()
            .human(human::explanation::list(all_codes()))
            .member("codes", all_codes().iter().map(value).collect::<Vec<_>>());
    };
    match code_info(code.trim()) {
        Some(info) => {
            let exit = Exit::of_code(info.code);
            Report::new().human(human::explanation::one(info, exit)).member("code", value(info))
        }
        None => Report::failure(
            Diagnostic::error(Code::USAGE, format!("there is no diagnostic code \"{code}\""))
                .hint("Codes look like PI0103. All of them:")
                .command("pgisle explain"),
        ),
    }
}

fn value(info: &CodeInfo) -> serde_json::Value {
    let CodeInfo { code, title, explanation } = info;
    json!({ "code": code, "title": title, "explanation": explanation, "exit_code": Exit::of_code(*code).number() })
}
