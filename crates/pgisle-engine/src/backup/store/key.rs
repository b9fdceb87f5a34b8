//! What an object of the store is called.

use std::fmt;

/// An object's name: parts with slashes between them, below the folder of its project and environment. No part leads anywhere else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The folder of the project and environment itself.
    pub const ROOT: Self = Self(String::new());

    /// Puts a key together; none when a part is not a plain name.
    #[must_use]
    pub fn of(parts: &[&str]) -> Option<Self> {
        let is_plain = |part: &&str| {
            !part.is_empty() && *part != "." && *part != ".." && part.bytes().all(|byte| byte != b'/' && !byte.is_ascii_control())
        };
        parts.iter().all(is_plain).then(|| Self(parts.join("/")))
    }

    /// Reads a key from text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::of(&text.split('/').collect::<Vec<_>>())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_the_store() {
        for text in ["", "..", "a/../b", "/etc", "a//b", "a/", "./a", "a\0b", "a\nb"] {
            assert_eq!(Key::parse(text), None, "{text:?}");
        }
        let key = Key::of(&["services", "users", "manifest.json"]);
        assert_eq!(key.as_ref().map(Key::as_str), Some("services/users/manifest.json"));
        assert_eq!(Key::ROOT.parts().count(), 0);
    }
}
