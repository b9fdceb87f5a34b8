//! Paragraphs and counted nouns.

/// Breaks a paragraph at spaces so that no line is longer than `width` characters, unless one word is.
pub(crate) fn wrap(paragraph: &str, width: usize) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            wrapped.push('\n');
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// `7.8 MB`, as PostgreSQL's `pg_size_pretty` counts: 1 kB is 1024 bytes.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    // Tenths of the unit, so that no float is needed.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match tenths {
        0..10 => format!("{bytes} B"),
        10..1000 => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{} {}", tenths / 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (size, expected) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 kB"), (7_813_139, "7.4 MB"), (1 << 40, "1.0 TB")] {
            assert_eq!(bytes(size), expected);
        }
        assert_eq!(bytes(u64::MAX), "16383 PB");
    }

    #[test]
    fn paragraphs_are_wrapped_at_spaces() {
        assert_eq!(wrap("one two  three", 7), "one two\nthree");
        assert_eq!(wrap("enormous x", 3), "enormous\nx");
        assert_eq!(wrap("", 3), "");
    }

    #[test]
    fn nouns_are_counted() {
        assert_eq!([count(0, "file"), count(1, "file"), count(2, "file")], ["0 files", "1 file", "2 files"]);
    }
}
