//! Files that load, with the spec they make.

use pgisle_core::spec::{LayerKind, SPEC_FILE, Sources, load};

use crate::golden;
use crate::spec_bad::rendered;

#[test]
fn every_good_file_makes_its_spec() {
    let folder = golden::folder("spec/good");
    let cases = golden::files(&folder, &["hcl", "tfvars"]);
    golden::all(cases.iter().map(|path| {
        let mut sources = Sources::new();
        if path.extension().is_some_and(|extension| extension == "tfvars") {
            sources.push(LayerKind::SpecFile, SPEC_FILE, "service \"users\" {\n  instances = 3\n}\n");
            sources.push(LayerKind::AutoFile, "terraform.tfvars", std::fs::read(path).expect("the case can be read"));
        } else {
            sources.push(LayerKind::SpecFile, SPEC_FILE, std::fs::read(path).expect("the case can be read"));
        }
        let loaded = load(&sources);
        if loaded.spec.is_none() || !loaded.diagnostics.is_empty() {
            return Err(format!("{}: {}", path.display(), rendered(&loaded.diagnostics)));
        }
        let json = serde_json::to_string_pretty(&loaded.spec).expect("a spec serialises") + "\n";
        golden::compare(&path.with_extension("json"), &json)
    }));
}
