//! The clock: the one place that asks what time it is for things that are written down.

use std::time::{SystemTime, UNIX_EPOCH};

use pgisle_core::moment::Moment;

/// The present moment.
#[must_use]
pub fn now() -> Moment {
    // A clock before 1970 is broken, and shows as 1970.
    Moment::from_unix_s(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// The present moment in UTC, to the second, as RFC 3339 has it: `2025-01-19T02:00:00Z`.
#[must_use]
pub fn now_rfc3339() -> String {
    now().to_string()
}

/// The present moment, milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
