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

#[cfg(test)]
mod tests {
    use super::*;

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
