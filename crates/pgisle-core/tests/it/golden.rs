//! Files with what is expected: compared, or rewritten when `UPDATE=1` is set.

use std::path::{Path, PathBuf};

/// A folder below `tests/`.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The files of a folder whose names end in one of these, sorted.
pub(crate) fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted)))
        .collect();
    files.sort();
    files
}

/// Compares a text with the file of what is expected, and says how they differ.
pub(crate) fn compare(expected_path: &Path, actual: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(expected_path, actual).map_err(|error| format!("{}: {error}", expected_path.display()))?;
        return Ok(());
    }
    let expected = std::fs::read_to_string(expected_path).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    let mut difference = format!("{} differs (UPDATE=1 rewrites it)\n", expected_path.display());
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    for index in 0..old.len().max(new.len()) {
        match (old.get(index), new.get(index)) {
            (Some(old), Some(new)) if old == new => difference.push_str(&format!("  {old}\n")),
            (old, new) => {
                difference.extend(old.map(|old| format!("- {old}\n")));
                difference.extend(new.map(|new| format!("+ {new}\n")));
            }
        }
    }
    Err(difference)
}

/// Fails with all differences at once.
pub(crate) fn all(results: impl IntoIterator<Item = Result<(), String>>) {
    let differences: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
