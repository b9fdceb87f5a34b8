//! The wrong files of the core's tests, through the real program: what is said, where it is said, and the exit code.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::Place;

/// What the exit code is when the files are wrong.
const BAD_SPEC: i32 = 65;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pgisle-core/tests/spec/bad");
    let is_case = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "hcl" || extension == "tfvars");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_case).collect();
    cases.sort();
    cases
}

/// A project that is as the core's test has it: a spec, or a good spec with a wrong file beside it.
fn project(case: &Path) -> Place {
    let place = Place::new();
    let bytes = fs::read(case).unwrap();
    if case.extension().is_some_and(|extension| extension == "hcl") {
        place.file("pgisle.hcl", bytes);
    } else {
        place.file("pgisle.hcl", "service \"users\" {\n}\n").file("terraform.tfvars", bytes);
    }
    place
}

#[test]
fn every_wrong_file_is_explained_at_its_line_and_column() {
    let cases = cases();
    assert!(cases.len() > 60, "only {}", cases.len());
    for case in cases {
        let place = project(&case);
        let name = case.display();
        let expected = fs::read_to_string(case.with_extension("txt")).unwrap();
        let output = place.pgisle(&["validate"]);
        let seen = String::from_utf8(output.stderr).unwrap();
        let code = if expected.contains("error[") { BAD_SPEC } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{name}: {seen}");
        // What is said and where. Details are wrapped to the width of the terminal, so they are the core's test's.
        let mut said = seen.lines();
        for line in expected.lines().filter(|line| line.starts_with("error[") || line.starts_with("  --> ")) {
            let line = line.trim_end();
            assert!(said.any(|seen| seen.trim_end() == line), "{name}: not said, or not in its order: {line}\n{seen}");
        }
        if code != 0 {
            let document: Value = serde_json::from_slice(&place.pgisle(&["plan", "-json"]).stdout).unwrap();
            assert_eq!(document["exit_code"], BAD_SPEC, "{name}");
            let errors = document["diagnostics"].as_array().unwrap().iter().filter(|found| found["severity"] == "error").count();
            assert_eq!(errors, expected.lines().filter(|line| line.starts_with("error[")).count(), "{name}: {document}");
        }
    }
}

#[test]
fn huge_and_deep_files_are_refused_at_once() {
    let deep = |open: &str, close: &str| format!("tags = {}1{}\n", open.repeat(100_000), close.repeat(100_000));
    for text in ["a".repeat(10 << 20), deep("[", "]"), deep("{ a = ", "}"), "b {\n".repeat(100_000)] {
        let place = Place::new();
        place.file("pgisle.hcl", &text);
        for command in ["validate", "fmt", "plan"] {
            let started = std::time::Instant::now();
            let seen = place.seen(&[command]);
            assert!(seen.contains(&format!("\nexit: {BAD_SPEC}\n")) && seen.contains("error[PI01"), "{command}: {seen}");
            assert!(seen.len() < 20_000, "{command} repeats what it was given");
            assert!(started.elapsed().as_secs() < 20, "{command} took {:?}", started.elapsed());
        }
    }
}
