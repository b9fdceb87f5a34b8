//! What a backup is called.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::moment::Moment;

/// How many characters the random part of a name has: two backups of one second never meet by chance.
const RANDOM_CHARACTERS: usize = 8;

/// A backup's name: when it was begun, and a random part. `20250119T020000Z-3f9a01c7`. Names sort as the moments do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(String);

impl BackupId {
    /// Makes a name.
    #[must_use]
    pub fn new(begun: Moment, random: u32) -> Self {
        Self(format!("{}-{random:08x}", begun.compact()))
    }

    /// Reads a name; none when no backup is called so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (moment, random) = text.split_once('-')?;
        let is_random = random.len() == RANDOM_CHARACTERS && random.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        Moment::parse_compact(moment).filter(|_| is_random).map(|_| Self(text.to_owned()))
    }

    /// When it was begun.
    ///
    /// # Panics
    /// Never: a name that was made or read has its moment.
    #[must_use]
    pub fn begun(&self) -> Moment {
        self.0.split_once('-').and_then(|(moment, _)| Moment::parse_compact(moment)).unwrap_or(Moment::from_unix_s(0))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for BackupId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BackupId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not the name of a backup")))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let id = BackupId::new(Moment::from_unix_s(1_709_210_096), 0x3f_9a01);
        assert_eq!(id.as_str(), "20240229T123456Z-003f9a01");
        assert_eq!(BackupId::parse(id.as_str()).unwrap(), id);
        assert_eq!(id.begun(), Moment::from_unix_s(1_709_210_096));
        for text in [
            "",
            "20240229T123456Z",
            "20240229T123456Z-003F9A01",
            "20240229T123456Z-003f9a0",
            "20240230T123456Z-003f9a01",
            "../x-003f9a01",
        ] {
            assert_eq!(BackupId::parse(text), None, "{text}");
        }
    }
}
