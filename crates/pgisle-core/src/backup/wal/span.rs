//! Which segments follow each other without a gap.

use std::collections::BTreeSet;

use super::{History, Segment, SegmentBytes};
use crate::backup::Lsn;

/// Segments of one timeline that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: Segment,
    /// The last.
    pub last: Segment,
}

/// Puts segments together as far as they follow each other, oldest first within a timeline.
#[must_use]
pub fn runs(segments: &BTreeSet<Segment>, size: SegmentBytes) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &segment in segments {
        match runs.last_mut() {
            Some(run) if run.last.timeline == segment.timeline && size.number(run.last) + 1 == size.number(segment) => {
                run.last = segment;
            }
            _ => runs.push(Run { first: segment, last: segment }),
        }
    }
    runs
}

/// The first segment that a recovery from `from` to the end of `until` would not find.
#[must_use]
pub fn first_missing(
    segments: &BTreeSet<Segment>,
    history: &History,
    size: SegmentBytes,
    from: Lsn,
    until: Segment,
) -> Option<Segment> {
    (size.number(size.segment(1, from))..=size.number(until))
        .map(|number| history.segment(size, number))
        .find(|segment| !segments.contains(segment))
}

/// How far a recovery gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// The last segment that it finds; none when it finds none.
    pub last: Option<Segment>,
    /// The one that ends it, when there are later ones.
    pub missing: Option<Segment>,
}

/// How far a recovery gets that begins at `from` and follows a history.
#[must_use]
pub fn reach(segments: &BTreeSet<Segment>, history: &History, size: SegmentBytes, from: Lsn) -> Reach {
    let first = size.number(size.segment(1, from));
    let on_the_way = |segment: &&Segment| history.segment(size, size.number(**segment)) == **segment;
    let numbers = segments.iter().filter(on_the_way).map(|segment| size.number(*segment)).filter(|number| *number >= first);
    let numbers: BTreeSet<u64> = numbers.collect();
    let found = numbers.iter().zip(first..).take_while(|(found, wanted)| **found == *wanted).count() as u64;
    let segment = |number: u64| history.segment(size, number);
    Reach {
        last: found.checked_sub(1).map(|count| segment(first + count)),
        missing: (numbers.len() as u64 > found).then(|| segment(first + found)),
    }
}

/// Whether a recovery that begins with one of these backups may need a segment: each is its timeline and where its log begins.
///
/// A backup's own timeline and all later ones may lead on from it; earlier ones do not.
#[must_use]
pub fn is_needed(segment: Segment, size: SegmentBytes, backups: &[(u32, Lsn)]) -> bool {
    backups.iter().any(|(timeline, start)| {
        *timeline <= segment.timeline && size.number(size.segment(*timeline, *start)) <= size.number(segment)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const MB: u64 = 1 << 20;

    fn segment(timeline: u32, number: u32) -> Segment {
        Segment { timeline, log: 0, number }
    }

    #[test]
    fn a_gap_ends_a_run_and_so_does_another_timeline() {
        let size = SegmentBytes::new(MB).unwrap();
        let there = [(1, 1), (1, 2), (1, 4), (2, 5)].map(|(timeline, number)| segment(timeline, number));
        let found = runs(&there.into_iter().collect(), size);
        let expected = [((1, 1), (1, 2)), ((1, 4), (1, 4)), ((2, 5), (2, 5))]
            .map(|(first, last)| Run { first: segment(first.0, first.1), last: segment(last.0, last.1) });
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_missing_is_named_on_the_timeline_that_a_recovery_follows() {
        let size = SegmentBytes::new(MB).unwrap();
        let history = History::parse(2, "1\t0/480000\tno recovery target specified\n").unwrap();
        let mut there: BTreeSet<Segment> = [segment(1, 2), segment(1, 3), segment(2, 4), segment(2, 5)].into();
        let missing = |there: &BTreeSet<Segment>| first_missing(there, &history, size, Lsn::from_bytes(2 * MB + 40), segment(2, 5));
        assert_eq!(missing(&there), None);
        there.remove(&segment(2, 4));
        // The old timeline's own fourth segment is of no use.
        there.insert(segment(1, 4));
        assert_eq!(missing(&there), Some(segment(2, 4)));
        there.remove(&segment(1, 3));
        assert_eq!(missing(&there), Some(segment(1, 3)));
    }

    #[test]
    fn a_recovery_gets_as_far_as_the_first_gap() {
        let size = SegmentBytes::new(MB).unwrap();
        let history = History::parse(2, "1\t0/480000\tx\n").unwrap();
        let reached = |there: &[(u32, u32)]| {
            let there = there.iter().map(|(timeline, number)| segment(*timeline, *number)).collect();
            let Reach { last, missing } = reach(&there, &history, size, Lsn::from_bytes(2 * MB));
            (last.map(|one| (one.timeline, one.number)), missing.map(|one| (one.timeline, one.number)))
        };
        assert_eq!(reached(&[]), (None, None));
        assert_eq!(reached(&[(1, 1), (1, 2), (1, 3), (1, 4), (2, 4), (2, 5)]), (Some((2, 5)), None));
        assert_eq!(reached(&[(1, 2), (2, 4), (2, 5)]), (Some((1, 2)), Some((1, 3))));
        assert_eq!(reached(&[(1, 3)]), (None, Some((1, 2))));
    }

    #[test]
    fn what_a_kept_backup_may_need_is_needed() {
        let size = SegmentBytes::new(MB).unwrap();
        let backups = [(1, Lsn::from_bytes(5 * MB + 40)), (2, Lsn::from_bytes(9 * MB))];
        let needed = |timeline, number| is_needed(segment(timeline, number), size, &backups);
        assert_eq!([4, 5, 6, 20].map(|number| needed(1, number)), [false, true, true, true]);
        assert_eq!([4, 5, 9].map(|number| needed(2, number)), [false, true, true]);
        assert!(!is_needed(segment(1, 20), size, &backups[1..]), "an earlier timeline does not lead on from a later one");
        assert!(!is_needed(segment(1, 20), size, &[]));
    }
}
