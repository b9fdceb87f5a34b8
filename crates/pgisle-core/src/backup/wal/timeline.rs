//! Timelines: where each left the one before, and which was the live one at a time.

use super::{PointInTime, Segment, SegmentBytes};
use crate::backup::Lsn;
use crate::moment::Moment;

/// An earlier timeline, and where it was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    /// The timeline.
    pub timeline: u32,
    /// The first place that is not its own any more.
    pub until: Lsn,
}

/// A timeline and all that came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The timeline.
    pub timeline: u32,
    /// Those before it, oldest first.
    pub ancestors: Vec<Branch>,
}

impl History {
    /// A timeline that left no other.
    #[must_use]
    pub fn root(timeline: u32) -> Self {
        Self { timeline, ancestors: Vec::new() }
    }

    /// Reads a history file; none when it is none of this timeline.
    #[must_use]
    pub fn parse(timeline: u32, text: &str) -> Option<Self> {
        let mut ancestors: Vec<Branch> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let branch = Branch { timeline: words.next()?.parse().ok()?, until: Lsn::parse(words.next()?)? };
            if ancestors.last().is_some_and(|last| last.timeline >= branch.timeline || last.until > branch.until) {
                return None;
            }
            ancestors.push(branch);
        }
        // One without a line would be a timeline that left none, which no server writes.
        ancestors.last().is_some_and(|last| last.timeline < timeline).then_some(Self { timeline, ancestors })
    }

    /// Whether this timeline came through a place of another, or is that one.
    #[must_use]
    pub fn came_through(&self, timeline: u32, place: Lsn) -> bool {
        timeline == self.timeline || self.ancestors.iter().any(|branch| branch.timeline == timeline && place <= branch.until)
    }

    /// The segment of a running number that a recovery along this history reads: of the newest timeline that has begun in it.
    #[must_use]
    pub fn segment(&self, size: SegmentBytes, number: u64) -> Segment {
        let left = self.ancestors.iter().find(|branch| number < size.number(size.segment(branch.timeline, branch.until)));
        size.numbered(left.map_or(self.timeline, |branch| branch.timeline), number)
    }
}

/// The history that was the live one at a time: of the newest timeline that had begun by then. None when none of the known ones had,
/// which is to say that the first one was.
///
/// A server that was brought back to an earlier time has two pasts. What its services saw at a time is the past that was lived then.
#[must_use]
pub fn history_at(known: &[(History, Moment)], at: PointInTime) -> Option<&History> {
    let begun = known.iter().filter(|(_, begun)| *begun <= at.moment());
    begun.map(|(history, _)| history).max_by_key(|history| history.timeline)
}

/// The same past as a history's, carried on by the timelines that left it at its very end, as after a promotion: what was written last
/// before that is whole in theirs alone. `went_on` says whether a timeline has anything behind the place where it was left.
#[must_use]
pub fn carried_on(known: &[(History, Moment)], history: History, went_on: impl Fn(&Branch) -> bool) -> History {
    let mut history = history;
    // Each step leads to a newer timeline, so there are no more steps than timelines.
    loop {
        let mut next = known
            .iter()
            .map(|(history, _)| history)
            .filter(|next| next.ancestors.last().is_some_and(|branch| branch.timeline == history.timeline && !went_on(branch)));
        match next.next() {
            Some(next) if next.timeline > history.timeline => history = next.clone(),
            _ => return history,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const SIZE: u64 = 1 << 20;

    #[test]
    fn a_history_is_read_as_servers_write_it() {
        let text = "1\t0/3000000\tno recovery target specified\n\n2\t0/5000100\tbefore 2025-01-19 02:00:00+00\n";
        let history = History::parse(3, text).unwrap();
        let branch = |timeline, until| Branch { timeline, until: Lsn::from_bytes(until) };
        assert_eq!(history.ancestors, [branch(1, 0x300_0000), branch(2, 0x500_0100)]);
        for (timeline, text) in [(2, ""), (2, "2\t0/1\tx\n"), (3, "2\t0/5\tx\n1\t0/3\tx\n"), (2, "one\t0/3\tx\n"), (2, "1\n")] {
            assert_eq!(History::parse(timeline, text), None, "{text:?}");
        }
    }

    #[test]
    fn the_newest_timeline_that_has_begun_in_a_segment_is_read() {
        let size = SegmentBytes::new(SIZE).unwrap();
        let history = History::parse(2, "1\t0/480000\tx\n").unwrap();
        let timelines: Vec<u32> = (3..6).map(|number| history.segment(size, number).timeline).collect();
        assert_eq!(timelines, [1, 2, 2]);
        assert!(history.came_through(1, Lsn::from_bytes(0x48_0000)) && history.came_through(2, Lsn::from_bytes(0x50_0000)));
        assert!(!history.came_through(1, Lsn::from_bytes(0x48_0001)) && !history.came_through(3, Lsn::from_bytes(0)));
    }

    #[test]
    fn the_past_that_was_lived_is_chosen() {
        let moment = |seconds: u64| Moment::from_unix_s(1_700_000_000 + seconds);
        let known =
            [(History::parse(2, "1\t0/3\tx\n").unwrap(), moment(10)), (History::parse(3, "1\t0/2\tx\n").unwrap(), moment(20))];
        let chosen = |seconds| history_at(&known, PointInTime::from(moment(seconds))).map(|history| history.timeline);
        assert_eq!((chosen(9), chosen(10), chosen(19), chosen(20)), (None, Some(2), Some(2), Some(3)));
    }

    #[test]
    fn a_promotion_carries_a_past_on_and_a_recovery_does_not() {
        let moment = Moment::from_unix_s(1_700_000_000);
        let known = [(2, "1\t0/3\tx\n"), (3, "1\t0/3\tx\n2\t0/5\tx\n")]
            .map(|(timeline, text)| (History::parse(timeline, text).unwrap(), moment));
        let carried = |went_on: &[u32]| {
            let went_on = |branch: &Branch| went_on.contains(&branch.timeline);
            carried_on(&known, History::root(1), went_on).timeline
        };
        assert_eq!((carried(&[]), carried(&[2]), carried(&[1])), (3, 2, 1));
    }
}
