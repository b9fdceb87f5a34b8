//! A layer's text and the places in it.

use crate::diagnostic::{Code, Diagnostic, Place};

use super::source::Layer;

/// A spec is a page of text; a megabyte is room for thousands of services.
pub(super) const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// A position: which layer, and how many bytes into its text. Turned into a [`Place`] only when someone is to read it,
/// because counting characters takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// Index of the layer; beyond the last one for what is built in.
    pub(super) layer: usize,
    /// Bytes from the start of its text.
    pub(super) offset: usize,
}

impl At {
    /// Where built-in defaults stand.
    pub(super) const BUILT_IN: Self = Self { layer: usize::MAX, offset: 0 };
}

/// The texts of all layers.
pub(super) struct Texts<'a> {
    texts: Vec<Text<'a>>,
}

struct Text<'a> {
    name: &'a str,
    text: &'a str,
    /// Where the lines begin, so that many places in a large file cost little.
    line_starts: Vec<usize>,
}

impl<'a> Texts<'a> {
    /// Takes the layers' texts in order; one that cannot be read as text is empty and reported.
    pub(super) fn new(layers: &[&'a Layer], diagnostics: &mut Vec<Diagnostic>) -> Self {
        let texts = layers
            .iter()
            .map(|layer| {
                let text = decode(&layer.name, &layer.text).unwrap_or_else(|diagnostic| {
                    diagnostics.push(*diagnostic);
                    ""
                });
                let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
                Text { name: &layer.name, text, line_starts }
            })
            .collect();
        Self { texts }
    }

    /// The text of a layer.
    pub(super) fn get(&self, layer: usize) -> &'a str {
        self.texts.get(layer).map_or("", |text| text.text)
    }

    /// Where a person finds it; none for what is built in.
    pub(super) fn place(&self, at: At) -> Option<Place> {
        self.texts.get(at.layer).map(|Text { name, text, line_starts }| {
            let line = line_starts.partition_point(|start| *start <= at.offset).max(1);
            let line_start = line_starts.get(line - 1).copied().unwrap_or_default();
            let Place { file, column, .. } = place(name, text.get(line_start..).unwrap_or_default(), at.offset - line_start);
            Place { file, line: u32::try_from(line).unwrap_or(u32::MAX), column }
        })
    }
}

/// The place of a byte offset in a text.
pub(super) fn place(name: &str, text: &str, offset: usize) -> Place {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    Place {
        file: name.to_owned(),
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    }
}

/// Reads bytes as text: bounded, UTF-8, without a byte order mark and without NUL.
pub(super) fn decode<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, Box<Diagnostic>> {
    if bytes.len() > TEXT_BYTES_MAX {
        let at = Place { file: name.to_owned(), line: 1, column: 1 };
        return Err(Box::new(
            Diagnostic::error(Code::SPEC_LIMIT, "the file is too large to be a spec")
                .at(at)
                .detail(format!("It has {} bytes, and {TEXT_BYTES_MAX} are allowed.", bytes.len())),
        ));
    }
    // Editors on Windows put a byte order mark in front; it is no part of the text.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        Box::new(
            Diagnostic::error(Code::SPEC_FILE, "the file is not UTF-8 text")
                .at(place(name, valid, valid.len()))
                .detail(format!(
                    "Byte 0x{:02x} does not belong there.",
                    bytes.get(error.valid_up_to()).copied().unwrap_or_default()
                ))
                .hint("Save the file as UTF-8."),
        )
    })?;
    if let Some(offset) = text.find('\0') {
        return Err(Box::new(
            Diagnostic::error(Code::SPEC_SYNTAX, "the file contains a NUL character").at(place(name, text, offset)),
        ));
    }
    Ok(text)
}

/// Shows a text of the user's in a message: quoted, control characters escaped, cut when it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 80;
    if text.chars().count() > SHOWN_CHARACTERS_MAX {
        let head: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
        format!("{head:?}…")
    } else {
        format!("{text:?}")
    }
}
