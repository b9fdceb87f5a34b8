//! gzip on several processors: a stream cut into pieces, each a member of its own. `gunzip`, `zcat` and every other reader that follows
//! RFC 1952 take the members one after another for one stream.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// gzip's own default.
const GZIP_LEVEL: u32 = 6;

/// The raw bytes of a member. What is repeated is looked for in the 32 kB before, so a member's first few are all that is lost: less
/// than a thousandth.
const MEMBER_BYTES: usize = 1 << 20;

/// A member to be made, and where it is waited for.
type Job = (Vec<u8>, SyncSender<io::Result<Vec<u8>>>);

/// Compresses what is written to it. [`GzipPool::finish`] must be called.
pub(super) struct GzipPool<W> {
    output: W,
    member: Vec<u8>,
    /// Members under way, in order.
    coming: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    coming_max: usize,
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    is_empty: bool,
}

impl<W: Write> GzipPool<W> {
    /// Starts so many threads.
    pub(super) fn new(output: W, threads: u32) -> io::Result<Self> {
        let count = usize::try_from(threads.max(1)).unwrap_or(1);
        // Two for each thread: one at work, one at hand.
        let (sender, jobs) = sync_channel::<Job>(count);
        let jobs = Arc::new(Mutex::new(jobs));
        let start = |number: usize| {
            let jobs = Arc::clone(&jobs);
            Builder::new().name(format!("backup-gzip-{number}")).spawn(move || work(&jobs))
        };
        let threads = (0..count).map(start).collect::<io::Result<_>>()?;
        let (member, coming) = (Vec::with_capacity(MEMBER_BYTES), VecDeque::new());
        Ok(Self { output, member, coming, coming_max: 2 * count, jobs: Some(sender), threads, is_empty: true })
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        // Of nothing at all, too, a file of gzip is made.
        if !self.member.is_empty() || self.is_empty {
            self.hand_over()?;
        }
        while self.take_one()? {}
        self.jobs = None;
        let ended = self.threads.drain(..).map(JoinHandle::join).all(|thread| thread.is_ok());
        if ended { self.output.flush() } else { Err(io::Error::other("a thread has panicked")) }
    }

    fn hand_over(&mut self) -> io::Result<()> {
        self.is_empty = false;
        while self.coming.len() >= self.coming_max && self.take_one()? {}
        let member = std::mem::replace(&mut self.member, Vec::with_capacity(MEMBER_BYTES));
        let (sender, made) = sync_channel(1);
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send((member, sender)).is_ok());
        if !sent {
            return Err(io::Error::other("no thread compresses"));
        }
        self.coming.push_back(made);
        Ok(())
    }

    /// Writes the next member; false when there is none.
    fn take_one(&mut self) -> io::Result<bool> {
        let Some(made) = self.coming.pop_front() else { return Ok(false) };
        let member = made.recv().map_err(|_| io::Error::other("a thread has panicked"))??;
        self.output.write_all(&member)?;
        Ok(true)
    }
}

impl<W: Write> Write for GzipPool<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(MEMBER_BYTES - self.member.len());
        self.member.extend_from_slice(&bytes[..count]);
        if self.member.len() == MEMBER_BYTES {
            self.hand_over()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes members until no more come. Whoever gave one and does not want it any more has failed.
fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((raw, made)) = job else { return };
        let capacity = raw.len() / 3;
        let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(capacity), flate2::Compression::new(GZIP_LEVEL));
        let member = encoder.write_all(&raw).and_then(|()| encoder.finish());
        let _unwanted = made.send(member);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::io::Read as _;

    use super::*;

    fn packed(raw: &[u8], piece: usize, threads: u32) -> Vec<u8> {
        let mut output = Vec::new();
        let mut pool = GzipPool::new(&mut output, threads).unwrap();
        raw.chunks(piece).for_each(|piece| pool.write_all(piece).unwrap());
        pool.finish().unwrap();
        output
    }

    #[test]
    fn what_is_written_comes_out_of_one_stream() {
        let raw: Vec<u8> = (0..3 * MEMBER_BYTES + 12_345).map(|place| ((place * place) >> 7) as u8).collect();
        for (length, piece, threads) in [
            (0, 1, 1),
            (1, 1, 2),
            (MEMBER_BYTES, 4096, 2),
            (MEMBER_BYTES + 1, 7 << 16, 3),
            (raw.len(), 1 << 20, 2),
            (raw.len(), 99_991, 1),
        ] {
            let packed = packed(&raw[..length], piece, threads);
            let mut back = Vec::new();
            flate2::read::MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut back).unwrap();
            assert!(back == raw[..length], "{length} in pieces of {piece} by {threads}");
        }
    }

    #[test]
    fn an_output_that_fails_ends_it() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut pool = GzipPool::new(Full, 2).unwrap();
        let error = (0..20).find_map(|_| pool.write_all(&vec![7; MEMBER_BYTES]).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
