//! The colours, and what they mean. Output must make sense without them.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use clap::builder::Styles;

/// Headings and what matters most.
pub(crate) const STRONG: Style = Style::new().bold();
/// What may be skipped.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// Created, proved, well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Changed, to be looked at.
pub(crate) const CHANGE: Style = AnsiColor::Yellow.on_default();
/// Removed, leaking, failed.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// Commands to paste and names to follow.
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default();

/// The colours of `-help`.
pub(crate) const HELP: Styles = Styles::styled()
    .header(STRONG)
    .usage(STRONG)
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(Style::new())
    .error(BAD.bold())
    .valid(GOOD)
    .invalid(CHANGE);

/// A text in a style.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// A text that came from a file, a server or the command line, made safe for a terminal: control characters are spelt out,
/// so that none can move the cursor or hide what follows. Line ends and tabs stay.
pub(crate) fn harmless(text: &str) -> String {
    if !text.chars().any(is_harmful) {
        return text.to_owned();
    }
    text.chars()
        .map(|character| if is_harmful(character) { character.escape_unicode().to_string() } else { character.to_string() })
        .collect()
}

fn is_harmful(character: char) -> bool {
    // Bidirectional overrides can make a text read as another one.
    let reorders = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    reorders || (character.is_control() && !matches!(character, '\n' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelt_out() {
        assert_eq!(harmless("a\tb\nc"), "a\tb\nc");
        assert_eq!(harmless("\u{1b}[2Jü\u{202e}"), "\\u{1b}[2Jü\\u{202e}");
    }
}
