//! Where files stand, what they are called, and how long they are.

use super::Finding;
use crate::workspace::{Package, Target, Text, Workspace};

/// Longer files are read by nobody.
const FILE_LINES_MAX: usize = 700;

/// Names that say nothing about the domain, so anything ends up in such a module.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "types", "manager", "misc", "shared"];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!("{}: {lines} lines; split it, {FILE_LINES_MAX} is the most", file.path));
        }
        if EMPTY_NAMES.contains(&module_name(&file.path)) {
            findings.push(format!("{}: name the module by what it is about", file.path));
        }
    }
    for package in &workspace.packages {
        findings.extend(check_test_binaries(package));
        findings.extend(forgotten_modules(package, &workspace.texts));
    }
    findings
}

/// The module that a file is: `plan/grant.rs` and `plan/grant/mod.rs` are both `grant`.
fn module_name(path: &str) -> &str {
    path.trim_end_matches(".rs").trim_end_matches("/mod").rsplit('/').next().unwrap_or(path)
}

/// Each test binary links everything once more, so a crate has one.
fn check_test_binaries(package: &Package) -> Vec<Finding> {
    let wrong = package.targets.iter().filter(|target| target.kind == "test" && target.name != "it");
    wrong
        .map(|Target { file, .. }| format!("{file}: integration tests are modules of {}/tests/it/main.rs", package.folder))
        .collect()
}

/// Rust files that no `mod` reaches: nobody compiles them.
fn forgotten_modules(package: &Package, texts: &[Text]) -> Vec<Finding> {
    let folders = ["src", "tests", "benches", "examples"].map(|folder| format!("{}/{folder}/", package.folder));
    let is_source = |path: &str| path.ends_with(".rs") && folders.iter().any(|folder| path.starts_with(folder.as_str()));
    let is_root = |path: &str| package.targets.iter().any(|target| target.file == path);
    texts
        .iter()
        .filter(|file| is_source(&file.path) && !is_root(&file.path))
        .filter(|file| !parents(&file.path).iter().any(|parent| declares(texts, parent, module_name(&file.path))))
        .map(|file| format!("{}: no `mod {};` reaches it, so it is not compiled", file.path, module_name(&file.path)))
        .collect()
}

/// The files that may declare the module of this file.
fn parents(path: &str) -> Vec<String> {
    let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let folder = module.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parents: Vec<String> = ["mod.rs", "lib.rs", "main.rs"].iter().map(|name| format!("{folder}/{name}")).collect();
    parents.push(format!("{folder}.rs"));
    parents
}

fn declares(texts: &[Text], parent: &str, module: &str) -> bool {
    let Some(file) = texts.iter().find(|file| file.path == parent) else { return false };
    file.text.lines().any(|line| {
        let line = line.trim();
        let name = line.strip_suffix(';').and_then(|line| line.rsplit_once("mod ")).map(|(before, name)| (before.trim(), name));
        name.is_some_and(|(before, name)| name == module && (before.is_empty() || before.starts_with("pub")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> Vec<Text> {
        files.iter().map(|(path, text)| Text { path: (*path).to_owned(), text: (*text).to_owned() }).collect()
    }

    fn package(targets: &[(&str, &str, &str)]) -> Package {
        let target =
            |(name, kind, file): &(&str, &str, &str)| Target { name: (*name).into(), kind: (*kind).into(), file: (*file).into() };
        Package {
            name: "x".to_owned(),
            version: "0.0.0".to_owned(),
            is_published: false,
            folder: "crates/x".to_owned(),
            dependencies: Vec::new(),
            targets: targets.iter().map(target).collect(),
        }
    }

    #[test]
    fn forgotten_modules_are_found() {
        let package = package(&[("x", "lib", "crates/x/src/lib.rs"), ("it", "test", "crates/x/tests/it/main.rs")]);
        let texts = texts(&[
            ("crates/x/src/lib.rs", "//! mod ghost;\npub mod a;\nmod c;\n"),
            ("crates/x/src/a.rs", "pub(crate) mod b;"),
            ("crates/x/src/a/b.rs", ""),
            ("crates/x/src/a/ghost.rs", ""),
            ("crates/x/src/c/mod.rs", ""),
            ("crates/x/src/ghost.rs", ""),
            ("crates/x/tests/it/main.rs", "mod d;"),
            ("crates/x/tests/it/d.rs", ""),
            ("crates/x/tests/it/ghost.rs", ""),
        ]);
        let findings = forgotten_modules(&package, &texts);
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings.iter().all(|finding| finding.contains("ghost.rs")));
    }

    #[test]
    fn a_second_test_binary_is_found() {
        let package = package(&[("it", "test", "crates/x/tests/it/main.rs"), ("more", "test", "crates/x/tests/more.rs")]);
        assert_eq!(check_test_binaries(&package).len(), 1);
    }
}
