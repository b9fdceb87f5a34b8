//! How a text is written in each format, and nowhere else. Every function here has a property test that reads it back.
//!
//! None of these formats can hold every text in every place: see [`unwritable_character`] for what is refused before.

use std::fmt::Write as _;

/// The variable that stands for a backquote in the one case that no quoting covers: see [`environment_lines`].
const BACKQUOTE_VARIABLE: &str = "PGISLE_BACKQUOTE";

/// The first character that a password must not have: control characters end a line in an environment file, and a NUL ends a
/// string nearly everywhere.
#[must_use]
pub fn unwritable_character(text: &str) -> Option<char> {
    text.chars().find(|character| character.is_control())
}

/// Assignments that a POSIX shell (`set -a; . file`) and Docker Compose's own parser read alike.
///
/// Their common ground is small. In single quotes both take everything literally, but a single quote cannot be in them, and
/// Compose takes a backslash before the closing one for an escape. In double quotes both understand a backslash before `"`,
/// `\` and `$`; before a backquote only the shell does. So a text with both a single quote and a backquote (or a backslash at its
/// end and a backquote) takes the backquote from a variable, which both expand.
pub(crate) fn environment_lines(lines: &mut String, name: &str, value: &str) {
    if !value.contains('\'') && !value.ends_with('\\') {
        let _ = writeln!(lines, "{name}='{value}'");
        return;
    }
    if value.contains('`') && !lines.contains(&format!("\n{BACKQUOTE_VARIABLE}=")) {
        let _ = writeln!(lines, "{BACKQUOTE_VARIABLE}='`'");
    }
    let _ = write!(lines, "{name}=\"");
    for character in value.chars() {
        match character {
            '"' | '\\' | '$' => lines.extend(['\\', character]),
            '`' => {
                let _ = write!(lines, "${{{BACKQUOTE_VARIABLE}}}");
            }
            _ => lines.push(character),
        }
    }
    lines.push_str("\"\n");
}

/// One word of a command line for a POSIX shell.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-./:@%+=,".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A path for a command line, with a leading `~` left to the shell.
pub(crate) fn shell_path(path: &str) -> String {
    path.strip_prefix("~/").map_or_else(|| shell_word(path), |rest| format!("~/{}", shell_word(rest)))
}

/// One path of a list in a systemd unit. Command lines there have one more rule, for `$`, which this does not follow.
pub(crate) fn systemd_path(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%"))
}

/// Any part of a URL: everything but RFC 3986's unreserved characters is percent-encoded.
pub(crate) fn url_part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A YAML scalar that every parser, of YAML 1.1 or 1.2, takes for this text.
pub(crate) fn yaml_text(text: &str) -> String {
    // YAML 1.1 takes these for booleans and nothing, in any case; a few parsers still do.
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let starts_plain = text.chars().next().is_some_and(|first| first.is_ascii_alphabetic());
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_-./".contains(character);
    if starts_plain && text.chars().all(is_plain) && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return text.to_owned();
    }
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            // What YAML calls not printable or a line break, besides what is_control knows.
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ if character.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

/// A text in a Compose file, before it is a YAML scalar: Compose expands `$` in every one.
pub(crate) fn compose_text(text: &str) -> String {
    text.replace('$', "$$")
}

/// Whether a text can stand on the left of PgBouncer's `[databases]`. Its documentation speaks of quotes for other names; its
/// parser takes none (1.18, 1.24).
pub(crate) fn is_pgbouncer_key(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || "_.-".contains(character))
}

/// A value in a connection string of PgBouncer's `[databases]`.
pub(crate) fn pgbouncer_value(value: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-./:".contains(character);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', "''"))
}

/// A text in double quotes, with its own doubled: `userlist.txt` and `pg_hba.conf`, where quotes also take the special meaning
/// from words such as `all`.
pub(crate) fn double_quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A text in a cell of a Markdown table.
pub(crate) fn markdown_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '\\' | '`' | '*' | '_' | '<' | '[' => out.extend(['\\', character]),
            _ if character.is_control() => out.push(' '),
            _ => out.push(character),
        }
    }
    out
}

/// A value of a Kubernetes label: what cannot be in one becomes `-`, and it is cut at 63 characters.
pub(crate) fn label_value(text: &str) -> String {
    let kept = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let cut: String = text.chars().map(|character| if kept(character) { character } else { '-' }).take(63).collect();
    cut.trim_matches(|character: char| !character.is_ascii_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    /// Texts of the characters that quoting goes wrong on, and of any others.
    pub(crate) fn nasty_text() -> impl Strategy<Value = String> {
        let nasty = prop::sample::select(r#"'"`\\\$$!#=: %@/?&;|*~^{}[]<>(),-abcnrtvxu0189_é→😀"#.chars().collect::<Vec<_>>());
        let any = any::<char>().prop_filter("no control character", |character| !character.is_control());
        prop::collection::vec(prop_oneof![4 => nasty, 1 => any], 0..40).prop_map(|characters| characters.into_iter().collect())
    }

    /// Docker Compose's reading of one file, as its parser does it: quotes, then escapes, then variables.
    fn read_as_compose(text: &str) -> Vec<(String, String)> {
        let mut variables: Vec<(String, String)> = Vec::new();
        let mut rest = text;
        while let Some((name, after)) = rest.split_once('=') {
            let quote = after.chars().next().unwrap();
            let mut value = String::new();
            let mut escaped = false;
            let mut end = None;
            for (index, character) in after.char_indices().skip(1) {
                if character == quote && !escaped {
                    end = Some(index);
                    break;
                }
                match (character, escaped) {
                    ('\\', false) => escaped = true,
                    (_, true) if character == quote => {
                        value.push(character);
                        escaped = false;
                    }
                    (_, true) => {
                        value.extend(['\\', character]);
                        escaped = false;
                    }
                    _ => value.push(character),
                }
            }
            let end = end.expect("the quote is closed");
            if quote == '"' {
                value = expand_as_compose(&value, &variables);
            }
            variables.push((name.trim().to_owned(), value));
            rest = after[end + 1..].trim_start_matches('\n');
        }
        variables
    }

    fn expand_as_compose(value: &str, variables: &[(String, String)]) -> String {
        let mut out = String::new();
        let mut characters = value.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if characters.peek().is_some_and(|next| "abcfnrtv$\"\\0".contains(*next)) => {
                    let next = characters.next().unwrap();
                    assert!("$\"\\".contains(next), "an escape that was not meant: \\{next}");
                    out.push(next);
                }
                '$' => {
                    assert_eq!(characters.next(), Some('{'), "a variable that was not meant");
                    let name: String = characters.by_ref().take_while(|character| *character != '}').collect();
                    out.push_str(&variables.iter().find(|(known, _)| *known == name).unwrap().1);
                }
                _ => out.push(character),
            }
        }
        out
    }

    fn percent_decoded(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            } else {
                bytes.push(byte);
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn compose_reads_an_environment_value_back(first in nasty_text(), second in nasty_text()) {
            let mut lines = String::from("\n");
            environment_lines(&mut lines, "FIRST", &first);
            environment_lines(&mut lines, "SECOND", &second);
            let read = read_as_compose(&lines);
            let of = |name: &str| read.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            prop_assert_eq!(of("FIRST"), Some(first.as_str()), "{}", lines);
            prop_assert_eq!(of("SECOND"), Some(second.as_str()), "{}", lines);
        }

        #[test]
        fn a_url_part_reads_back(text in nasty_text()) {
            let part = url_part(&text);
            prop_assert!(part.chars().all(|character| character.is_ascii_alphanumeric() || "-._~%".contains(character)));
            prop_assert_eq!(percent_decoded(&part), text);
        }

        #[test]
        fn yaml_reads_a_text_back(text in prop_oneof![nasty_text(), ".*", "[yYnNtf~.0-9a-z:-]{0,5}"]) {
            let yaml = format!("key: {}\n", yaml_text(&text));
            let read: std::collections::BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(&yaml).unwrap();
            prop_assert_eq!(&read["key"], &serde_json::Value::String(text), "{}", yaml);
        }

        #[test]
        fn doubled_quotes_read_back(text in nasty_text()) {
            let quoted = double_quoted(&text);
            let inner = quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            prop_assert!(!inner.replace("\"\"", "").contains('"'));
            prop_assert_eq!(inner.replace("\"\"", "\""), text);
        }

        #[test]
        fn a_pgbouncer_value_reads_back(text in nasty_text()) {
            let value = pgbouncer_value(&text);
            let read = match value.strip_prefix('\'') {
                Some(quoted) => {
                    let inner = quoted.strip_suffix('\'').unwrap();
                    prop_assert!(!inner.replace("''", "").contains('\''));
                    inner.replace("''", "'")
                }
                None => value,
            };
            prop_assert_eq!(read, text);
        }

        #[test]
        fn a_label_is_valid(text in ".*") {
            let label = label_value(&text);
            let alphanumeric = |character: Option<char>| character.is_none_or(|character| character.is_ascii_alphanumeric());
            prop_assert!(label.len() <= 63);
            prop_assert!(alphanumeric(label.chars().next()) && alphanumeric(label.chars().last()));
            prop_assert!(label.chars().all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character)));
        }
    }

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(yaml_text("users-db-credentials"), "users-db-credentials");
        assert_eq!(yaml_text("no"), "\"no\"");
        assert_eq!(yaml_text("5432"), "\"5432\"");
        assert!(is_pgbouncer_key("link-users.v2") && !is_pgbouncer_key("link users") && !is_pgbouncer_key("*"));
        assert_eq!(shell_word("link_users"), "link_users");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(label_value("Database per service (ADR-002)"), "Database-per-service--ADR-002");
    }

    #[test]
    fn control_characters_are_found() {
        assert_eq!(unwritable_character("two\nlines"), Some('\n'));
        assert_eq!(unwritable_character("a'b\"c\\d$e#f g=h%i@/:?é"), None);
    }
}
