//! A block-style YAML writer for the few shapes that the artifacts have. Order is the author's, so files read well and never
//! change without cause.

use std::fmt::Write as _;

use super::escape::yaml_text;

/// A YAML node.
pub(crate) enum Yaml {
    /// Keys and values, in this order.
    Map(Vec<(String, Yaml)>),
    /// Items.
    List(Vec<Yaml>),
    /// A text, whatever it looks like.
    Text(String),
}

impl Yaml {
    /// A map from pairs.
    pub(crate) fn map<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Yaml)>) -> Self {
        Self::Map(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// A text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The document, without a `---`.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Self::Map(pairs) => {
                for (index, (key, value)) in pairs.iter().enumerate() {
                    // The first key of an item stands behind the item's dash.
                    if index > 0 || !out.ends_with("- ") {
                        let _ = write!(out, "{:indent$}", "");
                    }
                    let _ = write!(out, "{}:", yaml_text(key));
                    value.write_value(out, indent + 2);
                }
            }
            Self::List(items) => {
                for item in items {
                    let _ = write!(out, "{:indent$}- ", "");
                    item.write(out, indent + 2);
                }
            }
            Self::Text(text) => {
                let _ = writeln!(out, "{}", yaml_text(text));
            }
        }
    }

    fn write_value(&self, out: &mut String, indent: usize) {
        match self {
            Self::Map(pairs) if pairs.is_empty() => out.push_str(" {}\n"),
            Self::List(items) if items.is_empty() => out.push_str(" []\n"),
            Self::Map(_) | Self::List(_) => {
                out.push('\n');
                self.write(out, indent);
            }
            Self::Text(_) => {
                out.push(' ');
                self.write(out, indent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn nesting_reads_back() {
        let document = Yaml::map([
            ("empty", Yaml::map::<String>([])),
            ("nothing", Yaml::List(vec![])),
            (
                "items",
                Yaml::List(vec![
                    Yaml::map([("a", Yaml::text("1")), ("b", Yaml::map([("c", Yaml::text("x: y"))]))]),
                    Yaml::text("- dash"),
                ]),
            ),
            ("yes", Yaml::text("true")),
        ]);
        let read: serde_json::Value = serde_saphyr::from_str(&document.render()).unwrap();
        assert_eq!(
            read,
            serde_json::json!({"empty": {}, "nothing": [], "items": [{"a": "1", "b": {"c": "x: y"}}, "- dash"], "yes": "true"})
        );
    }
}
