//! Moments, to the second, in UTC. Core has no clock: whoever has one hands the seconds in.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Seconds of a day.
pub const DAY_S: u64 = 24 * 60 * 60;

/// Days from 0000-03-01, where the calculation's year begins, to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

/// A moment: seconds since 1970 in UTC. As text it is RFC 3339, `2025-01-19T02:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

/// Year, month, day, hour, minute, second.
type Civil = (u64, u64, u64, u64, u64, u64);

impl Moment {
    /// The moment so many seconds after 1970 began.
    #[must_use]
    pub const fn from_unix_s(unix_s: u64) -> Self {
        Self(unix_s)
    }

    /// Seconds since 1970.
    #[must_use]
    pub const fn unix_s(self) -> u64 {
        self.0
    }

    /// How many whole seconds lie between an earlier moment and this one; 0 when it is not earlier.
    #[must_use]
    pub const fn seconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads `2025-01-19T02:00:00Z`, and nothing looser.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text, "dddd-dd-ddTdd:dd:ddZ").filter(|moment| moment.to_string() == text)
    }

    /// Reads `20250119T020000Z`, as file names have it.
    #[must_use]
    pub fn parse_compact(text: &str) -> Option<Self> {
        Self::read(text, "ddddddddTddddddZ").filter(|moment| moment.compact() == text)
    }

    /// `20250119T020000Z`: sorts as the moments do, and every file system takes it.
    #[must_use]
    pub fn compact(self) -> String {
        let (year, month, day, hour, minute, second) = self.civil();
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }

    /// Matches a pattern in which `d` is a digit; 14 of them are the date and the time.
    fn read(text: &str, pattern: &str) -> Option<Self> {
        if text.len() != pattern.len() {
            return None;
        }
        let mut digits = [0_u64; 14];
        let mut count = 0;
        for (found, wanted) in text.bytes().zip(pattern.bytes()) {
            if wanted != b'd' {
                (found == wanted).then_some(())?;
                continue;
            }
            *digits.get_mut(count)? = u64::from(char::from(found).to_digit(10)?);
            count += 1;
        }
        let number = |from: usize, to: usize| digits[from..to].iter().fold(0, |number, digit| number * 10 + digit);
        Self::from_civil((number(0, 4), number(4, 6), number(6, 8), number(8, 10), number(10, 12), number(12, 14)))
    }

    /// Howard Hinnant's `days_from_civil`, for years from 1970 on.
    fn from_civil((year, month, day, hour, minute, second): Civil) -> Option<Self> {
        if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let shifted_year = year - u64::from(month <= 2);
        let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - EPOCH_DAYS;
        Some(Self(days * DAY_S + hour * 3600 + minute * 60 + second))
    }

    /// Howard Hinnant's `civil_from_days`, for days since 1970 only: years begin in March, so that the leap day comes last.
    fn civil(self) -> Civil {
        let unix_s = self.0;
        let days = unix_s / DAY_S + EPOCH_DAYS;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        (year, month, day, unix_s % DAY_S / 3600, unix_s % 3600 / 60, unix_s % 60)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a moment like 2025-01-19T02:00:00Z")))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn known_moments_are_written_and_read() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let moment = Moment::from_unix_s(unix_s);
            assert_eq!(moment.to_string(), text);
            assert_eq!(Moment::parse(text), Some(moment));
            assert_eq!(Moment::parse_compact(&moment.compact()), Some(moment));
        }
        assert_eq!(Moment::from_unix_s(1_709_210_096).compact(), "20240229T123456Z");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2025-02-29T00:00:00Z",
            "2025-01-19 02:00:00Z",
            "2025-01-19T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "2025-01-19T02:00:0éZ",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut expected = (1970_u64, 1_u64, 1_u64);
        for day in 0..146_097 {
            let (year, month, date) = expected;
            let moment = Moment::from_unix_s(day * DAY_S);
            let text = moment.to_string();
            assert_eq!(text, format!("{year:04}-{month:02}-{date:02}T00:00:00Z"));
            assert_eq!(Moment::parse(&text).unwrap(), moment);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, date) {
                (12, 31) => (year + 1, 1, 1),
                (_, date) if date == length => (year, month + 1, 1),
                _ => (year, month, date + 1),
            };
        }
    }
}
