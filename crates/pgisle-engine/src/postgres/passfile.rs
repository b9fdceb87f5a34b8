//! libpq's password file, `~/.pgpass`: one `host:port:database:user:password` a line.

use pgisle_core::secret::Secret;

/// The lines of a password file that have five fields, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Passfile {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    host: Pattern,
    port: Pattern,
    database: Pattern,
    user: Pattern,
    password: Secret,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Text(String),
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Text(pattern) => pattern == text,
        }
    }
}

impl Passfile {
    /// Reads the lines. A line that is not understood is passed over, as libpq does.
    pub(super) fn parse(text: &str) -> Self {
        Self { entries: text.lines().filter_map(parse_line).collect() }
    }

    /// The password of the first line that fits. `hosts` are the names that the host goes by: a socket's folder is also `localhost`.
    pub(super) fn password(&self, hosts: &[&str], port: u16, database: &str, user: &str) -> Option<Secret> {
        let port = port.to_string();
        let fits = |entry: &&Entry| {
            hosts.iter().any(|host| entry.host.matches(host))
                && entry.port.matches(&port)
                && entry.database.matches(database)
                && entry.user.matches(user)
        };
        self.entries.iter().find(fits).map(|entry| entry.password.clone())
    }
}

fn parse_line(line: &str) -> Option<Entry> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (host, rest) = split_field(line)?;
    let (port, rest) = split_field(rest)?;
    let (database, rest) = split_field(rest)?;
    let (user, rest) = split_field(rest)?;
    // As libpq: a colon without a backslash ends the password too.
    let password = split_field(rest).map_or(rest, |(password, _)| password);
    let pattern = |field: &str| if field == "*" { Pattern::Any } else { Pattern::Text(unescape(field)) };
    Some(Entry {
        host: pattern(host),
        port: pattern(port),
        database: pattern(database),
        user: pattern(user),
        password: Secret::new(unescape(password)),
    })
}

/// Splits at the first colon that no backslash stands before.
fn split_field(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ':' => return Some((&text[..index], &text[index + 1..])),
            _ => {}
        }
    }
    None
}

/// Takes the backslashes away.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\\' { plain.extend(characters.next()) } else { plain.push(character) }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
        Passfile::parse(text).password(&[host], port, database, user).map(|password| password.expose().to_owned())
    }

    #[test]
    fn the_first_line_that_fits_wins() {
        let text = "# comment\n\ndb:5432:other:me:wrong\ndb:*:*:me:first\n*:*:*:*:last\n";
        assert_eq!(find(text, "db", 5432, "postgres", "me").as_deref(), Some("first"));
        assert_eq!(find(text, "db", 5432, "other", "me").as_deref(), Some("wrong"));
        assert_eq!(find(text, "elsewhere", 1, "x", "y").as_deref(), Some("last"));
    }

    #[test]
    fn escapes_are_taken_away() {
        let text = r"fe80\:\:1:5432:a\\b:me:p\:a\\s:rest";
        assert_eq!(find(text, "fe80::1", 5432, r"a\b", "me").as_deref(), Some(r"p:a\s"));
    }

    #[test]
    fn an_escaped_star_is_no_wildcard() {
        assert_eq!(find(r"\*:*:*:*:secret", "db", 1, "d", "u"), None);
        assert_eq!(find(r"\*:*:*:*:secret", "*", 1, "d", "u").as_deref(), Some("secret"));
    }

    #[test]
    fn short_lines_and_carriage_returns_do_no_harm() {
        assert_eq!(find("db:5432:x\r\ndb:*:*:*:secret\r\n", "db", 5432, "x", "u").as_deref(), Some("secret"));
    }

    #[test]
    fn debug_hides_the_password() {
        assert!(!format!("{:?}", Passfile::parse("*:*:*:*:hunter2")).contains("hunter2"));
    }
}
