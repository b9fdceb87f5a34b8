//! libpq's connection service file, `~/.pg_service.conf`: INI sections of connection settings.

use std::collections::BTreeMap;

/// Why a service cannot be taken from a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ServiceFileError {
    /// A line inside the section is neither `key=value` nor a comment.
    #[error("line {line} is not key=value")]
    Syntax {
        /// From 1.
        line: usize,
    },
    /// libpq refuses it as well.
    #[error("line {line} nests a service in a service")]
    Nested {
        /// From 1.
        line: usize,
    },
}

/// Takes one service's settings; none when the file has no such section. The first value of a key counts, as in libpq.
pub(super) fn service(text: &str, name: &str) -> Result<Option<BTreeMap<String, String>>, ServiceFileError> {
    let mut found: Option<BTreeMap<String, String>> = None;
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            inside = section.strip_suffix(']') == Some(name);
            if inside {
                found = Some(BTreeMap::new());
            }
            continue;
        }
        if let (true, Some(settings)) = (inside, found.as_mut()) {
            let (key, value) = line.split_once('=').ok_or(ServiceFileError::Syntax { line: line_number })?;
            if key.trim() == "service" {
                return Err(ServiceFileError::Nested { line: line_number });
            }
            settings.entry(key.trim().to_owned()).or_insert_with(|| value.trim().to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# shared\n[one]\nhost=db1\nport = 5433\n\n[two]\nhost=db2\nhost=db3\n# x\n[two]\nport=1\n";

    #[test]
    fn a_section_is_read_to_its_end() {
        let one = service(FILE, "one").ok().flatten().unwrap_or_default();
        assert_eq!(one.get("host").map(String::as_str), Some("db1"));
        assert_eq!(one.get("port").map(String::as_str), Some("5433"));
        assert_eq!(one.len(), 2);
    }

    #[test]
    fn the_first_value_counts() {
        let two = service(FILE, "two").ok().flatten().unwrap_or_default();
        assert_eq!(two.get("host").map(String::as_str), Some("db2"));
        assert_eq!(two.get("port"), None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        assert_eq!(service(FILE, "three"), Ok(None));
        assert_eq!(service("[a]\nnonsense\n", "a"), Err(ServiceFileError::Syntax { line: 2 }));
        assert_eq!(service("[b]\nnonsense\n[a]\nport=1\n", "a").map(|found| found.is_some()), Ok(true));
        assert_eq!(service("[a]\nservice=b\n", "a"), Err(ServiceFileError::Nested { line: 2 }));
    }
}
