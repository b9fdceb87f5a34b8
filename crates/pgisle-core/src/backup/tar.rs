//! Reading a tar as it flows by: plain files and folders, and nothing else.
//!
//! Only what PostgreSQL writes into a base backup is known: the `ustar` layout with sizes in octal or, from 8 GB on, in base 256.
//! Links, devices and names that lead out of the folder are errors, and so is an end before the end.

use std::io::{self, Read};

/// The unit of the format.
const BLOCK_BYTES: usize = 512;

/// Why a tar cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream broke.
    #[error("the tar cannot be read")]
    Read(#[source] io::Error),
    /// It ended too early.
    #[error("the tar is cut short")]
    Cut,
    /// A header is not one.
    #[error("the tar is damaged: {0}")]
    Damaged(&'static str),
    /// It holds what is neither a file nor a folder.
    #[error("the tar holds \"{0}\", which is neither a file nor a folder")]
    Kind(String),
    /// A name leads out of the folder, or is none.
    #[error("the tar holds the name \"{0}\", which could lead out of the folder")]
    Path(String),
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A plain file.
    File,
    /// A folder.
    Folder,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path within the folder, with slashes between plain names.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The bytes of its content.
    pub bytes: u64,
}

/// Gives one entry after the other. Reading it gives the content of the current one.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    /// What is left of the current content.
    left: u64,
    /// What fills up its last block.
    padding: u64,
}

impl<R: Read> TarReader<R> {
    /// Begins.
    pub const fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0 }
    }

    /// What it reads from.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The next entry; none at the end, after which nothing but zeros comes.
    ///
    /// # Errors
    /// The stream breaks or ends too early, or holds what is not expected in it.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut block = [0; BLOCK_BYTES];
        while self.left > 0 {
            let most = self.left.min(BLOCK_BYTES as u64);
            self.fill(&mut block[..usize::try_from(most).unwrap_or(BLOCK_BYTES)])?;
            self.left -= most;
        }
        let padding = usize::try_from(self.padding).unwrap_or_default();
        self.fill(&mut block[..padding])?;
        self.padding = 0;
        self.fill(&mut block)?;
        if is_zero(&block) {
            self.end()?;
            return Ok(None);
        }
        let entry = header(&block)?;
        self.left = entry.bytes;
        self.padding = entry.bytes.next_multiple_of(BLOCK_BYTES as u64) - entry.bytes;
        Ok(Some(entry))
    }

    /// The first of the two empty blocks has been read.
    fn end(&mut self) -> Result<(), TarError> {
        let mut block = [0; BLOCK_BYTES];
        self.fill(&mut block)?;
        loop {
            if !is_zero(&block) {
                return Err(TarError::Damaged("something follows its end"));
            }
            match self.input.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(count) => block[count..].fill(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => block.fill(0),
                Err(error) => return Err(TarError::Read(error)),
            }
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => TarError::Cut,
            _ => TarError::Read(error),
        })
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.input.read(&mut buffer[..most])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, TarError::Cut)),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

fn header(block: &[u8; BLOCK_BYTES]) -> Result<Entry, TarError> {
    let sum: u64 =
        block.iter().enumerate().map(|(place, &byte)| if (148..156).contains(&place) { 32 } else { u64::from(byte) }).sum();
    if number(&block[148..156]) != Some(sum) {
        return Err(TarError::Damaged("the checksum of a header does not fit"));
    }
    if &block[257..262] != b"ustar" {
        return Err(TarError::Damaged("a header is of another layout"));
    }
    let (name, prefix) = (text(&block[..100]), text(&block[345..500]));
    let whole = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
    let shown = String::from_utf8_lossy(&whole).into_owned();
    let kind = match block[156] {
        b'0' | 0 => Kind::File,
        b'5' => Kind::Folder,
        _ => return Err(TarError::Kind(shown)),
    };
    let path = match kind {
        Kind::File => whole.as_slice(),
        Kind::Folder => whole.strip_suffix(b"/").unwrap_or(&whole),
    };
    let path = path.strip_prefix(b"./").unwrap_or(path).to_vec();
    if path.split(|&byte| byte == b'/').any(|part| part.is_empty() || part == b"." || part == b"..") {
        return Err(TarError::Path(shown));
    }
    let bytes = number(&block[124..136]).ok_or(TarError::Damaged("the size of a file is no number"))?;
    let bytes = if kind == Kind::File { bytes } else { 0 };
    Ok(Entry { path, kind, bytes })
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number in octal, or in base 256 where the first bit is set. No file is larger than what a signed number holds.
fn number(field: &[u8]) -> Option<u64> {
    let value = if field.first()? & 0x80 != 0 {
        let (first, rest) = field.split_first()?;
        rest.iter().try_fold(u64::from(first & 0x7F), |value, &byte| value.checked_mul(256)?.checked_add(u64::from(byte)))?
    } else {
        let digits = std::str::from_utf8(text(field)).ok()?.trim_matches(' ');
        if digits.is_empty() || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
            return None;
        }
        u64::from_str_radix(digits, 8).ok()?
    };
    (value <= i64::MAX as u64).then_some(value)
}

#[cfg(test)]
pub(super) mod tests;
