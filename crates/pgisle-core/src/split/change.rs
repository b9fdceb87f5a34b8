//! What a logical replication slot says, by the protocol of `pgoutput`, version 1: "Logical Replication Message Formats" in
//! PostgreSQL's manual. Pure; damaged or unknown messages are errors.

use super::observed::Oid;

/// A place in the write-ahead log, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Reads `0/1A2B3C4D`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let (high, low) = (u64::from_str_radix(high, 16).ok()?, u64::from_str_radix(low, 16).ok()?);
        (high <= u64::from(u32::MAX) && low <= u64::from(u32::MAX)).then_some(Self(high << 32 | low))
    }
}

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl serde::Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no place in the write-ahead log"))
    }
}

/// One value of a row, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// NULL.
    Null,
    /// Stored outside of the row and not changed: it is as it was.
    Unchanged,
    /// Its text form.
    Text(String),
}

/// A column of a published table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether rows are told apart by it.
    pub is_key: bool,
}

/// A published table, as it was when the changes behind this message were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its number.
    pub oid: Oid,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whether rows are told apart by all their columns (`REPLICA IDENTITY FULL`).
    pub is_full: bool,
    /// Its published columns.
    pub columns: Vec<Column>,
}

/// How an old row is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old {
    /// By its key; the other fields are NULL.
    Key(Vec<Field>),
    /// Whole.
    Row(Vec<Field>),
}

/// A message of the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A transaction begins.
    Begin {
        /// Its number, without the epoch.
        xid: u32,
        /// Where its commit is.
        commit: Lsn,
    },
    /// It ends.
    Commit {
        /// Just behind it: what is confirmed to a slot.
        end: Lsn,
    },
    /// What a table looks like from here on.
    Table(Table),
    /// A new row.
    Insert {
        /// The table.
        table: Oid,
        /// The row.
        row: Vec<Field>,
    },
    /// A changed row.
    Update {
        /// The table.
        table: Oid,
        /// How it was, when its key changed or the whole row is its key.
        old: Option<Old>,
        /// How it is.
        row: Vec<Field>,
    },
    /// A row that went.
    Delete {
        /// The table.
        table: Oid,
        /// How it was.
        old: Old,
    },
    /// Tables that were emptied.
    Truncate {
        /// The tables.
        tables: Vec<Oid>,
        /// Whether their sequences began anew.
        restart: bool,
    },
    /// Nothing that has to be done.
    Other,
}

/// Why a message is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It ends too early.
    #[error("a message of the replication slot is cut off")]
    Cut,
    /// A kind that is not known here.
    #[error("the replication slot sent a message of kind {0:?}")]
    Kind(char),
    /// A text that is none, or a number out of range.
    #[error("a message of the replication slot is damaged: {0}")]
    Damaged(&'static str),
}

/// Reads one message.
///
/// # Errors
/// See [`ChangeError`].
pub fn read(message: &[u8]) -> Result<Change, ChangeError> {
    let mut bytes = Bytes(message);
    let change = match bytes.byte()? {
        b'B' => {
            let commit = Lsn(bytes.u64()?);
            bytes.u64()?;
            Change::Begin { xid: bytes.u32()?, commit }
        }
        b'C' => {
            bytes.byte()?;
            bytes.u64()?;
            let end = Lsn(bytes.u64()?);
            bytes.u64()?;
            Change::Commit { end }
        }
        b'R' => Change::Table(bytes.table()?),
        b'I' => {
            let table = bytes.u32()?;
            bytes.expect(b'N')?;
            Change::Insert { table, row: bytes.fields()? }
        }
        b'U' => bytes.update()?,
        b'D' => {
            let table = bytes.u32()?;
            let kind = bytes.byte()?;
            Change::Delete { table, old: bytes.old(kind)? }
        }
        b'T' => {
            let count = bytes.u32()?;
            let options = bytes.byte()?;
            let tables = (0..count).map(|_| bytes.u32()).collect::<Result<_, _>>()?;
            Change::Truncate { tables, restart: options & 2 != 0 }
        }
        b'Y' | b'O' | b'M' => return Ok(Change::Other),
        other => return Err(ChangeError::Kind(char::from(other))),
    };
    if bytes.0.is_empty() { Ok(change) } else { Err(ChangeError::Damaged("it is too long")) }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ChangeError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(ChangeError::Cut)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ChangeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, ChangeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, ChangeError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, ChangeError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, ChangeError> {
        self.array().map(u64::from_be_bytes)
    }

    fn expect(&mut self, expected: u8) -> Result<(), ChangeError> {
        if self.byte()? == expected { Ok(()) } else { Err(ChangeError::Damaged("a row does not begin as one")) }
    }

    fn text(&mut self) -> Result<String, ChangeError> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(ChangeError::Cut)?;
        let text = self.take(end)?;
        self.byte()?;
        utf8(text)
    }

    fn table(&mut self) -> Result<Table, ChangeError> {
        let (oid, schema, name) = (self.u32()?, self.text()?, self.text()?);
        let is_full = self.byte()? == b'f';
        let count = self.u16()?;
        let column = |bytes: &mut Self| {
            let is_key = bytes.byte()? & 1 != 0;
            let name = bytes.text()?;
            // Its type and the type's modifier: the target's own are what counts.
            bytes.u64()?;
            Ok(Column { name, is_key })
        };
        let columns = (0..count).map(|_| column(self)).collect::<Result<_, ChangeError>>()?;
        Ok(Table { oid, schema, name, is_full, columns })
    }

    fn update(&mut self) -> Result<Change, ChangeError> {
        let table = self.u32()?;
        let old = match self.byte()? {
            b'N' => None,
            kind => {
                let old = self.old(kind)?;
                self.expect(b'N')?;
                Some(old)
            }
        };
        Ok(Change::Update { table, old, row: self.fields()? })
    }

    fn old(&mut self, kind: u8) -> Result<Old, ChangeError> {
        match kind {
            b'K' => self.fields().map(Old::Key),
            b'O' => self.fields().map(Old::Row),
            _ => Err(ChangeError::Damaged("an old row does not begin as one")),
        }
    }

    fn fields(&mut self) -> Result<Vec<Field>, ChangeError> {
        let count = self.u16()?;
        let field = |bytes: &mut Self| match bytes.byte()? {
            b'n' => Ok(Field::Null),
            b'u' => Ok(Field::Unchanged),
            b't' => {
                let length = usize::try_from(bytes.u32()?).map_err(|_| ChangeError::Damaged("a length"))?;
                bytes.take(length).and_then(utf8).map(Field::Text)
            }
            _ => Err(ChangeError::Damaged("a field of an unknown kind")),
        };
        (0..count).map(|_| field(self)).collect()
    }
}

fn utf8(bytes: &[u8]) -> Result<String, ChangeError> {
    // The session's encoding is UTF8, and the server converts.
    String::from_utf8(bytes.to_vec()).map_err(|_| ChangeError::Damaged("a text is not UTF-8"))
}

/// Which transactions a snapshot sees: `pg_current_snapshot()`, such as `10:20:10,14`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Visible {
    /// All below it had ended.
    begin: u64,
    /// None from it on had begun.
    end: u64,
    /// Those in between that were under way, in order.
    under_way: Vec<u64>,
}

impl Visible {
    /// Reads the text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let (begin, end) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let numbers = parts.next()?.split(',').filter(|number| !number.is_empty());
        let mut under_way = numbers.map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?;
        under_way.sort_unstable();
        Some(Self { begin, end, under_way })
    }

    /// Whether the snapshot sees what a transaction committed, which has since ended. The number lacks its epoch: it is taken as
    /// the one that lies nearest to the snapshot, as the server itself does.
    #[must_use]
    pub fn sees(&self, xid: u32) -> bool {
        // Half of the numbers lie before, half of them behind.
        let low = self.end as u32;
        let distance = xid.wrapping_sub(low).cast_signed();
        let Some(whole) = self.end.checked_add_signed(i64::from(distance)) else { return true };
        if whole >= self.end {
            return false;
        }
        whole < self.begin || self.under_way.binary_search(&whole).is_err()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn update() -> Vec<u8> {
        let mut message = vec![b'U', 0, 0, 1, 0, b'K', 0, 2];
        message.extend_from_slice(b"t\0\0\0\x017n");
        message.extend_from_slice(b"N\0\x03t\0\0\0\x018nu");
        message
    }

    #[test]
    fn messages_are_read() {
        let expected = Change::Update {
            table: 256,
            old: Some(Old::Key(vec![Field::Text("7".into()), Field::Null])),
            row: vec![Field::Text("8".into()), Field::Null, Field::Unchanged],
        };
        assert_eq!(read(&update()).unwrap(), expected);
        let mut table = vec![b'R', 0, 0, 1, 0];
        table.extend_from_slice(b"public\0t\0d\0\x02\x01id\0\0\0\0\x14\xff\xff\xff\xff\0note\0\0\0\0\x19\xff\xff\xff\xff");
        let columns = [("id", true), ("note", false)].map(|(name, is_key)| Column { name: name.to_owned(), is_key });
        let expected = Table { oid: 256, schema: "public".into(), name: "t".into(), is_full: false, columns: columns.to_vec() };
        assert_eq!(read(&table).unwrap(), Change::Table(expected));
        let begin = [&b"B\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\0"[..], &7_u32.to_be_bytes()].concat();
        assert_eq!(read(&begin).unwrap(), Change::Begin { xid: 7, commit: Lsn(0x1_0000_0002) });
    }

    #[test]
    fn what_is_cut_is_no_message() {
        let whole = update();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        assert_eq!(read(&[whole, vec![0]].concat()), Err(ChangeError::Damaged("it is too long")));
        assert_eq!(read(b"S"), Err(ChangeError::Kind('S')));
    }

    #[test]
    fn a_snapshot_sees_what_had_ended() {
        let visible = Visible::parse("10:20:10,14").unwrap();
        let seen: Vec<u32> = (5..25).filter(|xid| visible.sees(*xid)).collect();
        assert_eq!(seen, [5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 18, 19]);
        assert!(Visible::parse("20:20:").unwrap().sees(19));
        // Past the end of an epoch.
        let epoch = 3_u64 << 32;
        let visible = Visible::parse(&format!("{}:{}:{}", epoch - 2, epoch + 2, epoch - 1)).unwrap();
        let seen: Vec<bool> = [u32::MAX - 2, u32::MAX - 1, u32::MAX, 0, 1, 2].map(|xid| visible.sees(xid)).to_vec();
        assert_eq!(seen, [true, true, false, true, true, false]);
        assert_eq!(Visible::parse("10:20"), None);
        assert_eq!(Visible::parse("a:20:"), None);
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        assert_eq!(Lsn::parse("16/B374D848").unwrap().to_string(), "16/B374D848");
        assert_eq!(Lsn::parse("1/0").unwrap(), Lsn(1 << 32));
        for text in ["", "1", "x/1", "1/100000000"] {
            assert_eq!(Lsn::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
