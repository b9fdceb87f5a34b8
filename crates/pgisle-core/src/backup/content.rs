//! What is in a database, in so few words that two databases can be compared: rows and a digest per table.
//!
//! The digest of a table is the sum of its rows' hashes, so the order of the rows, which a restore changes, does not matter. A row
//! is hashed as the line that COPY writes, which is what `pg_dump` writes too: a backup's content is taken from the very bytes of
//! the dump. The hash (XXH3, 128 bits) finds accidents; it does not stop someone who makes collisions on purpose.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_128;

/// Rows so far, and the sum of their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowSum {
    rows: u64,
    sum: u128,
}

impl RowSum {
    /// Adds a row: the line without its end.
    pub fn add(&mut self, row: &[u8]) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(xxh3_128(row));
    }

    /// How many rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.sum)
    }
}

/// The digest of rows in any order. As text, 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = u128::from_str_radix(&text, 16).ok().map(Self).filter(|digest| digest.to_string() == text);
        number.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a digest")))
    }
}

/// Cuts a stream of COPY text into rows and adds them up, however the stream is cut into pieces.
#[derive(Debug, Default)]
pub struct RowReader {
    sum: RowSum,
    partial: Vec<u8>,
    ended: bool,
}

/// The line behind the last row in a script and in an archive. In a row, a backslash always has another one before it.
const END_OF_DATA: &[u8] = b"\\.";

impl RowReader {
    /// Takes the next piece.
    pub fn feed(&mut self, mut piece: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, rest) = (&piece[..end], &piece[end + 1..]);
            if self.partial.is_empty() {
                self.line(line);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole);
                whole.clear();
                self.partial = whole;
            }
            piece = rest;
        }
        self.partial.extend_from_slice(piece);
    }

    fn line(&mut self, line: &[u8]) {
        self.ended |= line == END_OF_DATA;
        if !self.ended {
            self.sum.add(line);
        }
    }

    /// The rows, and whether the stream ended between two of them.
    ///
    /// # Errors
    /// The last row has no end: the stream was cut.
    pub fn finish(self) -> Result<RowSum, CutRow> {
        if self.partial.is_empty() { Ok(self.sum) } else { Err(CutRow) }
    }

    /// Whether the line that ends the data was seen, as archives have it and the wire has not.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

/// What COPY's binary form begins with: a signature, flags, and the length of nothing more.
const BINARY_HEADER_BYTES: usize = 19;

/// Cuts a stream of COPY's binary form into rows and adds them up, however the stream is cut into pieces. Its sums are others than
/// those of the text.
#[derive(Debug, Default)]
pub struct BinaryReader {
    sum: RowSum,
    partial: Vec<u8>,
    has_begun: bool,
    has_ended: bool,
}

impl BinaryReader {
    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.partial.is_empty() {
            let done = self.take(piece);
            self.partial.extend_from_slice(&piece[done..]);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(piece);
            let done = self.take(&whole);
            whole.drain(..done);
            self.partial = whole;
        }
    }

    /// Takes what is whole of it; gives how many bytes that was.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        if !self.has_begun {
            if bytes.len() < BINARY_HEADER_BYTES {
                return 0;
            }
            (self.has_begun, done) = (true, BINARY_HEADER_BYTES);
        }
        while let Some(row) = binary_row(&bytes[done..]).filter(|_| !self.has_ended) {
            match row {
                0 => {
                    self.has_ended = true;
                    done += 2;
                }
                length => {
                    self.sum.add(&bytes[done..done + length]);
                    done += length;
                }
            }
        }
        done
    }

    /// The rows, and whether the stream had its end.
    ///
    /// # Errors
    /// It had none, or something behind it: the stream was cut.
    pub fn finish(self) -> Result<RowSum, CutRow> {
        if self.has_ended && self.partial.is_empty() { Ok(self.sum) } else { Err(CutRow) }
    }
}

/// The length of the row that bytes begin with: none when it is not whole, 0 when it is the end of the data.
fn binary_row(bytes: &[u8]) -> Option<usize> {
    let fields = i16::from_be_bytes(bytes.first_chunk().copied()?);
    if fields < 0 {
        return Some(0);
    }
    let mut length = 2;
    for _ in 0..fields {
        let field = i32::from_be_bytes(bytes.get(length..)?.first_chunk().copied()?);
        // Less than nothing is NULL.
        length += 4 + usize::try_from(field).unwrap_or_default();
    }
    (bytes.len() >= length).then_some(length)
}

/// A stream of rows that ends in the middle of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data ends in the middle of a row")]
pub struct CutRow;

/// A table's rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableContent {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// How many rows.
    pub rows: u64,
    /// The digest of the rows.
    pub digest: Digest,
}

/// Where a sequence stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceContent {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `last_value`.
    pub last_value: i64,
    /// `is_called`: whether the next value is behind `last_value` rather than it.
    pub is_called: bool,
}

/// All large objects together; each counts as a row of its number and its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LargeObjects {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The digest.
    pub digest: Digest,
}

/// Hashes one large object: its number, then its bytes.
#[must_use]
pub fn large_object_row(oid: u32, bytes: &[u8]) -> Vec<u8> {
    let mut row = oid.to_le_bytes().to_vec();
    row.extend_from_slice(bytes);
    row
}

/// What is in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The tables that hold rows of their own, by schema and name.
    pub tables: Vec<TableContent>,
    /// The sequences, by schema and name.
    pub sequences: Vec<SequenceContent>,
    /// The large objects.
    pub large_objects: LargeObjects,
}

impl Content {
    /// All rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// The same for what can be counted: a row's text depends on the time zone and the like of whoever reads it.
    #[must_use]
    pub fn count_differences(&self, found: &Self) -> Vec<String> {
        let counted = |content: &Self| {
            let mut counted = content.clone();
            let none = RowSum::default().digest();
            counted.tables.iter_mut().for_each(|table| table.digest = none);
            counted
        };
        counted(self).differences(&counted(found))
    }

    /// Where `found` is not what this is, a line each. Empty when they are the same.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let key = |table: &TableContent| (table.schema.clone(), table.name.clone());
        pair(&self.tables, &found.tables, key, |key, expected, found| {
            let name = shown(key);
            lines.extend(match (expected, found) {
                (Some(_), None) => Some(format!("table {name} is missing")),
                (None, Some(_)) => Some(format!("table {name} is there and should not be")),
                (Some(one), Some(other)) if one.rows != other.rows => {
                    Some(format!("table {name} has {} rows and should have {}", other.rows, one.rows))
                }
                (Some(one), Some(other)) if one.digest != other.digest => {
                    Some(format!("table {name} has the right number of rows, {}, and other content", one.rows))
                }
                _ => None,
            });
        });
        let key = |sequence: &SequenceContent| (sequence.schema.clone(), sequence.name.clone());
        pair(&self.sequences, &found.sequences, key, |key, expected, found| {
            let name = shown(key);
            let words = |sequence: &SequenceContent| {
                format!("{} ({})", sequence.last_value, if sequence.is_called { "used" } else { "not used yet" })
            };
            lines.extend(match (expected, found) {
                (Some(_), None) => Some(format!("sequence {name} is missing")),
                (None, Some(_)) => Some(format!("sequence {name} is there and should not be")),
                (Some(one), Some(other)) if one != other => {
                    Some(format!("sequence {name} stands at {} and should stand at {}", words(other), words(one)))
                }
                _ => None,
            });
        });
        if self.large_objects != found.large_objects {
            let (one, other) = (&self.large_objects, &found.large_objects);
            lines.push(format!(
                "there are {} large objects of {} bytes, and should be {} of {}{}",
                other.count,
                other.bytes,
                one.count,
                one.bytes,
                if (one.count, one.bytes) == (other.count, other.bytes) { "; their content differs" } else { "" }
            ));
        }
        lines
    }
}

fn shown((schema, name): &(String, String)) -> String {
    format!("\"{schema}\".\"{name}\"")
}

/// Goes through two lists by their keys.
fn pair<T, K: Ord>(one: &[T], other: &[T], key: impl Fn(&T) -> K, mut each: impl FnMut(&K, Option<&T>, Option<&T>)) {
    let index = |list: &[T]| -> std::collections::BTreeMap<K, usize> {
        list.iter().enumerate().map(|(place, item)| (key(item), place)).collect()
    };
    let (ones, others) = (index(one), index(other));
    let keys: std::collections::BTreeSet<&K> = ones.keys().chain(others.keys()).collect();
    for key in keys {
        each(key, ones.get(key).map(|&place| &one[place]), others.get(key).map(|&place| &other[place]));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn sum_of(text: &[u8], pieces: usize) -> RowSum {
        let mut reader = RowReader::default();
        text.chunks(pieces).for_each(|piece| reader.feed(piece));
        reader.finish().unwrap()
    }

    proptest! {
        #[test]
        fn neither_the_order_of_the_rows_nor_the_cuts_matter(
            rows in proptest::collection::vec("[a-z\t\\\\N]{0,9}x", 0..20),
            pieces in 1_usize..7,
        ) {
            let forwards: String = rows.iter().map(|row| format!("{row}\n")).collect();
            let backwards: String = rows.iter().rev().map(|row| format!("{row}\n")).collect();
            let sum = sum_of(forwards.as_bytes(), pieces);
            prop_assert_eq!(sum, sum_of(backwards.as_bytes(), pieces + 1));
            prop_assert_eq!(sum.rows(), rows.len() as u64);
            prop_assert_eq!(sum, sum_of(format!("{forwards}\\.\n\n\n").as_bytes(), pieces));
        }
    }

    #[test]
    fn a_cut_row_is_told() {
        let mut reader = RowReader::default();
        reader.feed(b"one\ntw");
        assert_eq!(reader.finish(), Err(CutRow));
    }

    #[test]
    fn a_row_more_a_row_less_and_a_changed_row_all_show() {
        let content = |rows: &[u8]| {
            let sum = sum_of(rows, 100);
            let table = TableContent { schema: "public".into(), name: "t".into(), rows: sum.rows(), digest: sum.digest() };
            let none = RowSum::default().digest();
            Content { tables: vec![table], sequences: vec![], large_objects: LargeObjects { count: 0, bytes: 0, digest: none } }
        };
        let one = content(b"a\nb\n");
        assert_eq!(one.differences(&content(b"b\na\n")), Vec::<String>::new());
        assert_eq!(one.differences(&content(b"a\n")), ["table \"public\".\"t\" has 1 rows and should have 2"]);
        assert_eq!(one.differences(&content(b"a\nc\n")).len(), 1);
        assert_eq!(one.count_differences(&content(b"a\nc\n")), Vec::<String>::new());
        assert_eq!(one.count_differences(&content(b"a\n")).len(), 1);
        let mut empty = content(b"");
        empty.tables.clear();
        assert_eq!(one.differences(&empty), ["table \"public\".\"t\" is missing"]);
        assert_eq!(empty.differences(&one), ["table \"public\".\"t\" is there and should not be"]);
    }

    #[test]
    fn binary_rows_are_the_same_however_they_are_cut() {
        let row = |value: &[u8]| [&[0, 2][..], &(-1_i32).to_be_bytes(), &4_i32.to_be_bytes(), value].concat();
        let header = [&b"PGCOPY\n\xff\r\n\0"[..], &[0; 8]].concat();
        let stream = [header.clone(), row(b"abcd"), vec![0, 0], row(b"efgh"), vec![0xff, 0xff]].concat();
        let mut expected = RowSum::default();
        [row(b"abcd"), vec![0, 0], row(b"efgh")].iter().for_each(|row| expected.add(row));
        for size in 1..=stream.len() {
            let mut reader = BinaryReader::default();
            stream.chunks(size).for_each(|piece| reader.feed(piece));
            let sum = reader.finish().unwrap();
            assert_eq!((sum.rows(), sum.digest()), (3, expected.digest()), "{size}");
        }
        for length in 0..stream.len() {
            let mut reader = BinaryReader::default();
            reader.feed(&stream[..length]);
            assert!(reader.finish().is_err(), "{length}");
        }
        let mut more = BinaryReader::default();
        more.feed(&[&stream[..], &[0]].concat());
        assert!(more.finish().is_err());
    }
}
