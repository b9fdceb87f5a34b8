//! Durations as people write them: `30s`, `5m`, `1h30m`.

use std::time::Duration;

/// A wait longer than this is a slip of the finger.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration: whole numbers, each with its unit (ms, s, m, h), a day at most.
///
/// # Errors
/// How it is to be written.
pub fn parse(text: &str) -> Result<Duration, String> {
    let unreadable = || "it is written as whole numbers with a unit: 500ms, 30s, 5m, 1h30m".to_owned();
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|character: char| character.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| unreadable())?;
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(unreadable()),
        };
        total = total.saturating_add(Duration::from_millis(number.saturating_mul(unit_ms)));
        rest = tail;
    }
    match text {
        "" => Err(unreadable()),
        _ if total > DURATION_MAX => Err("it is at most 24h".to_owned()),
        _ => Ok(total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected_ms) in [("0s", 0), ("500ms", 500), ("30s", 30_000), ("1h30m", 5_400_000), ("24h", 86_400_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(expected_ms)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1d", "25h", "99999999999999999999s", "18446744073709551615h", "1s ", "１s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
