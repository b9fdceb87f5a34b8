use super::*;

const KILL: Kill = Kill { begun_us: 1_000_000, done_us: 1_010_000 };

fn attempt(sent_ms: u64, answer: Answer) -> Attempt {
    Attempt { sent_us: sent_ms * 1000, answered_us: sent_ms * 1000 + 500, answer }
}

fn by(by: Server) -> Answer {
    Answer::Acknowledged { by, was_there: false }
}

fn entry(key: i64, attempts: &[Attempt]) -> Entry {
    Entry { key, attempts: attempts.to_vec() }
}

fn rows(keyed: &[(i64, u64)], blind: &[(i64, u64)]) -> Rows {
    Rows { keyed: keyed.iter().copied().collect(), blind: blind.iter().copied().collect() }
}

#[test]
fn every_fate_of_a_write_is_counted_as_what_it_is() {
    let entries = [
        // Done, and there.
        entry(1, &[attempt(10, by(Server::Old))]),
        // Acknowledged, and lost, half a second before the kill and shortly before.
        entry(2, &[attempt(500, by(Server::Old))]),
        entry(3, &[attempt(990, by(Server::Old))]),
        // No answer, committed, tried again: there once with a key, twice without.
        entry(4, &[attempt(999, Answer::Unknown), attempt(1400, Answer::Acknowledged { by: Server::New, was_there: true })]),
        // No answer and not committed.
        entry(5, &[attempt(999, Answer::Unknown), attempt(1100, Answer::Refused), attempt(1300, by(Server::New))]),
        // No answer, never asked again, and there.
        entry(6, &[attempt(998, Answer::Unknown)]),
    ];
    let found = rows(&[(1, 1), (4, 1), (5, 1), (6, 1)], &[(1, 1), (4, 2), (5, 1), (6, 1)]);
    let expected = Balance {
        writes: 6,
        acknowledged: 5,
        unknown: 3,
        unknown_committed: 2,
        refused: 1,
        lost: 2,
        lost_span_ms: Some(499),
        duplicates: 0,
        duplicates_without_key: 1,
        strangers: 0,
        accepted_by_old: 0,
        back_after_ms: Some(300),
    };
    assert_eq!(compare(&entries, &found, KILL), expected);
}

#[test]
fn what_must_never_be_is_seen() {
    let entries = [
        // In flight while it was killed, and answered: no fault.
        entry(1, &[attempt(1_005, by(Server::Old))]),
        // Sent to a server that was dead.
        entry(2, &[attempt(1_200, by(Server::Old))]),
    ];
    let balance = compare(&entries, &rows(&[(1, 2), (2, 1), (9, 1)], &[]), KILL);
    assert_eq!((balance.accepted_by_old, balance.duplicates, balance.strangers), (1, 1, 1));
    assert_eq!(balance.back_after_ms, None);
    assert_eq!(compare(&[], &Rows::default(), KILL), Balance::default());
}

#[test]
fn only_what_was_acknowledged_in_its_time_counts_as_slow_or_fast() {
    let entries =
        [entry(1, &[attempt(5, by(Server::Old)), attempt(50, by(Server::Old))]), entry(2, &[attempt(6, Answer::Unknown)])];
    assert!(latency(&entries, 0, 10_000).is_some_and(|latency| latency.max_us >= 500));
    assert_eq!(latency(&entries, 6_000, 50_000), None);
}
