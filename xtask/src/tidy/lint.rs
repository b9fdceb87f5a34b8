//! That lints are on everywhere, and what a crate's own `clippy.toml` must hold.

use super::Finding;
use crate::workspace::{Package, Workspace};

const ROOT: &str = "clippy.toml";

/// Core's bans, of which each stands for one kind of impurity: without it the file would be no protection.
const CORE_BANS: &[&str] = &[
    "std::env::var",
    "std::fs::read_to_string",
    "std::fs::write",
    "std::fs::File",
    "std::time::SystemTime::now",
    "std::time::Instant::now",
    "std::process::Command",
    "std::collections::HashMap",
    "std::collections::HashSet",
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Package { name, version, is_published, folder, .. } in &workspace.packages {
        let manifest = format!("{folder}/Cargo.toml");
        if !workspace.text(&manifest).is_some_and(inherits_lints) {
            findings.push(format!("{manifest}: inherit the workspace's lints with [lints] workspace = true"));
        }
        if version != "0.0.0" || *is_published {
            findings.push(format!("{manifest}: internal crates have version 0.0.0 and publish = false"));
        }
        if folder.rsplit('/').next() != Some(name) {
            findings.push(format!("{manifest}: the folder and the crate \"{name}\" have different names"));
        }
    }
    let root = workspace.text(ROOT).unwrap_or_default();
    for file in workspace.texts.iter().filter(|file| file.path.ends_with("/clippy.toml")) {
        let missing = missing_lines(root, &file.text);
        findings.extend(missing.map(|line| format!("{}: replaces the root's {ROOT}, so it must repeat: {line}", file.path)));
    }
    let core = workspace.text("crates/pgisle-core/clippy.toml").unwrap_or_default();
    let missing = CORE_BANS.iter().filter(|ban| !core.contains(&format!("\"{ban}\"")));
    findings.extend(missing.map(|ban| format!("crates/pgisle-core/clippy.toml: must ban {ban}")));
    findings
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.find(|line| *line == "[lints]").and_then(|_| lines.next()) == Some("workspace = true")
}

fn missing_lines<'a>(root: &'a str, own: &'a str) -> impl Iterator<Item = &'a str> {
    let meant = |line: &&str| !line.is_empty() && !line.starts_with('#');
    root.lines().map(str::trim).filter(meant).filter(|line| !own.lines().any(|own_line| own_line.trim() == *line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_are_inherited_or_not() {
        assert!(inherits_lints("[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n"));
        assert!(!inherits_lints("[package]\nname = \"x\"\n"));
        assert!(!inherits_lints("[lints]\nclippy.all = \"allow\"\n\n[dependencies]\nworkspace = true\n"));
    }

    #[test]
    fn a_forgotten_line_of_the_root_is_found() {
        let root = "# why\none = 1\nbans = [\n  { path = \"a\" },\n]\n";
        assert_eq!(missing_lines(root, "one = 1\nbans = [\n{ path = \"b\" },\n]\n").collect::<Vec<_>>(), ["{ path = \"a\" },"]);
        assert_eq!(missing_lines(root, root).count(), 0);
    }
}
