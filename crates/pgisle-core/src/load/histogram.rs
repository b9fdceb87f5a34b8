//! How long things took: a count for each span of time, the spans growing with the time, so that a year fits and no figure is off
//! by more than a sixty-fourth.

use std::collections::BTreeMap;

/// Spans between two powers of two.
const SPANS_BITS: u32 = 6;

/// Times, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    spans: BTreeMap<u32, u64>,
    count: u64,
    max_us: u64,
}

impl Histogram {
    /// Notes one.
    pub fn record(&mut self, time_us: u64) {
        *self.spans.entry(span(time_us)).or_default() += 1;
        self.count += 1;
        self.max_us = self.max_us.max(time_us);
    }

    /// Takes over what another has noted.
    pub fn absorb(&mut self, other: &Self) {
        let Self { spans, count, max_us } = other;
        for (&span, &times) in spans {
            *self.spans.entry(span).or_default() += times;
        }
        self.count += count;
        self.max_us = self.max_us.max(*max_us);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The time that so many per mille took at most. Never less than the truth; 0 when there is none.
    #[must_use]
    pub fn per_mille(&self, per_mille: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0;
        for (&span, &times) in &self.spans {
            seen += u128::from(times);
            if seen >= rank {
                return span_end(span).min(self.max_us);
            }
        }
        self.max_us
    }
}

/// Which span a time is in: below 64 its own, above it one of 64 between two powers of two.
fn span(time_us: u64) -> u32 {
    let exponent = u64::BITS - (time_us >> SPANS_BITS).leading_zeros();
    match exponent.checked_sub(1) {
        None => low_bits(time_us),
        Some(shift) => ((shift + 1) << SPANS_BITS) | low_bits(time_us >> shift),
    }
}

fn low_bits(number: u64) -> u32 {
    u32::try_from(number & ((1 << SPANS_BITS) - 1)).unwrap_or_default()
}

/// The longest time of a span.
fn span_end(span: u32) -> u64 {
    let (high, low) = (span >> SPANS_BITS, u64::from(span & ((1 << SPANS_BITS) - 1)));
    match high.checked_sub(1) {
        None => low,
        Some(shift) => {
            let first = ((1 << SPANS_BITS) | low) << shift;
            first + ((1_u64 << shift) - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_counts() {
        let mut times = Histogram::default();
        assert_eq!((times.count(), times.per_mille(990), times.max_us()), (0, 0, 0));
        for time in 1..=100 {
            times.record(time);
        }
        let mut others = Histogram::default();
        others.record(1_000_000);
        times.absorb(&others);
        assert_eq!((times.count(), times.per_mille(500), times.max_us()), (101, 51, 1_000_000));
        assert_eq!(times.per_mille(1000), 1_000_000);
        assert_eq!(times.per_mille(990), 100);
    }

    proptest! {
        /// Each time lies in its span, the spans follow one another, and none is wider than a sixty-fourth of what is in it.
        #[test]
        fn a_span_is_narrow(time in any::<u64>()) {
            let end = span_end(span(time));
            prop_assert!(end >= time && end - time <= time / 64, "{time} {end}");
            prop_assert!(end == u64::MAX || span(end + 1) > span(time));
        }
    }
}
