//! A place in the write-ahead log.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A place in the write-ahead log, in bytes from its beginning. As text `16/B374D848`, as PostgreSQL writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// Takes a number of bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes from the beginning of the log.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Reads two hexadecimal numbers of at most eight digits with a slash between them; none when it is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let half = |digits: &str| {
            let is_half = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            u64::from_str_radix(digits, 16).ok().filter(|_| is_half)
        };
        Some(Self(half(high)? << 32 | half(low)?))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no place in the write-ahead log")))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["0/0", "0/2000028", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(Lsn::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Lsn::parse("1/0").unwrap().bytes(), 1 << 32);
        assert!(Lsn::parse("2/0").unwrap() > Lsn::parse("1/FFFFFFFF").unwrap());
        for text in ["", "/", "1", "1/", "/1", "1/2/3", "g/1", "+1/1", "123456789/1", "1/ 2"] {
            assert_eq!(Lsn::parse(text), None, "{text}");
        }
    }
}
