//! Which backups may go. Pure: the clock is an argument, and is not trusted.

use std::collections::BTreeSet;

use super::BackupId;
use crate::moment::{DAY_S, Moment};

/// How long backups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Days that each is kept.
    pub days: u32,
    /// How many verified ones stay however old they are.
    pub minimum: u32,
}

/// One backup, as far as retention is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name, which says when it was begun.
    pub id: BackupId,
    /// Whether it was read back and found whole.
    pub is_verified: bool,
    /// Others that it cannot be restored without: the full backup below an incremental one.
    pub needs: BTreeSet<BackupId>,
}

/// Chooses what may go, of the backups of one service or of the cluster. Oldest first.
///
/// A backup goes when it is older than `days`, and `minimum` verified ones that are newer stay. As long as there are fewer
/// verified ones than that, nothing goes at all: what is not verified may be all there is. A clock that runs ahead changes
/// nothing about the minimum, and one that runs behind keeps more. What a kept one needs is kept.
#[must_use]
pub fn expired(candidates: &[Candidate], retention: Retention, now: Moment) -> Vec<BackupId> {
    let mut newest_first: Vec<&Candidate> = candidates.iter().collect();
    newest_first.sort_by(|one, other| other.id.cmp(&one.id));
    let verified: Vec<&Candidate> = newest_first.iter().copied().filter(|candidate| candidate.is_verified).collect();
    let minimum = retention.minimum.max(1) as usize;
    let Some(oldest_kept) = verified.get(minimum - 1) else { return Vec::new() };
    let limit_s = u64::from(retention.days) * DAY_S;
    let is_due = |candidate: &&Candidate| candidate.id < oldest_kept.id && now.seconds_since(candidate.id.begun()) > limit_s;
    let (due, kept): (Vec<&Candidate>, Vec<&Candidate>) = newest_first.into_iter().partition(is_due);
    let mut needed: BTreeSet<&BackupId> = kept.iter().flat_map(|candidate| &candidate.needs).collect();
    // Newest first, so what a needed one needs is known before it is met.
    let mut expired = Vec::new();
    for candidate in due {
        if needed.contains(&candidate.id) {
            needed.extend(&candidate.needs);
        } else {
            expired.push(candidate.id.clone());
        }
    }
    expired.reverse();
    expired
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_S: u64 = 1_700_000_000;

    fn candidate(age_days: u64, is_verified: bool) -> Candidate {
        numbered(0, age_days, is_verified)
    }

    /// The number tells apart what was begun in one second: no two backups have one name.
    fn numbered(number: usize, age_days: u64, is_verified: bool) -> Candidate {
        let number = u32::try_from(number).expect("a handful");
        let id = BackupId::new(Moment::from_unix_s(NOW_S - age_days * DAY_S - 1), number);
        Candidate { id, is_verified, needs: BTreeSet::new() }
    }

    fn ages(expired: &[BackupId]) -> Vec<u64> {
        expired.iter().map(|id| (NOW_S - id.begun().unix_s()) / DAY_S).collect()
    }

    fn at(now_s: u64) -> Moment {
        Moment::from_unix_s(now_s)
    }

    #[test]
    fn what_is_old_goes_when_enough_stays() {
        let all: Vec<Candidate> = [1, 10, 29, 30, 31, 90].map(|age| candidate(age, true)).to_vec();
        assert_eq!(ages(&expired(&all, Retention { days: 30, minimum: 3 }, at(NOW_S))), [90, 31, 30]);
        assert_eq!(ages(&expired(&all, Retention { days: 30, minimum: 5 }, at(NOW_S))), [90]);
        assert_eq!(expired(&all, Retention { days: 30, minimum: 7 }, at(NOW_S)), []);
    }

    #[test]
    fn only_verified_ones_count() {
        let all = [candidate(1, false), candidate(2, false), candidate(50, true), candidate(60, true), candidate(70, false)];
        assert_eq!(ages(&expired(&all, Retention { days: 30, minimum: 1 }, at(NOW_S))), [70, 60]);
        assert_eq!(ages(&expired(&all, Retention { days: 30, minimum: 2 }, at(NOW_S))), [70]);
        assert_eq!(expired(&all, Retention { days: 30, minimum: 3 }, at(NOW_S)), []);
    }

    #[test]
    fn what_an_incremental_one_needs_stays() {
        let (full, mut middle, mut last) = (candidate(50, true), candidate(40, true), candidate(1, true));
        middle.needs = [full.id.clone()].into();
        last.needs = [middle.id.clone()].into();
        let old = candidate(60, true);
        let all = [old, full, middle, last];
        assert_eq!(ages(&expired(&all, Retention { days: 30, minimum: 1 }, at(NOW_S))), [60]);
    }

    proptest! {
        #[test]
        fn the_last_verified_ones_stay_whatever_the_clock_says(
            all in proptest::collection::vec((0_u64..5000, any::<bool>()), 0..30),
            days in 0_u32..100, minimum in 0_u32..6, now_s in any::<u32>(),
        ) {
            let all = all.into_iter().enumerate().map(|(number, (age, verified))| numbered(number, age, verified));
            let all: Vec<Candidate> = all.collect();
            let gone = expired(&all, Retention { days, minimum }, at(u64::from(now_s)));
            let mut verified: Vec<&BackupId> = all.iter().filter(|one| one.is_verified).map(|one| &one.id).collect();
            verified.sort();
            let stay = verified.iter().rev().take(minimum.max(1) as usize);
            for id in stay {
                prop_assert!(!gone.contains(id));
            }
        }
    }
}
