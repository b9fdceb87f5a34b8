//! Names as types: a value of one of these types fits PostgreSQL, so nothing that follows checks again.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// PostgreSQL cuts identifiers at `NAMEDATALEN - 1` bytes; two names that differ only behind that are one name.
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("the name is empty")]
    Empty,
    /// It is longer than PostgreSQL keeps.
    #[error("the name has {bytes} bytes, and PostgreSQL cuts names at {NAME_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It holds a character that no name may have here.
    #[error("the name contains {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
    /// PostgreSQL keeps it for itself.
    #[error("the name is reserved")]
    Reserved,
}

fn check_identifier(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: text.len() });
    }
    // NUL ends a string on the wire; other control characters are legal in SQL and never meant.
    if let Some(character) = text.chars().find(|character| character.is_control()) {
        return Err(NameError::Character { character });
    }
    Ok(())
}

fn display_name(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if !name.contains(char::is_control) {
        return f.pad(name);
    }
    let shown: String = name
        .chars()
        .flat_map(|character| if character.is_control() { character.escape_default().collect() } else { vec![character] })
        .collect();
    f.pad(&shown)
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes a text that PostgreSQL keeps whole: 1 to 63 bytes, no control character.
            ///
            /// # Errors
            /// Says what is wrong with the text.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check_identifier(&text)?;
                Ok(Self(text))
            }

            /// Takes a name as a server has it. Other people's objects may be called what pgisle calls nothing.
            #[must_use]
            pub fn observed(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The name, unquoted and as it is.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// For people: a control character in someone else's name is shown, not obeyed by the terminal.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                display_name(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

identifier! {
    /// The name of a database.
    DatabaseName
}
identifier! {
    /// The name of a role: a login, an owner or a group.
    RoleName
}
identifier! {
    /// The name of a schema.
    SchemaName
}
identifier! {
    /// The name of an extension, such as `uuid-ossp`.
    ExtensionName
}
identifier! {
    /// The name of a run-time setting of PostgreSQL, such as `statement_timeout`.
    ParameterName
}
identifier! {
    /// The name of a service, as the file's author wrote it. Stricter than an identifier, because it becomes part of file
    /// names, Kubernetes names and environment variables: see [`ServiceName::parse`].
    ServiceName
}

impl ServiceName {
    /// Takes a service's name: a lower-case letter, then lower-case letters, digits, `_` or `-`, not ending in `-` or `_`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_identifier(text)?;
        let bad =
            |character: &char| !(character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '_' | '-'));
        if let Some(character) = text.chars().find(bad) {
            return Err(NameError::Character { character });
        }
        let ends = [text.chars().next(), text.chars().last()];
        match ends {
            [Some(first), _] if !first.is_ascii_lowercase() => Err(NameError::Character { character: first }),
            [_, Some(last)] if matches!(last, '_' | '-') => Err(NameError::Character { character: last }),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl RoleName {
    /// True for names that PostgreSQL refuses or gives a meaning of its own.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("pg_")
            || matches!(self.0.as_str(), "public" | "none" | "current_user" | "session_user" | "current_role" | "user")
    }
}

impl DatabaseName {
    /// True for the databases that every cluster is born with, and for names that PgBouncer keeps for itself.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        matches!(self.0.as_str(), "postgres" | "template0" | "template1" | "pgbouncer")
    }
}
