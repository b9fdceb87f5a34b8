#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

/// The header of an entry, as PostgreSQL writes it.
pub(in crate::backup) fn header_of(path: &str, kind: u8, bytes: u64) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block[..path.len()].copy_from_slice(path.as_bytes());
    block[100..108].copy_from_slice(b"0000600\0");
    if bytes < 1 << 33 {
        block[124..136].copy_from_slice(format!("{bytes:011o} ").as_bytes());
    } else {
        block[128..136].copy_from_slice(&bytes.to_be_bytes());
        block[124] = 0x80;
    }
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

fn seal(block: &mut [u8; BLOCK_BYTES]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o} \0").as_bytes());
}

/// A tar of files; a name that ends with a slash is a folder.
pub(in crate::backup) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, content) in files {
        let kind = if path.ends_with('/') { b'5' } else { b'0' };
        bytes.extend(header_of(path, kind, content.len() as u64));
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK_BYTES, 0);
    bytes
}

/// Path and content of all files, and the paths of folders.
fn read_all(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, TarError> {
    let mut reader = TarReader::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(TarError::Read)?;
        assert_eq!(content.len() as u64, entry.bytes);
        all.push((String::from_utf8(entry.path).unwrap(), content));
    }
    Ok(all)
}

fn sample() -> Vec<u8> {
    tar(&[("base/", b""), ("base/1/16384", &[7; 1000]), ("PG_VERSION", b"18\n"), ("empty", b""), ("full", &[1; BLOCK_BYTES])])
}

#[test]
fn files_come_out_as_they_went_in() {
    let all = read_all(&sample()).unwrap();
    let shown: Vec<(&str, usize)> = all.iter().map(|(path, content)| (path.as_str(), content.len())).collect();
    assert_eq!(shown, [("base", 0), ("base/1/16384", 1000), ("PG_VERSION", 3), ("empty", 0), ("full", BLOCK_BYTES)]);
    assert_eq!(all[1].1, [7; 1000]);
    // Contents that nobody reads are passed over.
    let bytes = sample();
    let mut reader = TarReader::new(bytes.as_slice());
    let mut count = 0;
    while reader.next_entry().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 5);
}

#[test]
fn a_tar_that_is_cut_anywhere_is_not_whole() {
    let whole = sample();
    for length in 0..whole.len() {
        let result = read_all(&whole[..length]);
        assert!(result.is_err(), "cut to {length} of {}", whole.len());
    }
    assert!(read_all(&[whole.as_slice(), &[0; 700]].concat()).is_ok(), "zeros may follow");
    assert!(read_all(&[whole.as_slice(), &[0; 700], b"x"].concat()).is_err());
}

#[test]
fn no_bit_of_a_header_can_flip_unseen() {
    let whole = sample();
    for place in 0..BLOCK_BYTES {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << bit;
            // One bit of the sum's own padding says nothing.
            let Ok(all) = read_all(&bytes) else { continue };
            assert!((148..156).contains(&place) && all.len() == 5, "byte {place} bit {bit}");
        }
    }
}

#[test]
fn large_sizes_are_read() {
    for bytes in [0, 1, (1 << 33) - 1, 1 << 33, 1 << 40] {
        assert_eq!(header(&header_of("large", b'0', bytes)).unwrap().bytes, bytes);
    }
    let mut block = header_of("large", b'0', 1 << 40);
    block[124..136].fill(0xFF);
    seal(&mut block);
    assert!(header(&block).is_err());
}

#[test]
fn what_leads_out_of_the_folder_is_refused() {
    for path in ["../x", "/etc/passwd", "a/../../x", "a//b", "..", "", "a/..", "./../x", "/"] {
        for kind in [b'0', b'5'] {
            let result = header(&header_of(path, kind, 0));
            assert!(matches!(result, Err(TarError::Path(_))), "{path:?}: {result:?}");
        }
    }
    for kind in [b'1', b'2', b'3', b'4', b'6', b'7', b'L', b'K', b'x', b'g', b'S'] {
        let result = header(&header_of("pg_tblspc/16384", kind, 0));
        assert!(matches!(result, Err(TarError::Kind(_))), "{}: {result:?}", char::from(kind));
    }
    let mut block = header_of("name", b'0', 0);
    block[345..347].copy_from_slice(b"..");
    seal(&mut block);
    assert!(matches!(header(&block), Err(TarError::Path(path)) if path == "../name"));
}
