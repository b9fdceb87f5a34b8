//! What is restored: a backup's data or any other dump, read to its end once before anything is made on the server.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read};

use futures_util::future::BoxFuture;
use pgisle_core::backup::archive::{self, ArchiveError, MAGIC};
use pgisle_core::backup::script::{Part, Script, ScriptError};
use pgisle_core::backup::select::{Disposition, Selection, copied_columns, disposition, select};
use pgisle_core::backup::{Content, Manifest};

use super::error::RestoreError;
use crate::backup::content::Columns;

/// How much is read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// What a stream of gzip begins with.
const GZIP: &[u8] = b"\x1f\x8b";

/// What a stream of Zstandard begins with.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// Where a tar archive says that it is one.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// A stream of bytes that can be read in another thread.
pub type Stream = Box<dyn Read + Send>;

/// A stream that is being opened.
pub type Opening<'a> = BoxFuture<'a, io::Result<Stream>>;

/// Something to restore. It is read twice: to look at it, and to load it.
pub struct Input<'a> {
    /// What it is called: a backup's name, or a file's.
    pub name: String,
    /// Begins to read it from its beginning.
    pub open: &'a (dyn Fn() -> Opening<'a> + Sync),
    /// What it must hold, when that is known.
    pub manifest: Option<&'a Manifest>,
}

/// What was seen of an input.
pub(super) struct Survey {
    pub(super) layout: Layout,
    /// Extensions, with the schemas that they go to.
    pub(super) extensions: BTreeMap<String, Option<String>>,
    pub(super) expected: Expected,
    pub(super) columns: Columns,
    /// What is left out.
    pub(super) left_out: BTreeSet<String>,
    /// Bytes of it, decompressed.
    pub(super) raw_bytes: u64,
}

/// How an input is laid out.
pub(super) enum Layout {
    /// `pg_dump`'s custom format.
    Archive {
        /// The format's version.
        version: (u8, u8),
        entries: Vec<archive::Entry>,
        /// Whether its data can be read here; otherwise `pg_dump` compressed it.
        is_readable: bool,
    },
    /// SQL.
    Script,
}

/// What the new database must hold.
pub(super) enum Expected {
    /// Everything is known.
    All(Content),
    /// How many rows each table has is known, and where the sequences stand: texts of rows may differ by the time zone and the
    /// like of whoever made the dump.
    Counts(Content),
    /// Nothing is.
    Nothing,
}

/// Reads the whole input once.
pub(super) async fn survey(input: &Input<'_>) -> Result<Survey, RestoreError> {
    let name = input.name.clone();
    let opened = |source| RestoreError::Read { name: name.clone(), source };
    let stream = (input.open)().await.map_err(opened)?;
    let name = input.name.clone();
    let (form, first) = blocking(move || first_look(&name, stream)).await?;
    let found = match (form, first) {
        (Form::Script, _) => {
            let stream = (input.open)().await.map_err(opened)?;
            let name = input.name.clone();
            blocking(move || survey_script(&name, stream)).await?
        }
        (Form::Archive, Some(found)) => found,
        // Compressed by pg_dump: its content cannot be read here, and its table of contents can.
        (Form::Archive, None) => {
            let stream = (input.open)().await.map_err(opened)?;
            let name = input.name.clone();
            blocking(move || survey_listing(&name, stream)).await?
        }
    };
    check_manifest(input, found)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static) -> Result<T, RestoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| RestoreError::Stopped)?
}

#[derive(Clone, Copy)]
enum Form {
    Archive,
    Script,
}

/// Finds out what it is, and reads an archive whole.
fn first_look(name: &str, stream: Stream) -> Result<(Form, Option<Survey>), RestoreError> {
    let failed = |source| RestoreError::Read { name: name.to_owned(), source };
    let mut stream = decoded(stream).map_err(failed)?;
    let head = stream.fill_buf().map_err(failed)?;
    if head.is_empty() {
        return Err(RestoreError::Form { name: name.to_owned(), why: "it is empty".to_owned() });
    }
    if head.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1)) {
        return Err(RestoreError::Form { name: name.to_owned(), why: "it is a tar archive".to_owned() });
    }
    if !head.starts_with(MAGIC) {
        return Ok((Form::Script, None));
    }
    let mut counted = Counted { input: stream, bytes: 0 };
    match archive::read(BufReader::with_capacity(BUFFER_BYTES, &mut counted)) {
        Ok(archive) => {
            let expected = Expected::Counts(archive.content);
            // What lists and holds everything is of a version that is known; its number matters for the choice of pg_restore.
            let found = of_entries(archive.entries, archive.version, expected, counted.bytes);
            Ok((Form::Archive, Some(found)))
        }
        Err(ArchiveError::Compressed) => Ok((Form::Archive, None)),
        Err(source) => Err(RestoreError::Archive { name: name.to_owned(), source }),
    }
}

fn of_entries(entries: Vec<archive::Entry>, version: (u8, u8), expected: Expected, raw_bytes: u64) -> Survey {
    let is_readable = !matches!(expected, Expected::Nothing);
    let Selection { extensions, left_out, columns, .. } = select(&entries, &BTreeSet::new());
    let layout = Layout::Archive { version, entries, is_readable };
    Survey { layout, extensions, expected, columns, left_out: left_out.into_iter().collect(), raw_bytes }
}

fn survey_listing(name: &str, stream: Stream) -> Result<Survey, RestoreError> {
    let failed = |source| RestoreError::Read { name: name.to_owned(), source };
    let mut counted = Counted { input: decoded(stream).map_err(failed)?, bytes: 0 };
    let listing = archive::read_entries(&mut counted).map_err(|source| RestoreError::Archive { name: name.to_owned(), source })?;
    // To the end, so that what gzip or zstd says about the whole is heard.
    io::copy(&mut counted, &mut io::sink()).map_err(failed)?;
    Ok(of_entries(listing.entries, listing.version, Expected::Nothing, counted.bytes))
}

fn survey_script(name: &str, stream: Stream) -> Result<Survey, RestoreError> {
    let failed = |source| RestoreError::Read { name: name.to_owned(), source };
    let counted = Counted { input: decoded(stream).map_err(failed)?, bytes: 0 };
    let mut script = Script::new(BufReader::with_capacity(BUFFER_BYTES, counted));
    let script_failed = |source| match source {
        ScriptError::Read(source) => RestoreError::Read { name: name.to_owned(), source },
        source => RestoreError::Script { name: name.to_owned(), source },
    };
    let (mut extensions, mut left_out, mut columns) = (BTreeMap::new(), BTreeSet::new(), Columns::new());
    let mut database: Option<String> = None;
    let mut is_empty = true;
    while let Some(part) = script.next_part().map_err(script_failed)? {
        match part {
            Part::Statement { text, takes_data, .. } => {
                is_empty = false;
                match disposition(&text) {
                    Disposition::Extension { name, schema } => {
                        extensions.insert(name, schema);
                    }
                    Disposition::LeftOut(what) => {
                        left_out.insert(what);
                    }
                    _ if takes_data => columns.extend(copied_columns(&text)),
                    _ => {}
                }
            }
            Part::Connect { database: next } => {
                if database.replace(next.clone()).is_some_and(|before| before != next) {
                    let why = "it holds several databases; dump the service's alone".to_owned();
                    return Err(RestoreError::Form { name: name.to_owned(), why });
                }
            }
            Part::Data(_) | Part::DataEnd => {}
        }
    }
    if is_empty {
        return Err(RestoreError::Form { name: name.to_owned(), why: "it holds no statement".to_owned() });
    }
    let raw_bytes = script.into_inner().into_inner().bytes;
    Ok(Survey { layout: Layout::Script, extensions, expected: Expected::Nothing, columns, left_out, raw_bytes })
}

/// What a manifest says counts for more than what the dump looks like, and both must agree.
fn check_manifest(input: &Input<'_>, found: Survey) -> Result<Survey, RestoreError> {
    let Some(manifest) = input.manifest else { return Ok(found) };
    if let Expected::Counts(content) = &found.expected {
        let differences = manifest.content.differences(content);
        if !differences.is_empty() {
            let why = format!("its manifest is of another dump: {}", differences.join("; "));
            return Err(RestoreError::Form { name: input.name.clone(), why });
        }
    }
    let mut extensions = found.extensions;
    for there in &manifest.extensions {
        if there.name.as_str() != "plpgsql" {
            extensions.insert(there.name.as_str().to_owned(), Some(there.schema.as_str().to_owned()));
        }
    }
    Ok(Survey { expected: Expected::All(manifest.content.clone()), extensions, ..found })
}

/// Takes compression off, as often as there is any.
pub(in crate::backup) fn decoded(stream: Stream) -> io::Result<Box<dyn BufRead + Send>> {
    let mut stream: Box<dyn BufRead + Send> = Box::new(BufReader::with_capacity(BUFFER_BYTES, stream));
    // A compressed archive in a compressed file is as deep as it gets.
    for _ in 0..2 {
        let head = stream.fill_buf()?;
        if head.starts_with(GZIP) {
            stream = Box::new(BufReader::with_capacity(BUFFER_BYTES, flate2::bufread::MultiGzDecoder::new(stream)));
        } else if head.starts_with(ZSTD) {
            stream = Box::new(BufReader::with_capacity(BUFFER_BYTES, zstd::Decoder::with_buffer(stream)?));
        } else {
            break;
        }
    }
    Ok(stream)
}

/// Counts what is read through it.
struct Counted<R> {
    input: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}
