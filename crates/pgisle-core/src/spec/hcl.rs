//! Writing values as HCL, for whoever makes a file of them.

/// A text between quotes, in which nothing is a template: `$` and `%` before a brace are doubled.
#[must_use]
pub fn hcl_text(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 2);
    written.push('"');
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' => written.push_str("\\t"),
            '$' | '%' if characters.peek() == Some(&'{') => written.extend([character, character]),
            // The language knows no other control character.
            control if control.is_control() => written.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => written.push(other),
        }
    }
    written.push('"');
    written
}

/// A JSON value as HCL, on one line; lists of more than fits into a line have an item on each.
#[must_use]
pub fn hcl_value(value: &serde_json::Value) -> String {
    const LINE_CHARACTERS_MAX: usize = 90;
    match value {
        serde_json::Value::String(text) => hcl_text(text),
        serde_json::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(hcl_value).collect();
            let line = items.join(", ");
            if line.chars().count() <= LINE_CHARACTERS_MAX { format!("[{line}]") } else { format!("[\n{},\n]", items.join(",\n")) }
        }
        serde_json::Value::Object(items) if items.is_empty() => "{}".to_owned(),
        serde_json::Value::Object(items) => {
            let items: Vec<String> = items.iter().map(|(key, item)| format!("{} = {}\n", hcl_key(key), hcl_value(item))).collect();
            format!("{{\n{}}}", items.concat())
        }
        other => other.to_string(),
    }
}

/// A name bare where it may be, and between quotes otherwise.
fn hcl_key(key: &str) -> String {
    let is_bare = key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    if is_bare { key.to_owned() } else { hcl_text(key) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{LayerKind, Sources, load};

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["", "plain", "a\"b\\c", "${x} %{ if } $${y} $ {z} $", "é ü 漢 🙂", "$", "%%{", "$$", "\\${"] {
            let mut sources = Sources::new();
            let file = format!("service \"a\" {{\n  description = {}\n}}\n", hcl_text(text));
            sources.push(LayerKind::SpecFile, "pgisle.hcl", file);
            let loaded = load(&sources);
            let spec = loaded.spec.unwrap_or_else(|| panic!("{text:?}: {:?}", loaded.diagnostics));
            let service = spec.services.values().next().map(|service| service.description.as_str());
            assert_eq!(service, Some(text));
        }
    }
}
