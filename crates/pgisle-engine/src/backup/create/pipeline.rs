//! From a program's pipe to the store: read once, understood, compressed, encrypted, hashed and written, each on a thread of its own.

use std::io::{self, BufReader, BufWriter, PipeWriter, Read, Write};
use std::process::ChildStdout;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, ScopedJoinHandle, scope};

use pgisle_core::backup::{Checksum, Compression, StoredObject};

use super::gzip::GzipPool;
use crate::backup::store::{StoreError, Writer};
use crate::credential::Recipients;
use crate::process::{ProcessError, Streaming};
use zstd::zstd_safe::CParameter;

/// How much is read at once, and how large a piece the threads hand on.
const PIECE_BYTES: usize = 1 << 20;

/// Pieces that may wait between two threads: enough for an uneven pace, little enough for a small machine.
const PIECES_WAITING: usize = 8;

/// How zstd looks for matches: as on level 3, with tables of twice the size. Measured with its own program on one thread, on 166 MB of
/// rows as `examples/link` has them: 59.2 MB in 1.7 s of processor time, where `gzip -6` needs 11.3 s for 60.2 MB. With the shortest
/// match below, level 3 as it is makes 60.5 MB in 1.5 s, level 4 makes 58.8 MB in 2.1 s, and level 5 makes 56.8 MB in 2.6 s. That
/// `pg_dump` says the length of each row would be a loss of a twentieth: [`archive::rewrite`] takes it away.
///
/// [`archive::rewrite`]: pgisle_core::backup::archive::rewrite
const ZSTD_LEVEL: i32 = 3;
const ZSTD_HASH_LOG: u32 = 18;
const ZSTD_CHAIN_LOG: u32 = 17;

/// The shortest match that is looked for. In rows, what is equal for four or five bytes is mostly digits of numbers, times and keys
/// that are random otherwise, and a reference to them costs more than it saves.
const ZSTD_MATCH_BYTES: u32 = 6;

/// How far a dump is. Written by the threads, read by whoever watches.
#[derive(Debug, Default)]
pub(in crate::backup) struct Gauge {
    raw: AtomicU64,
    stored: AtomicU64,
}

impl Gauge {
    /// Bytes of the dump.
    pub(in crate::backup) fn raw(&self) -> u64 {
        self.raw.load(Ordering::Relaxed)
    }

    /// Bytes that went to the store.
    pub(in crate::backup) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }
}

/// A dump that is under way, and where it goes.
pub(in crate::backup) struct Pour {
    /// The program, such as `pg_dump`.
    pub(in crate::backup) dump: Streaming,
    /// Its output.
    pub(in crate::backup) output: ChildStdout,
    /// `pg_restore`, which makes a script of it, when that is what is kept.
    pub(in crate::backup) script: Option<Script>,
    /// The object.
    pub(in crate::backup) writer: Writer,
    /// How it is compressed.
    pub(in crate::backup) compression: Compression,
    /// To whom it is encrypted, if to anyone.
    pub(in crate::backup) recipients: Option<Recipients>,
    /// Threads that compress.
    pub(in crate::backup) threads: u32,
    /// Where to say how far it is.
    pub(in crate::backup) gauge: Arc<Gauge>,
}

/// `pg_restore`, which reads an archive and writes a script.
pub(in crate::backup) struct Script {
    pub(in crate::backup) restore: Streaming,
    pub(in crate::backup) input: PipeWriter,
    pub(in crate::backup) output: ChildStdout,
}

/// A dump that is whole and in the store, and what was understood of it.
pub(in crate::backup) struct Poured<T> {
    pub(in crate::backup) content: T,
    pub(in crate::backup) bytes: u64,
    pub(in crate::backup) sha256: String,
    pub(in crate::backup) raw_bytes: u64,
}

impl<T> Poured<T> {
    /// The object as a manifest describes it.
    pub(in crate::backup) fn object(&self, name: &str, compression: Compression, is_encrypted: bool) -> StoredObject {
        let Self { content: _, bytes, sha256, raw_bytes } = self;
        StoredObject {
            name: name.to_owned(),
            bytes: *bytes,
            sha256: sha256.clone(),
            raw_bytes: *raw_bytes,
            raw_sha256: None,
            compression,
            is_encrypted,
        }
    }
}

/// Why there is no whole dump. Nothing is then in the store.
#[derive(Debug, thiserror::Error)]
pub(in crate::backup) enum PourError {
    /// The program or `pg_restore` failed.
    #[error(transparent)]
    Program(#[from] ProcessError),
    /// What it wrote is not whole.
    #[error("what it wrote is not whole")]
    Content(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Compressing or encrypting failed, or a pipe did.
    #[error("cannot process the dump")]
    Process(#[source] io::Error),
}

/// Runs a dump to its end. Blocks. `parse` reads all of it, hands on what is to be kept, and says whether it is whole. The object is in
/// its place only when every part has said that all is well.
pub(in crate::backup) fn pour<T, E: std::error::Error + Send + Sync + 'static>(
    pour: Pour,
    parse: impl FnOnce(&mut dyn Read, &mut dyn Write) -> Result<T, E>,
) -> Result<Poured<T>, PourError> {
    let Pour { dump, output, script, writer, compression, recipients, threads, gauge } = pour;
    let (restore, outlet, source) = match script {
        None => {
            let (sender, receiver) = sync_channel(PIECES_WAITING);
            (None, Outlet::Channel(sender), Source::Channel(PieceReader::new(receiver)))
        }
        Some(Script { restore, input, output }) => (Some(restore), Outlet::Pipe(input), Source::Pipe(output)),
    };
    let packer = Packer { writer: Passing::new(writer, Arc::clone(&gauge)), compression, recipients, threads };
    let mut output = Output { pipe: BufReader::with_capacity(PIECE_BYTES, output), has_ended: false };
    let (parsed, packed) = scope(|scope| {
        let packer = Builder::new().name("backup-packer".into()).spawn_scoped(scope, || packer.pack(source));
        let mut sink = BufWriter::with_capacity(PIECE_BYTES, Sink { outlet, gauge: &gauge });
        let parsed = parse(&mut output, &mut sink).map_err(|error| PourError::Content(error.into()));
        let parsed = parsed.and_then(|content| {
            // What follows behind the end, such as a tar's padding.
            io::copy(&mut output, &mut sink).and_then(|_| sink.flush()).map_err(PourError::Process)?;
            Ok(content)
        });
        // Without what it still holds, which after an error nobody waits for.
        drop(sink.into_parts());
        (parsed, join(packer).map_err(PackError::Process).flatten())
    });
    // The store's failure is the cause of everything that follows it.
    if let Err(PackError::Store(error)) = packed {
        return Err(error.into());
    }
    if output.has_ended {
        // The programs' own account of what went wrong says more than that the archive ends too early.
        dump.wait()?;
    }
    restore.map_or(Ok(()), Streaming::wait)?;
    packed.map_err(PourError::from).and_then(|packed| packed.finish(parsed?))
}

/// Has all of a dump kept as it is, while `parse` reads it.
pub(in crate::backup) fn as_it_is<T, E>(
    parse: impl FnOnce(&mut dyn Read) -> Result<T, E>,
) -> impl FnOnce(&mut dyn Read, &mut dyn Write) -> Result<T, E> {
    move |input, output| parse(&mut Tee { input, output })
}

struct Tee<'a> {
    input: &'a mut dyn Read,
    output: &'a mut dyn Write,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.output.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// A program's output, and whether it has come to its end, which it only does when the program has ended.
struct Output {
    pipe: BufReader<ChildStdout>,
    has_ended: bool,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.read(buffer)?;
        self.has_ended |= count == 0 && !buffer.is_empty();
        Ok(count)
    }
}

/// Puts into the store what is in memory already. Blocks.
pub(in crate::backup) fn pack(
    bytes: Vec<u8>,
    writer: Writer,
    recipients: Option<Recipients>,
    threads: u32,
) -> Result<Poured<()>, PourError> {
    let writer = Passing::new(writer, Arc::default());
    let packer = Packer { writer, compression: Compression::Zstd, recipients, threads };
    packer.pack(Source::Memory(io::Cursor::new(bytes)))?.finish(())
}

fn join<T>(thread: io::Result<ScopedJoinHandle<'_, T>>) -> io::Result<T>
where
    T: Send,
{
    thread?.join().map_err(|_| io::Error::other("a thread has panicked"))
}

/// Where the dump goes from the parser.
enum Outlet {
    Channel(SyncSender<Vec<u8>>),
    Pipe(PipeWriter),
}

/// Counts what the parser hands on. That nobody takes it any more is an error, whose cause whoever has ended knows.
struct Sink<'a> {
    outlet: Outlet,
    gauge: &'a Gauge,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.outlet {
            Outlet::Channel(sender) => {
                sender.send(bytes.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
                bytes.len()
            }
            Outlet::Pipe(pipe) => pipe.write(bytes)?,
        };
        self.gauge.raw.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where the packer gets it from.
enum Source {
    Channel(PieceReader),
    Pipe(ChildStdout),
    Memory(io::Cursor<Vec<u8>>),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Channel(reader) => reader.read(buffer),
            Self::Pipe(pipe) => pipe.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

/// Reads pieces as one stream.
struct PieceReader {
    pieces: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    place: usize,
}

impl PieceReader {
    fn new(pieces: Receiver<Vec<u8>>) -> Self {
        Self { pieces, piece: Vec::new(), place: 0 }
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.place == self.piece.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.piece, self.place) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.place);
        buffer[..count].copy_from_slice(&self.piece[self.place..self.place + count]);
        self.place += count;
        Ok(count)
    }
}

struct Packer {
    writer: Passing,
    compression: Compression,
    recipients: Option<Recipients>,
    threads: u32,
}

/// What was packed; the object is not in its place yet.
struct Packed {
    output: Passing,
    raw_bytes: u64,
}

impl Packed {
    /// Puts the object in its place.
    fn finish<T>(self, content: T) -> Result<Poured<T>, PourError> {
        let Self { output, raw_bytes } = self;
        let Passing { writer, checksum, bytes, .. } = output;
        writer.finish()?;
        Ok(Poured { content, bytes, sha256: checksum.finish(), raw_bytes })
    }
}

enum PackError {
    Store(StoreError),
    Process(io::Error),
}

impl From<PackError> for PourError {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Store(error) => Self::Store(error),
            PackError::Process(error) => Self::Process(error),
        }
    }
}

impl Packer {
    fn pack(self, input: Source) -> Result<Packed, PackError> {
        let Self { writer, compression, recipients, threads } = self;
        let mut writer = writer;
        let mut raw = Raw { input, bytes: 0 };
        let result = match &recipients {
            None => compress(&mut raw, &mut writer, compression, threads),
            Some(recipients) => recipients.wrap(&mut writer).and_then(|mut sealed| {
                compress(&mut raw, &mut sealed, compression, threads)?;
                sealed.finish().map(drop)
            }),
        };
        match (result, writer.failure.take()) {
            (Ok(()), _) => Ok(Packed { output: writer, raw_bytes: raw.bytes }),
            (Err(_), Some(failure)) => Err(PackError::Store(writer.writer.failed(failure))),
            (Err(error), None) => Err(PackError::Process(error)),
        }
    }
}

fn compress(raw: &mut Raw, output: &mut dyn Write, compression: Compression, threads: u32) -> io::Result<()> {
    match compression {
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(output, ZSTD_LEVEL)?;
            for parameter in
                [CParameter::HashLog(ZSTD_HASH_LOG), CParameter::ChainLog(ZSTD_CHAIN_LOG), CParameter::MinMatch(ZSTD_MATCH_BYTES)]
            {
                encoder.set_parameter(parameter)?;
            }
            // So that `zstd -t` tells damage without the manifest.
            encoder.include_checksum(true)?;
            encoder.multithread(threads)?;
            raw.pour_into(&mut encoder)?;
            encoder.finish().map(drop)
        }
        Compression::Gzip => {
            let mut encoder = GzipPool::new(output, threads)?;
            raw.pour_into(&mut encoder)?;
            encoder.finish()
        }
    }
}

/// What goes into the compression.
struct Raw {
    input: Source,
    bytes: u64,
}

impl Raw {
    fn pour_into(&mut self, output: &mut impl Write) -> io::Result<()> {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let count = match self.input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.bytes += count as u64;
            output.write_all(&buffer[..count])?;
        }
    }
}

/// Hashes and counts what goes to the store, and keeps the store's failure, which the layers above would wrap.
struct Passing {
    writer: Writer,
    checksum: Checksum,
    bytes: u64,
    gauge: Arc<Gauge>,
    failure: Option<io::Error>,
}

impl Passing {
    fn new(writer: Writer, gauge: Arc<Gauge>) -> Self {
        Self { writer, checksum: Checksum::default(), bytes: 0, gauge, failure: None }
    }
}

impl Write for Passing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.writer.write(bytes) {
            Ok(count) => {
                self.checksum.feed(&bytes[..count]);
                self.bytes += count as u64;
                self.gauge.stored.fetch_add(count as u64, Ordering::Relaxed);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
