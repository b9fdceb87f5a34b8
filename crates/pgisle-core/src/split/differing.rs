//! Which rows of a table differ between two sides, told as ranges of its key.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// So many ranges are told of one table; what comes behind them widens the last.
const RANGES_MAX: usize = 10;

/// So many characters of a key's value are told.
const SHOWN_MAX: usize = 40;

/// A run of rows, in the order of the key, none of which is the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// The table, `schema.name`.
    pub table: String,
    /// The columns of its key.
    pub key: Vec<String>,
    /// The first row's.
    pub first: Vec<String>,
    /// The last row's.
    pub last: Vec<String>,
    /// How many rows only the old side has.
    pub missing: u64,
    /// How many rows only the new side has.
    pub extra: u64,
    /// How many rows both sides have, with different content.
    pub changed: u64,
    /// Whether rows that are the same lie between, because there were too many ranges.
    pub is_wide: bool,
}

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.table, self.key.join(", "))?;
        let values = |values: &[String]| values.iter().map(|value| shortened(value)).collect::<Vec<_>>().join(", ");
        write!(f, " {}", values(&self.first))?;
        if self.first != self.last {
            write!(f, " to {}", values(&self.last))?;
        }
        let counts = [(self.missing, "missing"), (self.extra, "that the old side does not have"), (self.changed, "changed")];
        for (index, (count, what)) in counts.into_iter().filter(|(count, _)| *count > 0).enumerate() {
            write!(f, "{} {count} {what}", if index == 0 { ":" } else { "," })?;
        }
        if self.is_wide { f.write_str(", with others between") } else { Ok(()) }
    }
}

fn shortened(value: &str) -> String {
    let mut short: String = value.chars().take(SHOWN_MAX).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

/// The value of one column of a key, in an order that is the same everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum KeyValue {
    Number(i64),
    Text(Vec<u8>),
}

impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
        }
    }
}

/// A row of one side, as the statement of `core::sql::content::keyed_digests` sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRow {
    key: Vec<KeyValue>,
    digest: Vec<u8>,
}

impl KeyedRow {
    /// Reads a line: the key's values, whole numbers as they are and others in hexadecimal, and the digest of the row, between tabs.
    #[must_use]
    pub fn read(line: &[u8], is_number: &[bool]) -> Option<Self> {
        let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
        let digest = fields.pop()?.to_vec();
        if fields.len() != is_number.len() {
            return None;
        }
        let value = |(field, is_number): (&[u8], &bool)| match is_number {
            true => Some(KeyValue::Number(std::str::from_utf8(field).ok()?.parse().ok()?)),
            false => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let byte = |pair: &[u8]| match pair {
                    [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                    _ => None,
                };
                field.chunks(2).map(byte).collect::<Option<Vec<_>>>().map(KeyValue::Text)
            }
        };
        let key = fields.into_iter().zip(is_number).map(value).collect::<Option<_>>()?;
        Some(Self { key, digest })
    }
}

/// Of which side the next row is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// The old one: it is ahead in nothing, and the row is there alone.
    Old,
    /// The new one.
    New,
    /// Both: they are at the same key.
    Both,
}

/// Walks through both sides of a table in the order of its key.
#[derive(Debug)]
pub struct Comparison {
    table: String,
    key: Vec<String>,
    ranges: Vec<KeyRange>,
    /// Whether the last range ended at a row that is the same.
    is_closed: bool,
}

impl Comparison {
    /// Begins.
    #[must_use]
    pub fn new(table: String, key: Vec<String>) -> Self {
        Self { table, key, ranges: Vec::new(), is_closed: true }
    }

    /// Looks at the next row of each side, and says which is done with; nothing at the end of both.
    pub fn step(&mut self, old: Option<&KeyedRow>, new: Option<&KeyedRow>) -> Option<Take> {
        let take = match (old, new) {
            (None, None) => return None,
            (Some(_), None) => Take::Old,
            (None, Some(_)) => Take::New,
            (Some(old), Some(new)) => match old.key.cmp(&new.key) {
                Ordering::Less => Take::Old,
                Ordering::Greater => Take::New,
                Ordering::Equal => Take::Both,
            },
        };
        if take == Take::Both && old == new {
            self.is_closed = true;
            return Some(take);
        }
        let row = if take == Take::New { new } else { old };
        let key: Vec<String> = row.map(|row| row.key.iter().map(ToString::to_string).collect()).unwrap_or_default();
        let range = self.range(key);
        match take {
            Take::Old => range.missing += 1,
            Take::New => range.extra += 1,
            Take::Both => range.changed += 1,
        }
        Some(take)
    }

    /// The range that this key belongs to.
    fn range(&mut self, key: Vec<String>) -> &mut KeyRange {
        let is_full = self.ranges.len() == RANGES_MAX;
        if self.ranges.is_empty() || self.is_closed && !is_full {
            self.ranges.push(KeyRange {
                table: self.table.clone(),
                key: self.key.clone(),
                first: key.clone(),
                last: Vec::new(),
                missing: 0,
                extra: 0,
                changed: 0,
                is_wide: false,
            });
            self.is_closed = false;
        }
        let index = self.ranges.len() - 1;
        let range = &mut self.ranges[index];
        range.is_wide |= self.is_closed;
        range.last = key;
        self.is_closed = false;
        range
    }

    /// The ranges, in the order of the key.
    #[must_use]
    pub fn finish(self) -> Vec<KeyRange> {
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn row(key: i64, digest: u8) -> KeyedRow {
        KeyedRow { key: vec![KeyValue::Number(key)], digest: vec![digest] }
    }

    fn compare(old: &BTreeMap<i64, u8>, new: &BTreeMap<i64, u8>) -> Vec<KeyRange> {
        let rows = |side: &BTreeMap<i64, u8>| side.iter().map(|(key, digest)| row(*key, *digest)).collect::<Vec<_>>();
        let (old, new) = (rows(old), rows(new));
        let (mut left, mut right) = (old.iter().peekable(), new.iter().peekable());
        let mut comparison = Comparison::new("public.t".to_owned(), vec!["id".to_owned()]);
        while let Some(take) = comparison.step(left.peek().copied(), right.peek().copied()) {
            if take != Take::New {
                left.next();
            }
            if take != Take::Old {
                right.next();
            }
        }
        comparison.finish()
    }

    #[test]
    fn runs_are_told_as_ranges() {
        let old = BTreeMap::from([(1, 1), (2, 2), (3, 3), (4, 4), (9, 9), (11, 1)]);
        let new = BTreeMap::from([(1, 1), (3, 0), (4, 4), (9, 9), (10, 1), (11, 1)]);
        let told: Vec<String> = compare(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["public.t, id 2 to 3: 1 missing, 1 changed", "public.t, id 10: 1 that the old side does not have"]);
    }

    #[test]
    fn too_many_widen_the_last() {
        let old: BTreeMap<i64, u8> = (0..100).map(|key| (key, 1)).collect();
        let new = old.iter().map(|(key, digest)| (*key, digest + u8::from(key % 2 == 0))).collect();
        let ranges = compare(&old, &new);
        assert_eq!(ranges.len(), RANGES_MAX);
        assert_eq!(ranges[9].to_string(), "public.t, id 18 to 98: 41 changed, with others between");
    }

    #[test]
    fn keys_of_text_are_read_and_shortened() {
        let line = format!("7\t{}\tff", "6b".repeat(50));
        let read = KeyedRow::read(line.as_bytes(), &[true, false]);
        assert!(read.is_some());
        let mut comparison = Comparison::new("public.t".to_owned(), vec!["room".to_owned(), "name".to_owned()]);
        assert_eq!(comparison.step(None, read.as_ref()), Some(Take::New));
        let told = comparison.finish()[0].to_string();
        assert_eq!(told, format!("public.t, room, name 7, {}…: 1 that the old side does not have", "k".repeat(40)));
        for wrong in ["7\tff", "x\t6b\tff", "7\t6\tff", "7\t6g\tff", ""] {
            assert_eq!(KeyedRow::read(wrong.as_bytes(), &[true, false]), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn each_row_that_differs_is_counted_once(
            old in proptest::collection::btree_map(0_i64..60, 0_u8..3, 0..40),
            new in proptest::collection::btree_map(0_i64..60, 0_u8..3, 0..40),
        ) {
            let ranges = compare(&old, &new);
            let sum = |count: fn(&KeyRange) -> u64| ranges.iter().map(count).sum::<u64>();
            let count = |keys: Vec<&i64>| keys.len() as u64;
            prop_assert_eq!(sum(|range| range.missing), count(old.keys().filter(|key| !new.contains_key(key)).collect()));
            prop_assert_eq!(sum(|range| range.extra), count(new.keys().filter(|key| !old.contains_key(key)).collect()));
            let changed = old.iter().filter(|(key, digest)| new.get(key).is_some_and(|other| other != *digest)).map(|(key, _)| key);
            prop_assert_eq!(sum(|range| range.changed), count(changed.collect()));
            prop_assert!(ranges.len() <= RANGES_MAX);
        }
    }
}
