//! SQL, rendered in this one module and nowhere else.
//!
//! A [`Statement`] is put together from constant text, identifiers and literals, each by its own method. Text that is not a
//! constant of the program can only get in quoted, so a hostile name stays a name. The methods are this module's own: whoever
//! else needs a statement with something put into it asks for it here by what it does.

mod backup;
pub mod clone;
pub mod content;
pub(crate) mod doctor;
pub mod failover;
pub mod homecoming;
pub mod load;
pub mod pooler;
pub(crate) mod probe;
pub(crate) mod remedy;
mod render;
pub mod restore;
pub mod split;

use std::fmt;

pub use backup::{alter_system, count_rows, set_local_role};
pub(crate) use render::parameter_elements;

use crate::name::{DatabaseName, ExtensionName, ParameterName, RoleName, SchemaName};

/// What stands in place of a secret in the rendering that people, logs and plans see.
const HIDDEN: &str = "'<hidden>'";

/// One SQL statement, with a second rendering that hides its secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Statement {
    text: zeroize::Zeroizing<String>,
    shown: String,
}

impl Statement {
    /// Begins with constant text; elsewhere, that is all there is to it.
    #[must_use]
    pub fn new(text: &'static str) -> Self {
        Self { text: zeroize::Zeroizing::new(text.to_owned()), shown: text.to_owned() }
    }

    /// Adds constant text.
    #[must_use]
    pub(in crate::sql) fn sql(self, text: &'static str) -> Self {
        self.push(text)
    }

    /// Adds a quoted identifier.
    #[must_use]
    pub(in crate::sql) fn ident(self, name: &impl Identifier) -> Self {
        self.push(&quote_identifier(name.name()))
    }

    /// Adds several quoted identifiers, separated by commas.
    #[must_use]
    pub(in crate::sql) fn idents<'a, N: Identifier + 'a>(self, names: impl IntoIterator<Item = &'a N>) -> Self {
        let quoted: Vec<String> = names.into_iter().map(|name| quote_identifier(name.name())).collect();
        self.push(&quoted.join(", "))
    }

    /// Adds a quoted string literal.
    #[must_use]
    pub(in crate::sql) fn literal(self, text: &str) -> Self {
        self.push(&quote_literal(text))
    }

    /// Adds several quoted string literals, separated by commas.
    #[must_use]
    pub(in crate::sql) fn literals(self, texts: &[String]) -> Self {
        self.push(&texts.iter().map(|text| quote_literal(text)).collect::<Vec<_>>().join(", "))
    }

    /// Adds a string literal that is shown in another form than the server gets.
    #[must_use]
    pub(in crate::sql) fn literal_shown(mut self, text: &str, shown: &str) -> Self {
        self.text.push_str(&quote_literal(text));
        self.shown.push_str(&quote_literal(shown));
        self
    }

    /// Adds a number.
    #[must_use]
    pub(in crate::sql) fn number(self, number: i64) -> Self {
        self.push(&number.to_string())
    }

    /// Adds a string literal that only the server gets to see. Without a secret the statement can be shown and not run.
    #[must_use]
    pub(in crate::sql) fn secret(mut self, secret: Option<&str>) -> Self {
        self.text.push_str(secret.map_or(HIDDEN.to_owned(), quote_literal).as_str());
        self.shown.push_str(HIDDEN);
        self
    }

    fn push(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self.shown.push_str(text);
        self
    }

    /// The text for the server, secrets and all.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

/// Sends several statements as one message: as one transaction, unless one is open.
#[must_use]
pub fn together(statements: &[Statement]) -> Statement {
    statements.iter().enumerate().fold(Statement::new(""), |mut all, (place, statement)| {
        let between = if place == 0 { "" } else { ";\n" };
        all.text.push_str(between);
        all.text.push_str(&statement.text);
        all.shown.push_str(between);
        all.shown.push_str(&statement.shown);
        all
    })
}

/// Creates a database from the template that nobody can have changed.
#[must_use]
pub fn create_database(name: &DatabaseName) -> Statement {
    Statement::new("CREATE DATABASE ").ident(name).sql(" TEMPLATE template0")
}

/// The rendering without secrets.
impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}

impl serde::Serialize for Statement {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown)
    }
}

/// The types that may stand as an identifier in SQL.
pub trait Identifier {
    /// The name, unquoted.
    fn name(&self) -> &str;
}

macro_rules! identifiers {
    ($($name:ty),*) => { $(impl Identifier for $name {
        fn name(&self) -> &str {
            self.as_str()
        }
    })* };
}

identifiers!(DatabaseName, RoleName, SchemaName, ExtensionName, ParameterName);

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quote_literal(text: &str) -> String {
    // The E form reads the same whatever standard_conforming_strings is.
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_hidden_everywhere_but_from_the_server() {
        let role = RoleName::new("a\"b").unwrap();
        let statement = Statement::new("ALTER ROLE ").ident(&role).sql(" PASSWORD ").secret(Some("it's"));
        assert_eq!(statement.expose(), r#"ALTER ROLE "a""b" PASSWORD 'it''s'"#);
        assert_eq!(statement.to_string(), r#"ALTER ROLE "a""b" PASSWORD '<hidden>'"#);
        assert_eq!(serde_json::to_string(&statement).unwrap(), r#""ALTER ROLE \"a\"\"b\" PASSWORD '<hidden>'""#);
        assert!(!format!("{statement:?}").contains("it"));
    }

    proptest! {
        /// Reading a quoted text by PostgreSQL's rules gives the text back, and nothing behind it.
        #[test]
        fn quoting_round_trips(text in "\\PC{1,40}") {
            let identifier = quote_identifier(&text);
            prop_assert_eq!(identifier[1..identifier.len() - 1].replace("\"\"", "\""), text.clone());
            prop_assert!(!identifier[1..identifier.len() - 1].replace("\"\"", "").contains('"'));
            let literal = quote_literal(&text);
            let inner = literal.trim_start_matches('E');
            let inner = &inner[1..inner.len() - 1];
            prop_assert!(!inner.replace("''", "").contains('\''));
            let plain = inner.replace("''", "'");
            prop_assert_eq!(if literal.starts_with('E') { plain.replace("\\\\", "\\") } else { plain }, text);
        }
    }
}
