#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::super::tar::tests::tar;
use super::*;

const SEGMENT_BYTES: usize = 1 << 20;

const LABEL_TEXT: &str = "START WAL LOCATION: 0/200028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/200080\n\
    BACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2025-01-19 02:00:00 UTC\nLABEL: x: y\nSTART TIMELINE: 1\n";

fn line(path: &str, content: &[u8]) -> String {
    format!(
        "{{ \"Path\": \"{path}\", \"Size\": {}, \"Last-Modified\": \"2025-01-19 02:00:00 GMT\", \"Checksum-Algorithm\": \"SHA256\", \"Checksum\": \"{}\" }}",
        content.len(),
        checksum(content)
    )
}

fn sealed(body: &str) -> Vec<u8> {
    let body = format!("{body}\n");
    let sum = checksum(body.as_bytes());
    format!("{body}\"Manifest-Checksum\": \"{sum}\"}}\n").into_bytes()
}

fn manifest(files: &[(&str, &[u8])], stop: &str) -> Vec<u8> {
    let lines: Vec<String> = files.iter().map(|(path, content)| line(path, content)).collect();
    sealed(&format!(
        "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 7711954188122026420,\n\"Files\": [\n{}\n],\n\
         \"WAL-Ranges\": [\n{{ \"Timeline\": 1, \"Start-LSN\": \"0/200028\", \"End-LSN\": \"{stop}\" }}\n],",
        lines.join(",\n")
    ))
}

fn control() -> Vec<u8> {
    let mut bytes = 7_711_954_188_122_026_420_u64.to_le_bytes().to_vec();
    bytes.resize(8192, 1);
    bytes
}

/// The files of a base backup; `change` may change those that are sent after they were listed.
fn base_with(stop: &str, change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Vec<u8> {
    let control = control();
    let listed: [(&str, &[u8]); 5] = [
        ("backup_label", LABEL_TEXT.as_bytes()),
        ("tablespace_map", b""),
        ("PG_VERSION", b"18\n"),
        ("base/1/16384", &[7; 9000]),
        ("global/pg_control", &control),
    ];
    let manifest = manifest(&listed, stop);
    let mut files: Vec<(String, Vec<u8>)> = vec![("pg_wal/".to_owned(), Vec::new())];
    files.extend(listed.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())));
    files.extend([2, 3].map(|number| (format!("pg_wal/0000000100000000{number:08X}"), vec![9; SEGMENT_BYTES])));
    files.push(("backup_manifest".to_owned(), manifest));
    change(&mut files);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    tar(&files)
}

fn place(files: &mut [(String, Vec<u8>)], path: &str) -> usize {
    files.iter().position(|(one, _)| one == path).unwrap()
}

#[test]
fn a_whole_one_is_understood() {
    let base = read(base_with("0/300100", |_| {}).as_slice()).unwrap();
    assert_eq!(base.system_identifier, 7_711_954_188_122_026_420);
    let place = |text: &str| Lsn::parse(text).unwrap();
    assert_eq!(base.span, Span { timeline: 1, start: place("0/200028"), stop: place("0/300100") });
    assert_eq!((base.checkpoint, base.since, base.files), (place("0/200080"), None, 8));
    assert!(base.manifest.ends_with(b"\"}\n") && !base.has_settings);
    let incremental = base_with("0/300100", |files| {
        let label = format!("{LABEL_TEXT}INCREMENTAL FROM LSN: 0/100028\nINCREMENTAL FROM TLI: 1\n");
        let old = place_of_label(files);
        files[old].1 = label.into_bytes();
        relist(files, "0/300100");
    });
    assert_eq!(read(incremental.as_slice()).unwrap().since, Some(place("0/100028")));
}

fn place_of_label(files: &mut [(String, Vec<u8>)]) -> usize {
    place(files, "backup_label")
}

/// Lists the files as they are now.
fn relist(files: &mut [(String, Vec<u8>)], stop: &str) {
    let listed: Vec<(&str, &[u8])> = files
        .iter()
        .filter(|(path, _)| !path.ends_with('/') && !path.starts_with("pg_wal/") && path != "backup_manifest")
        .map(|(path, content)| (path.as_str(), content.as_slice()))
        .collect();
    let new = manifest(&listed, stop);
    let old = place(files, "backup_manifest");
    files[old].1 = new;
}

#[test]
fn a_file_that_is_not_as_it_was_sent_is_told() {
    type Change = fn(&mut Vec<(String, Vec<u8>)>);
    let cases: [(&str, Change); 11] = [
        ("base/1/16384", |files| {
            let place = place(files, "base/1/16384");
            files[place].1[4321] ^= 1;
        }),
        ("base/1/16384", |files| {
            let place = place(files, "base/1/16384");
            files[place].1.pop();
        }),
        ("base/1/16384", |files| files.retain(|(path, _)| path != "base/1/16384")),
        ("base/1/99", |files| files.push(("base/1/99".to_owned(), vec![1]))),
        ("twice", |files| {
            let place = place(files, "PG_VERSION");
            files.push(files[place].clone());
        }),
        ("backup_manifest", |files| files.retain(|(path, _)| path != "backup_manifest")),
        ("backup_label", |files| files.retain(|(path, _)| path != "backup_label")),
        ("global/pg_control", |files| files.retain(|(path, _)| path != "global/pg_control")),
        ("pg_wal/000000010000000000000003", |files| files.retain(|(path, _)| !path.ends_with("03"))),
        ("tablespaces", |files| {
            let place = place(files, "tablespace_map");
            files[place].1 = b"16385 /mnt/fast\n".to_vec();
            relist(files, "0/300100");
        }),
        ("contradict", |files| {
            let place = place_of_label(files);
            files[place].1 = LABEL_TEXT.replace("0/200028", "0/200030").into_bytes();
            relist(files, "0/300100");
        }),
    ];
    for (expected, change) in cases {
        let error = read(base_with("0/300100", change).as_slice()).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn any_flipped_byte_of_the_list_is_told() {
    let whole = manifest(&[("PG_VERSION", b"18\n")], "0/300100");
    assert_eq!(list(&whole).unwrap().files.len(), 1);
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        assert!(list(&bytes).is_err(), "byte {place}");
    }
    for length in 0..whole.len() {
        assert!(list(&whole[..length]).is_err(), "cut to {length}");
    }
    let newer = String::from_utf8(whole).unwrap().replace("Version\": 2", "Version\": 3");
    let body = newer.rsplit_once("\n\"Manifest-Checksum").unwrap().0;
    assert!(list(&sealed(body)).err().unwrap().to_string().contains("version 3"));
}

#[test]
fn the_log_is_needed_to_the_stop_and_no_further() {
    for (stop, is_whole) in
        [("0/200028", true), ("0/300000", true), ("0/300001", true), ("0/400000", true), ("0/400001", false), ("0/100000", false)]
    {
        assert_eq!(read(base_with(stop, |_| {}).as_slice()).is_ok(), is_whole, "{stop}");
    }
}

#[test]
fn names_that_are_no_text_are_listed_in_digits() {
    assert_eq!(decoded("62c3"), Some(vec![0x62, 0xC3]));
    assert_eq!(decoded("6"), None);
    assert_eq!(decoded("6x"), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(read(bytes.as_slice()).is_err());
    }

    /// What differs is told, or lies where it makes no difference: in what fills up blocks, and in the log, which carries checksums of
    /// its own.
    #[test]
    fn whatever_changes_it_stays_what_it_was_or_is_refused(place in any::<prop::sample::Index>(), bit in 0_u8..8, cut in any::<bool>()) {
        let whole = base_with("0/300100", |_| {});
        let mut changed = whole.clone();
        let place = place.index(whole.len());
        if cut {
            changed.truncate(place);
        } else {
            changed[place] ^= 1 << bit;
        }
        if let Ok(found) = read(changed.as_slice()) {
            prop_assert!(!cut);
            prop_assert_eq!(found, read(whole.as_slice()).unwrap());
        }
    }
}
