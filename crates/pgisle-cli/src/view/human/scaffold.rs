//! What `init` shows.

use std::fmt::Write as _;

use super::style::{FAINT, GOOD, NAME, paint};
use crate::command::Fate;

/// The files, and what to do next.
pub(crate) fn files(fates: &[(String, Fate)]) -> String {
    let mut text = String::new();
    for (path, fate) in fates {
        let style = if *fate == Fate::Kept { FAINT } else { GOOD };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{}  {path}", paint(style, format_args!("{:<8}", fate.as_str())));
    }
    if fates.iter().all(|(_, fate)| *fate == Fate::Kept) {
        text.push_str("\nNothing was changed.\n");
        return text;
    }
    let _infallible = write!(
        text,
        "\nNext: edit pgisle.hcl, then look at what would be done, on a private cluster first:\n\n      {}\n      {}\n",
        paint(NAME, "pgisle dev up"),
        paint(NAME, "pgisle plan -dev")
    );
    text
}
