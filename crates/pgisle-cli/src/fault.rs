//! What happens when pgisle itself is at fault: a panic becomes a diagnostic that asks for a report, and exit code 70.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

use pgisle_core::diagnostic::{Code, Diagnostic};

use crate::console::{Console, Wish};

/// Replaces Rust's own panic message. `command` is all that is told of the command line, because arguments can hold secrets.
pub(crate) fn install_hook(command: &'static str) {
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(|location| format!("{}:{}", location.file(), location.line()));
        let text = message(command, payload(info.payload()), place.as_deref().unwrap_or("an unknown place"));
        // A lock is never held across a panic of our own making; should writing fail too, there is nobody left to tell.
        Console::new(Wish::plain()).note(&text);
    }));
}

/// Runs `work`; none when it panicked.
pub(crate) fn guard<T>(work: impl FnOnce() -> T) -> Option<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The finding, for those who read JSON.
pub(crate) fn diagnostic() -> Diagnostic {
    Diagnostic::error(Code::BUG, "pgisle stopped where it must never stop")
        .detail(
            "The cluster is safe: every statement is either done or not done, and running the command again goes on from there.",
        )
        .hint("Report it with what pgisle printed on standard error, which holds neither passwords nor rows.")
}

fn payload(payload: &dyn Any) -> &str {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn message(command: &str, panic: &str, place: &str) -> String {
    format!(
        "{}
      pgisle {} on {}-{}, command {command}
      {place}: {panic}
",
        diagnostic(),
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_what_to_report_is_said() {
        // The hook is the whole process's, and other tests want theirs.
        let others = panic::take_hook();
        install_hook("plan");
        let caught = guard(|| -> u8 { panic!("the sky fell") });
        panic::set_hook(others);
        assert_eq!(caught, None);
        assert_eq!(guard(|| 7), Some(7));
        let text = message("plan", "the sky fell", "src/x.rs:1");
        assert!(text.starts_with("error[PI0903]: "), "{text}");
        assert!(text.contains("command plan") && text.contains("src/x.rs:1: the sky fell"), "{text}");
    }
}
