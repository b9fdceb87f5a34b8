//! What `explain` shows.

use std::fmt::Write as _;

use pgisle_core::diagnostic::CodeInfo;

use super::style::{NAME, STRONG, paint};
use super::text::wrap;
use crate::exit::Exit;

/// Lines longer than this are hard to read.
const WIDTH: usize = 80;

/// One code.
pub(crate) fn one(info: &CodeInfo, exit: Exit) -> String {
    let paragraphs: Vec<String> = info.explanation.split("\n\n").map(|paragraph| wrap(paragraph, WIDTH)).collect();
    format!(
        "{}: {}\n\n{}\n\npgisle exits with {} when this is what stopped it.\n",
        paint(NAME, info.code),
        paint(STRONG, info.title),
        paragraphs.join("\n\n"),
        exit.number()
    )
}

/// All codes.
pub(crate) fn list(codes: &[CodeInfo]) -> String {
    let mut text = String::new();
    for info in codes {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{}  {}", paint(NAME, info.code), info.title);
    }
    text
}
