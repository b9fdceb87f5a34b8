//! Names of log files, and the header that says whose a segment is.

use std::fmt;

use crate::backup::Lsn;

/// Up to eight hexadecimal digits and nothing else: `from_str_radix` would take a sign.
fn hexadecimal(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(text, 16).ok().filter(|_| is_plain)
}

/// Bytes of a segment: a power of two from 1 MB to 1 GB, chosen when the cluster was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentBytes(u32);

impl SegmentBytes {
    /// Takes a size that segments can have.
    #[must_use]
    pub fn new(bytes: u64) -> Option<Self> {
        let bytes = u32::try_from(bytes).ok()?;
        (bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes)).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        u64::from(self.0)
    }

    /// Segments in 4 GB, which is where names carry over.
    fn per_log(self) -> u64 {
        (1 << 32) / self.bytes()
    }

    /// The segment that a place is in.
    #[must_use]
    pub fn segment(self, timeline: u32, place: Lsn) -> Segment {
        self.numbered(timeline, place.bytes() / self.bytes())
    }

    /// The segment of a running number.
    #[must_use]
    pub fn numbered(self, timeline: u32, number: u64) -> Segment {
        let part = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Segment { timeline, log: part(number / self.per_log()), number: part(number % self.per_log()) }
    }

    /// A segment's running number, counted from the beginning of the log.
    #[must_use]
    pub fn number(self, segment: Segment) -> u64 {
        u64::from(segment.log) * self.per_log() + u64::from(segment.number)
    }

    /// Where a segment begins.
    #[must_use]
    pub fn start(self, segment: Segment) -> Lsn {
        Lsn::from_bytes(self.number(segment).saturating_mul(self.bytes()))
    }
}

/// One segment of one timeline. Segments of a timeline sort as they follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// Its timeline.
    pub timeline: u32,
    /// The upper half of its running number: 4 GB each.
    pub log: u32,
    /// The lower half.
    pub number: u32,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline, self.log, self.number)
    }
}

/// What a server archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalName {
    /// A full segment, `000000010000000000000002`.
    Segment(Segment),
    /// The last segment of a timeline that was left, `….partial`.
    Partial(Segment),
    /// Where a base backup began, `….00000028.backup`.
    Label {
        /// The segment.
        segment: Segment,
        /// The place in it.
        offset: u32,
    },
    /// Where a timeline left the one before, `00000002.history`.
    History(u32),
}

impl WalName {
    /// Reads a name; none when a server archives nothing of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let part = |from: usize| text.get(from..from + 8).and_then(hexadecimal);
        if let Some(timeline) = text.strip_suffix(".history") {
            let timeline = hexadecimal(timeline).filter(|timeline| *timeline > 0 && text.len() == 16)?;
            return Some(Self::History(timeline)).filter(|name| name.to_string() == text);
        }
        let segment = Segment { timeline: part(0).filter(|timeline| *timeline > 0)?, log: part(8)?, number: part(16)? };
        let name = match text.get(24..)? {
            "" => Self::Segment(segment),
            ".partial" => Self::Partial(segment),
            rest => Self::Label { segment, offset: rest.strip_prefix('.')?.strip_suffix(".backup").and_then(hexadecimal)? },
        };
        Some(name).filter(|name| name.to_string() == text)
    }

    /// Its timeline.
    #[must_use]
    pub fn timeline(&self) -> u32 {
        match self {
            Self::Segment(segment) | Self::Partial(segment) | Self::Label { segment, .. } => segment.timeline,
            Self::History(timeline) => *timeline,
        }
    }
}

impl fmt::Display for WalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(segment) => write!(f, "{segment}"),
            Self::Partial(segment) => write!(f, "{segment}.partial"),
            Self::Label { segment, offset } => write!(f, "{segment}.{offset:08X}.backup"),
            Self::History(timeline) => write!(f, "{timeline:08X}.history"),
        }
    }
}

/// What a segment's first page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The timeline that the page was written on: the segment's own or an earlier one.
    pub timeline: u32,
    /// Where the segment begins.
    pub address: Lsn,
    /// The cluster's number.
    pub system_identifier: u64,
    /// Bytes of each segment.
    pub segment_bytes: SegmentBytes,
}

impl SegmentHeader {
    /// How many bytes of a segment are enough.
    pub const BYTES: usize = 40;

    /// Reads the first bytes of a segment, in this machine's byte order; none when it is no segment.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        // `XLP_LONG_HEADER`, which every first page has.
        const LONG: u16 = 2;
        let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if half(0)? == 0 || half(2)? & LONG == 0 {
            return None;
        }
        Some(Self {
            timeline: word(4)?,
            address: Lsn::from_bytes(long(8)?),
            system_identifier: long(24)?,
            segment_bytes: SegmentBytes::new(u64::from(word(32)?))?,
        })
    }

    /// Why a file of this header and length is not the segment of this name, as half a sentence; none when it is.
    #[must_use]
    pub fn contradiction(&self, segment: Segment, bytes: u64) -> Option<String> {
        let size = self.segment_bytes;
        if bytes != size.bytes() {
            return Some(format!("it has {bytes} bytes, and segments of its server have {}", size.bytes()));
        }
        if size.start(segment) != self.address {
            return Some(format!("it begins at {}, and one of that name would at {}", self.address, size.start(segment)));
        }
        (self.timeline > segment.timeline).then(|| format!("it is of timeline {}", self.timeline))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in [
            "000000010000000000000002",
            "0000000A0000000100000FFF",
            "000000010000000000000002.partial",
            "000000010000000000000002.00000028.backup",
            "00000002.history",
        ] {
            assert_eq!(WalName::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "00000001000000000000000",
            "000000010000000000000002.zst",
            "00000001000000000000000a",
            "000000000000000000000002",
            "00000000.history",
            "2.history",
            "+0000002.history",
            "../00002.history",
            "000000010000000000000002.backup",
            "000000010000000000000é2",
        ] {
            assert_eq!(WalName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn segments_of_every_size_carry_over_at_4_gb() {
        for (bytes, last) in [(1 << 20, 0xfff), (16 << 20, 0xff), (1 << 30, 3)] {
            let size = SegmentBytes::new(bytes).unwrap();
            let segment = Segment { timeline: 1, log: 0, number: last };
            let next = size.numbered(1, size.number(segment) + 1);
            assert_eq!(next, Segment { timeline: 1, log: 1, number: 0 });
            assert_eq!(size.start(next), Lsn::from_bytes(1 << 32));
            assert_eq!(size.segment(1, Lsn::from_bytes((1 << 32) - 1)), segment);
        }
        for bytes in [0, 1 << 19, 3 << 20, 1 << 31] {
            assert_eq!(SegmentBytes::new(bytes), None, "{bytes}");
        }
    }

    /// The beginning of a segment of 1 MB that PostgreSQL 15 wrote.
    #[test]
    fn a_header_says_whose_a_segment_is() {
        let mut page = vec![0_u8; SegmentHeader::BYTES];
        page[0..2].copy_from_slice(&0xd110_u16.to_ne_bytes());
        page[2..4].copy_from_slice(&2_u16.to_ne_bytes());
        page[4..8].copy_from_slice(&1_u32.to_ne_bytes());
        page[8..16].copy_from_slice(&0x20_0000_u64.to_ne_bytes());
        page[24..32].copy_from_slice(&7_300_000_000_000_000_001_u64.to_ne_bytes());
        page[32..36].copy_from_slice(&(1_u32 << 20).to_ne_bytes());
        let header = SegmentHeader::parse(&page).unwrap();
        let segment = Segment { timeline: 1, log: 0, number: 2 };
        assert_eq!(header.system_identifier, 7_300_000_000_000_000_001);
        assert_eq!(header.contradiction(segment, 1 << 20), None);
        // The first segment of a new timeline begins as a copy.
        assert_eq!(header.contradiction(Segment { timeline: 2, ..segment }, 1 << 20), None);
        assert!(header.contradiction(segment, 1 << 19).unwrap().contains("bytes"));
        assert!(header.contradiction(Segment { number: 3, ..segment }, 1 << 20).unwrap().contains("0/200000"));
        page[4] = 2;
        assert!(SegmentHeader::parse(&page).unwrap().contradiction(segment, 1 << 20).unwrap().contains("timeline 2"));
        assert_eq!(SegmentHeader::parse(&page[..35]), None);
        assert_eq!(SegmentHeader::parse(&[0; 40]), None);
    }
}
