//! Wrong files, each with everything that is to be said about it.
//!
//! `tests/spec/bad/NAME.hcl` is a spec; `NAME.tfvars` is given as `-var-file` beside a good one; of `NAME.vars` each line is a
//! `NAME=VALUE` of the environment or a `-var NAME=VALUE`. `NAME.txt` is what must be said.

use pgisle_core::diagnostic::{Diagnostic, any_error};
use pgisle_core::spec::{LayerKind, Loaded, SPEC_FILE, Sources, load};

use crate::golden;

pub(crate) const GOOD: &str = "service \"users\" {\n}\n";

pub(crate) fn sources_of(file_name: &str, bytes: Vec<u8>) -> Sources {
    let mut sources = Sources::new();
    if file_name.ends_with(".hcl") {
        sources.push(LayerKind::SpecFile, SPEC_FILE, bytes);
        return sources;
    }
    sources.push(LayerKind::SpecFile, SPEC_FILE, GOOD);
    if file_name.ends_with(".tfvars") {
        sources.push(LayerKind::VarFile, "terraform.tfvars", bytes);
        return sources;
    }
    for line in String::from_utf8(bytes).expect("the case is text").lines() {
        match line.strip_prefix("-var ") {
            Some(assignment) => sources.push_command_line(assignment),
            None => {
                let (name, value) = line.split_once('=').expect("each line is NAME=VALUE");
                assert!(sources.push_environment(name, value), "{name} concerns no spec");
            }
        }
    }
    sources
}

pub(crate) fn rendered(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_wrong_file_is_explained() {
    let folder = golden::folder("spec/bad");
    let cases = golden::files(&folder, &["hcl", "tfvars", "vars"]);
    assert!(cases.len() >= 45, "only {} cases", cases.len());
    golden::all(cases.iter().map(|path| {
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let sources = sources_of(&name, std::fs::read(path).expect("the case can be read"));
        let Loaded { spec, secrets, diagnostics, .. } = load(&sources);
        let text = rendered(&diagnostics);
        // Every case that concerns a password uses this one.
        if text.contains("hunter2") {
            return Err(format!("{name} shows a password:\n{text}"));
        }
        if spec.is_some() == any_error(&diagnostics) || (spec.is_none() && secrets != Default::default()) {
            return Err(format!("{name}: a spec beside an error, or neither:\n{text}"));
        }
        if diagnostics.is_empty() {
            return Err(format!("{name}: nothing is said about it"));
        }
        golden::compare(&path.with_extension("txt"), &text)
    }));
}
