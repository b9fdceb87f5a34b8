//! Reading `pg_dump`'s custom format as it flows by: what it lists, and what is in it.
//!
//! The format is that of `pg_backup_archiver.c` and `pg_backup_custom.c`, versions 1.12 (PostgreSQL 9.0) to 1.16 (17 and 18),
//! without `pg_dump`'s own compression. Everything that a cut or damaged archive could be mistaken for whole is an error: a
//! table whose data does not come, data that nobody listed, a number that is none.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::content::{Content, LargeObjects, RowReader, RowSum, SequenceContent, TableContent, large_object_row};

/// What every archive begins with.
pub const MAGIC: &[u8] = b"PGDMP";

/// No text in a table of contents is longer; more is damage, and would only be allocated.
const TEXT_BYTES_MAX: usize = 1 << 28;

/// No archive lists more.
const ENTRIES_MAX: i64 = 50_000_000;

/// How an entry says that it comes behind the data (`teSection` in `pg_backup.h`).
const SECTION_POST_DATA: i64 = 4;

/// How an entry says that it knows where in the file its data is (`K_OFFSET_POS_SET` in `pg_backup_archiver.h`), and that it does not.
const OFFSET_SET: u8 = 2;
const OFFSET_NOT_SET: u8 = 1;

/// Rows are handed on in pieces of about this many bytes: large enough that the cost of each does not matter.
const PIECE_BYTES: usize = 1 << 18;

/// The line behind the last row.
const END_OF_DATA: &[u8] = b"\\.\n";

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The stream broke, or ended too early.
    #[error("the archive cannot be read to its end")]
    Read(#[source] io::Error),
    /// Who was to get it takes no more.
    #[error("the archive cannot be handed on")]
    Write(#[source] io::Error),
    /// It is something else.
    #[error("it is not an archive of pg_dump's custom format")]
    Magic,
    /// A version or format that is not known here.
    #[error("the archive is of version {0}.{1}, which is not known here")]
    Version(u8, u8),
    /// `pg_dump` compressed it.
    #[error("the archive is compressed by pg_dump itself")]
    Compressed,
    /// It is not what an archive is like.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
}

/// One thing that an archive lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, by which `pg_restore -L` selects it.
    pub dump_id: i64,
    /// What it is in the catalogs: the number of the catalog, and its number in there. Zero for what is in none.
    pub catalog: (u32, u32),
    /// What it is: `TABLE`, `TABLE DATA`, `ACL`, …
    pub kind: String,
    /// Its name.
    pub tag: String,
    /// The SQL that makes it.
    pub definition: String,
    /// For data: the COPY statement, which names the columns in the order in which they come.
    pub copy: String,
    /// Its schema; empty for what is in none.
    pub schema: String,
    /// Its owner; empty for what has none.
    pub owner: String,
    /// Whether data of its own follows.
    pub has_data: bool,
    /// Whether it comes behind the data: indexes, constraints, triggers and the like.
    pub is_post_data: bool,
    /// The numbers of what must be there before it. They need not be listed.
    pub dependencies: Vec<i64>,
}

/// An archive that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The database's name when it was dumped.
    pub database: String,
    /// The server's version.
    pub server_version: String,
    /// `pg_dump`'s version.
    pub dump_version: String,
    /// The format's version.
    pub version: (u8, u8),
    /// What it lists, in order.
    pub entries: Vec<Entry>,
    /// What is in it.
    pub content: Content,
}

/// Reads an archive to its end. Hand in something that is buffered: it is read in small pieces.
///
/// # Errors
/// See [`ArchiveError`].
pub fn read(input: impl Read) -> Result<Archive, ArchiveError> {
    rewrite(input, io::sink())
}

/// Reads an archive to its end and hands the same archive on, with the rows of its tables in large pieces. `pg_dump` makes a piece of
/// each row, and says its length in five bytes that no compression makes less than one or two of: a twentieth of what is kept. Hand in
/// something that is buffered on both sides.
///
/// # Errors
/// See [`ArchiveError`].
pub fn rewrite(input: impl Read, output: impl Write) -> Result<Archive, ArchiveError> {
    let mut reader = Reader::new(input, output);
    let head = reader.head()?;
    if head.is_compressed {
        return Err(ArchiveError::Compressed);
    }
    let entries = reader.entries()?;
    let content = reader.data(&entries)?;
    let Head { is_compressed: _, database, server_version, dump_version } = head;
    Ok(Archive { database, server_version, dump_version, version: reader.version, entries, content })
}

/// Reads only what an archive lists. Its data may be compressed.
///
/// # Errors
/// See [`ArchiveError`].
pub fn read_entries(input: impl Read) -> Result<Listing, ArchiveError> {
    let mut reader = Reader::new(input, io::sink());
    let head = reader.head()?;
    let entries = reader.entries()?;
    Ok(Listing { head, version: reader.version, entries })
}

/// Reads an archive to its end, and hands on the rows of its tables: the table's entry and a piece of whole rows, at least one for
/// each table, and an empty one for a table without rows. Ends early, with nothing, once a piece is not wanted.
///
/// # Errors
/// See [`ArchiveError`].
pub fn read_rows(input: impl Read, hand_on: &mut dyn FnMut(&Entry, Vec<u8>) -> bool) -> Result<Option<Vec<Entry>>, ArchiveError> {
    let mut reader = Reader::new(input, io::sink());
    if reader.head()?.is_compressed {
        return Err(ArchiveError::Compressed);
    }
    let entries = reader.entries()?;
    Ok(reader.hand_on_data(&entries, hand_on)?.then_some(entries))
}

/// What an archive lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What it says of itself.
    pub head: Head,
    /// The format's version: 1 and 12 to 16. A program that is older than the format cannot read it.
    pub version: (u8, u8),
    /// What it lists, in order.
    pub entries: Vec<Entry>,
}

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whether `pg_dump` compressed its data.
    pub is_compressed: bool,
    /// The database's name when it was dumped.
    pub database: String,
    /// The server's version.
    pub server_version: String,
    /// `pg_dump`'s version.
    pub dump_version: String,
}

/// Hands on all that it reads, but the pieces of data, which [`Reader::put_piece`] hands on.
struct Reader<R, W> {
    input: R,
    output: W,
    integer_bytes: usize,
    offset_bytes: usize,
    version: (u8, u8),
}

fn damaged(what: impl Into<String>) -> ArchiveError {
    ArchiveError::Damaged(what.into())
}

impl<R: Read, W: Write> Reader<R, W> {
    fn new(input: R, output: W) -> Self {
        Self { input, output, integer_bytes: 4, offset_bytes: 8, version: (0, 0) }
    }

    fn take_bytes<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(ArchiveError::Read)?;
        Ok(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.output.write_all(bytes).map_err(ArchiveError::Write)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let bytes = self.take_bytes()?;
        self.put(&bytes)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, ArchiveError> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    /// A byte, or nothing at the end.
    fn byte_or_end(&mut self) -> Result<Option<u8>, ArchiveError> {
        let mut byte = [0];
        loop {
            match self.input.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => {
                    self.put(&byte)?;
                    return Ok(Some(byte[0]));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::Read(error)),
            }
        }
    }

    /// A sign, then the number, the least byte first.
    fn integer(&mut self) -> Result<i64, ArchiveError> {
        let number = self.take_integer()?;
        self.put_integer(number)?;
        Ok(number)
    }

    fn take_integer(&mut self) -> Result<i64, ArchiveError> {
        let [sign] = self.take_bytes()?;
        if sign > 1 {
            return Err(damaged(format!("a number has the sign {sign}")));
        }
        let mut bytes = [0; 8];
        self.input.read_exact(&mut bytes[..self.integer_bytes]).map_err(ArchiveError::Read)?;
        let number = i64::from_le_bytes(bytes);
        Ok(if sign == 1 { number.wrapping_neg() } else { number })
    }

    fn put_integer(&mut self, number: i64) -> Result<(), ArchiveError> {
        let mut bytes = [u8::from(number < 0); 9];
        bytes[1..].copy_from_slice(&number.unsigned_abs().to_le_bytes());
        self.output.write_all(&bytes[..=self.integer_bytes]).map_err(ArchiveError::Write)
    }

    fn text(&mut self) -> Result<Option<String>, ArchiveError> {
        let length = self.integer()?;
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        if length > TEXT_BYTES_MAX {
            return Err(damaged(format!("a text of {length} bytes")));
        }
        let mut bytes = Vec::new();
        self.input.by_ref().take(length as u64).read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
        if bytes.len() < length {
            return Err(ArchiveError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        self.put(&bytes)?;
        // Names are in the database's encoding, which pgisle always makes UTF8; others are shown as well as can be.
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn text_or_empty(&mut self) -> Result<String, ArchiveError> {
        self.text().map(Option::unwrap_or_default)
    }

    fn head(&mut self) -> Result<Head, ArchiveError> {
        let mut magic = [0; MAGIC.len()];
        self.input.read_exact(&mut magic).map_err(|_| ArchiveError::Magic)?;
        if magic != MAGIC {
            return Err(ArchiveError::Magic);
        }
        self.put(&magic)?;
        let [major, minor, _revision, integer_bytes, offset_bytes, format] = self.bytes()?;
        if major != 1 || !(12..=16).contains(&minor) {
            return Err(ArchiveError::Version(major, minor));
        }
        if format != 1 || !(1..=8).contains(&integer_bytes) || !(1..=8).contains(&offset_bytes) {
            return Err(ArchiveError::Magic);
        }
        self.version = (major, minor);
        (self.integer_bytes, self.offset_bytes) = (usize::from(integer_bytes), usize::from(offset_bytes));
        let compression = if minor >= 15 { i64::from(self.byte()?) } else { self.integer()? };
        // Second, minute, hour, day, month, year and summer time of the dump: the manifest has the moment.
        for _ in 0..7 {
            self.integer()?;
        }
        let (database, server_version, dump_version) = (self.text_or_empty()?, self.text_or_empty()?, self.text_or_empty()?);
        Ok(Head { is_compressed: compression != 0, database, server_version, dump_version })
    }

    fn entries(&mut self) -> Result<Vec<Entry>, ArchiveError> {
        let count = self.integer()?;
        if !(0..=ENTRIES_MAX).contains(&count) {
            return Err(damaged(format!("it lists {count} things")));
        }
        (0..count).map(|_| self.entry()).collect()
    }

    fn entry(&mut self) -> Result<Entry, ArchiveError> {
        let minor = self.version.1;
        let dump_id = self.integer()?;
        let has_data = self.integer()? != 0;
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or_default();
        let catalog = (number(self.text()?), number(self.text()?));
        let (tag, kind) = (self.text_or_empty()?, self.text_or_empty()?);
        let is_post_data = self.integer()? == SECTION_POST_DATA;
        let definition = self.text_or_empty()?;
        let _drop = self.text()?;
        let copy = self.text_or_empty()?;
        let schema = self.text_or_empty()?;
        let _tablespace = self.text()?;
        if minor >= 14 {
            let _access_method = self.text()?;
        }
        if minor >= 16 {
            let _relation_kind = self.integer()?;
        }
        let owner = self.text_or_empty()?;
        let _with_oids = self.text()?;
        let mut dependencies = Vec::new();
        while let Some(number) = self.text()? {
            dependencies.push(number.parse().map_err(|_| damaged(format!("a dependency of {tag} is no number")))?);
        }
        // The data will be elsewhere. `pg_restore` then looks for it, as it does in what came through a pipe.
        let [state] = self.take_bytes()?;
        self.put(&[if state == OFFSET_SET { OFFSET_NOT_SET } else { state }])?;
        for _ in 0..self.offset_bytes {
            self.byte()?;
        }
        Ok(Entry { dump_id, catalog, kind, tag, definition, copy, schema, owner, has_data, is_post_data, dependencies })
    }

    fn data(&mut self, entries: &[Entry]) -> Result<Content, ArchiveError> {
        let mut missing: BTreeMap<i64, &Entry> =
            entries.iter().filter(|entry| entry.has_data).map(|entry| (entry.dump_id, entry)).collect();
        let mut tables = Vec::new();
        let (mut objects, mut object_bytes) = (RowSum::default(), 0);
        while let Some(kind) = self.byte_or_end()? {
            let dump_id = self.integer()?;
            let entry =
                missing.remove(&dump_id).ok_or_else(|| damaged(format!("data of number {dump_id}, which is not listed")))?;
            match kind {
                1 => {
                    let rows = self.rows(entry)?;
                    let (schema, name) = (entry.schema.clone(), entry.tag.clone());
                    tables.push(TableContent { schema, name, rows: rows.rows(), digest: rows.digest() });
                }
                3 => object_bytes += self.large_objects(&mut objects)?,
                other => return Err(damaged(format!("a block of kind {other}"))),
            }
        }
        if let Some(entry) = missing.values().next() {
            return Err(damaged(format!("it ends before the data of {} {}", entry.kind, entry.tag)));
        }
        tables.sort();
        let mut sequences = sequences(entries)?;
        sequences.sort();
        let large_objects = LargeObjects { count: objects.rows(), bytes: object_bytes, digest: objects.digest() };
        Ok(Content { tables, sequences, large_objects })
    }

    /// Hands on all rows; false when they are not wanted any more.
    fn hand_on_data(&mut self, entries: &[Entry], hand_on: &mut dyn FnMut(&Entry, Vec<u8>) -> bool) -> Result<bool, ArchiveError> {
        let mut missing: BTreeMap<i64, &Entry> =
            entries.iter().filter(|entry| entry.has_data).map(|entry| (entry.dump_id, entry)).collect();
        while let Some(kind) = self.byte_or_end()? {
            let dump_id = self.integer()?;
            let entry =
                missing.remove(&dump_id).ok_or_else(|| damaged(format!("data of number {dump_id}, which is not listed")))?;
            match kind {
                1 => {
                    if !self.hand_on_rows(entry, hand_on)? {
                        return Ok(false);
                    }
                }
                3 => drop(self.large_objects(&mut RowSum::default())?),
                other => return Err(damaged(format!("a block of kind {other}"))),
            }
        }
        match missing.values().next() {
            Some(entry) => Err(damaged(format!("it ends before the data of {} {}", entry.kind, entry.tag))),
            None => Ok(true),
        }
    }

    fn hand_on_rows(&mut self, entry: &Entry, hand_on: &mut dyn FnMut(&Entry, Vec<u8>) -> bool) -> Result<bool, ArchiveError> {
        let (mut rows, mut has_ended) = (Vec::with_capacity(2 * PIECE_BYTES), false);
        loop {
            let is_more = self.add_piece(&mut rows)?;
            if is_more && rows.len() < PIECE_BYTES {
                continue;
            }
            if has_ended {
                // Empty lines, which nobody needs.
                rows.clear();
            }
            if let Some(end) = end_of_data(&rows) {
                rows.truncate(end);
                has_ended = true;
                if !hand_on(entry, std::mem::take(&mut rows)) {
                    return Ok(false);
                }
            } else if is_more && let Some(end) = end_of_rows(&rows) {
                let rest = rows.split_off(end);
                if !hand_on(entry, std::mem::replace(&mut rows, rest)) {
                    return Ok(false);
                }
            }
            if !is_more {
                return if has_ended { Ok(true) } else { Err(damaged(format!("the data of {} has no end", entry.tag))) };
            }
        }
    }

    fn rows(&mut self, entry: &Entry) -> Result<RowSum, ArchiveError> {
        let mut rows = RowReader::default();
        let mut pieces = Vec::with_capacity(2 * PIECE_BYTES);
        let mut is_more = true;
        while is_more {
            is_more = self.add_piece(&mut pieces)?;
            if pieces.len() >= PIECE_BYTES || !(is_more || pieces.is_empty()) {
                rows.feed(&pieces);
                self.put_piece(&pieces)?;
                pieces.clear();
            }
        }
        self.put_piece(&[])?;
        if !rows.has_ended() {
            return Err(damaged(format!("the data of {} has no end", entry.tag)));
        }
        rows.finish().map_err(|error| damaged(format!("{}: {error}", entry.tag)))
    }

    fn large_objects(&mut self, sum: &mut RowSum) -> Result<u64, ArchiveError> {
        let mut bytes = 0;
        let mut piece = Vec::new();
        loop {
            let oid = match self.integer()? {
                0 => return Ok(bytes),
                oid => u32::try_from(oid).map_err(|_| damaged(format!("a large object of number {oid}")))?,
            };
            let mut object = Vec::new();
            while self.piece(&mut piece)? {
                self.put_piece(&piece)?;
                object.extend_from_slice(&piece);
            }
            self.put_piece(&[])?;
            bytes += object.len() as u64;
            sum.add(&large_object_row(oid, &object));
        }
    }

    /// The next piece of a block; false at the block's end.
    fn piece(&mut self, piece: &mut Vec<u8>) -> Result<bool, ArchiveError> {
        piece.clear();
        self.add_piece(piece)
    }

    /// Adds the next piece of a block to what is there; false at the block's end.
    fn add_piece(&mut self, pieces: &mut Vec<u8>) -> Result<bool, ArchiveError> {
        let length = self.take_integer()?;
        let length = usize::try_from(length).map_err(|_| damaged(format!("a piece of {length} bytes")))?;
        let before = pieces.len();
        if length <= PIECE_BYTES {
            pieces.resize(before + length, 0);
            self.input.read_exact(&mut pieces[before..]).map_err(ArchiveError::Read)?;
        } else {
            // What a damaged archive says is not believed before it comes.
            self.input.by_ref().take(length as u64).read_to_end(pieces).map_err(ArchiveError::Read)?;
            if pieces.len() - before < length {
                return Err(ArchiveError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(length > 0)
    }

    /// An empty piece is a block's end.
    fn put_piece(&mut self, piece: &[u8]) -> Result<(), ArchiveError> {
        let length = i64::try_from(piece.len()).map_err(|_| damaged("a piece that is too long"))?;
        self.put_integer(length)?;
        self.put(piece)
    }
}

/// Where the line that ends the data begins, in whole rows or the beginning of some.
fn end_of_data(rows: &[u8]) -> Option<usize> {
    if rows.starts_with(END_OF_DATA) {
        return Some(0);
    }
    memchr::memmem::find(rows, b"\n\\.\n").map(|place| place + 1)
}

/// Behind the last whole row. A line that ends in a backslash goes on in the next one.
fn end_of_rows(rows: &[u8]) -> Option<usize> {
    memchr::memrchr_iter(b'\n', rows)
        .find(|&place| rows[..place].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0)
        .map(|place| place + 1)
}

/// Where the sequences stand, from `SELECT pg_catalog.setval('public.s', 42, true);`.
fn sequences(entries: &[Entry]) -> Result<Vec<SequenceContent>, ArchiveError> {
    let values = |definition: &str| {
        let (rest, is_called) = definition.trim_end().strip_suffix(");")?.rsplit_once(", ")?;
        let (_, last_value) = rest.rsplit_once(", ")?;
        Some((last_value.parse().ok()?, is_called.parse().ok()?))
    };
    let sets = entries.iter().filter(|entry| entry.kind == "SEQUENCE SET");
    sets.map(|Entry { schema, tag, definition, .. }| {
        let (last_value, is_called) = values(definition).ok_or_else(|| damaged(format!("the value of sequence {tag}")))?;
        Ok(SequenceContent { schema: schema.clone(), name: tag.clone(), last_value, is_called })
    })
    .collect()
}
