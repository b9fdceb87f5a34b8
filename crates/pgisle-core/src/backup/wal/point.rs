//! A time to go back to, as exact as a server's own.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::moment::Moment;

/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;

/// A time in microseconds since 1970, UTC. As text it is RFC 3339, with as many digits behind the second as it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PointInTime(u64);

impl PointInTime {
    /// Reads `2025-01-19T02:00:00Z` or `2025-01-19 02:00:00.25+01:00`: date and time, up to six digits behind the second, and how
    /// far from UTC it is. Without that it is UTC.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let rest = rest.strip_prefix(['T', 't', ' '])?;
        let (time, rest) = rest.split_at_checked(8)?;
        let second = Moment::parse(&format!("{date}T{time}Z"))?.unix_s();
        let (fraction_us, zone) = fraction(rest)?;
        let point_us = i128::from(second * SECOND_US + fraction_us) - i128::from(offset_s(zone)?) * i128::from(SECOND_US);
        u64::try_from(point_us).ok().map(Self)
    }

    /// The second that it is in.
    #[must_use]
    pub fn moment(self) -> Moment {
        Moment::from_unix_s(self.0 / SECOND_US)
    }

    /// As a server's `recovery_target_time` takes it.
    #[must_use]
    pub fn setting(self) -> String {
        let text = self.moment().to_string();
        let (date, time) = text.trim_end_matches('Z').split_once('T').unwrap_or_default();
        format!("{date} {time}.{:06}+00", self.0 % SECOND_US)
    }
}

/// Splits `.25+01:00` into microseconds and the rest.
fn fraction(text: &str) -> Option<(u64, &str)> {
    const DIGITS_MAX: usize = 6;
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, zone) = rest.split_at(end);
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    format!("{digits:0<DIGITS_MAX$}").parse().ok().map(|microseconds| (microseconds, zone))
}

/// How many seconds a zone is ahead of UTC.
fn offset_s(zone: &str) -> Option<i64> {
    let zone = zone.trim_start_matches(' ');
    if matches!(zone, "" | "Z" | "z" | "UTC") {
        return Some(0);
    }
    let (sign, rest) = zone.strip_prefix('+').map(|rest| (1, rest)).or_else(|| zone.strip_prefix('-').map(|rest| (-1, rest)))?;
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None => rest.split_at_checked(2)?,
    };
    let part = |text: &str, limit: i64| {
        let is_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|number| is_two && *number <= limit)
    };
    let minutes = if minutes.is_empty() && !rest.contains(':') { 0 } else { part(minutes, 59)? };
    Some(sign * (part(hours, 15)? * 3600 + minutes * 60))
}

impl From<Moment> for PointInTime {
    fn from(moment: Moment) -> Self {
        Self(moment.unix_s() * SECOND_US)
    }
}

impl fmt::Display for PointInTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.moment().to_string();
        let fraction = format!("{:06}", self.0 % SECOND_US);
        match fraction.trim_end_matches('0') {
            "" => f.write_str(&text),
            digits => write!(f, "{}.{digits}Z", text.trim_end_matches('Z')),
        }
    }
}

impl<'de> Deserialize<'de> for PointInTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("\"{}\" is no time", text.escape_debug())))
    }
}

impl Serialize for PointInTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_same_time_in_every_form() {
        for text in [
            "2025-01-19T02:00:00Z",
            "2025-01-19 02:00:00",
            "2025-01-19 02:00:00Z",
            "2025-01-19 02:00:00 UTC",
            "2025-01-19 03:00:00+01",
            "2025-01-19 03:00:00 +0100",
            "2025-01-18T20:30:00-05:30",
        ] {
            assert_eq!(PointInTime::parse(text).unwrap().to_string(), "2025-01-19T02:00:00Z", "{text}");
        }
        let exact = PointInTime::parse("2025-01-19 02:00:00.25+00").unwrap();
        assert_eq!(
            (exact.to_string().as_str(), exact.setting().as_str()),
            ("2025-01-19T02:00:00.25Z", "2025-01-19 02:00:00.250000+00")
        );
        assert_eq!(PointInTime::parse("2025-01-19 02:00:00.000001").unwrap().setting(), "2025-01-19 02:00:00.000001+00");
        assert_eq!(exact.moment(), Moment::parse("2025-01-19T02:00:00Z").unwrap());
        assert!(PointInTime::from(exact.moment()) < exact);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2025-01-19",
            "2025-01-19 02:00",
            "2025-02-30 02:00:00",
            "2025-01-19 02:00:00.",
            "2025-01-19 02:00:00.1234567",
            "2025-01-19 02:00:00+",
            "2025-01-19 02:00:00+1",
            "2025-01-19 02:00:00+01:",
            "2025-01-19 02:00:00+01:60",
            "2025-01-19 02:00:00+99",
            "2025-01-19 02:00:00 CET",
            "1970-01-01 00:00:00+01",
            "2025-01-19é02:00:00",
        ] {
            assert_eq!(PointInTime::parse(text), None, "{text}");
        }
    }
}
