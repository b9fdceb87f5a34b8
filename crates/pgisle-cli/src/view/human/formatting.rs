//! What `fmt` shows.

use std::fmt::Write as _;

use super::style::{BAD, GOOD, harmless, paint};

/// A file that changes.
pub(crate) fn file(name: &str) -> String {
    format!("{}\n", harmless(name))
}

/// The lines that change. Formatting keeps lines and their order, but for runs of blank ones, so walking both texts side by
/// side is enough.
pub(crate) fn difference(before: &str, after: &str) -> String {
    let words = |line: &str| line.split_whitespace().collect::<String>();
    let mut text = String::new();
    let mut new = after.lines().peekable();
    for old in before.lines() {
        match new.peek() {
            Some(line) if words(line) == words(old) => {
                if *line != old {
                    // Writing to a String cannot fail, here and below.
                    let _infallible = writeln!(text, "{}", paint(BAD, format_args!("-{}", harmless(old))));
                    let _infallible = writeln!(text, "{}", paint(GOOD, format_args!("+{}", harmless(line))));
                }
                new.next();
            }
            _ => {
                let _infallible = writeln!(text, "{}", paint(BAD, format_args!("-{}", harmless(old))));
            }
        }
    }
    for line in new {
        let _infallible = writeln!(text, "{}", paint(GOOD, format_args!("+{}", harmless(line))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_shown_and_others_are_not() {
        let seen = difference("a=1\n\n\nbb  = 2\nc = 3\n", "a  = 1\n\nbb = 2\nc = 3\n");
        let plain = anstream::adapter::strip_str(&seen).to_string();
        assert_eq!(plain, "-a=1\n+a  = 1\n-\n-bb  = 2\n+bb = 2\n");
    }
}
