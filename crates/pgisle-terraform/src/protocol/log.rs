//! What is logged: on standard error, which Terraform reads line by line and shows with `TF_LOG`. Standard output belongs to the
//! handshake. Neither may ever hold a value.

use std::fmt::Arguments;
use std::io::Write as _;

/// Something went wrong.
pub(super) fn error(text: Arguments<'_>) {
    line("ERROR", text);
}

/// For whoever looks for the cause of something.
pub(super) fn debug(text: Arguments<'_>) {
    line("DEBUG", text);
}

/// go-plugin takes the level from the brackets.
fn line(level: &str, text: Arguments<'_>) {
    let line = format!("[{level}] {text}\n");
    // Whoever reads it may have gone.
    let _unread = std::io::stderr().write_all(line.as_bytes());
}
