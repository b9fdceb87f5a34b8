//! Which crate may know which.

use super::Finding;
use crate::workspace::{Dependency, Package, Workspace};

/// Our crates and those of ours that each may use. A crate that is not here has not been thought about.
const OURS: &[(&str, &[&str])] = &[
    ("pgisle-core", &[]),
    ("pgisle-engine", &["pgisle-core"]),
    ("pgisle-cli", &["pgisle-core", "pgisle-engine"]),
    ("pgisle-terraform", &["pgisle-core", "pgisle-engine"]),
    ("pgisle-operator", &["pgisle-core", "pgisle-engine"]),
    ("pgisle-router", &[]),
    ("pgisle-testkit", &["pgisle-core", "pgisle-engine"]),
    ("xtask", &["pgisle-core", "pgisle-engine"]),
];

/// Only tests and measurements use it.
const TESTKIT: &str = "pgisle-testkit";

/// It measures on throw-away clusters, and is no part of what is released.
const MEASURES: &str = "xtask";

/// What core uses of other people's: nothing that does I/O, tells the time or makes random numbers.
const CORE_ALLOWED: &[&str] = &[
    "base64",
    "hcl-edit",
    "hmac",
    "memchr",
    "pbkdf2",
    "serde",
    "serde_json",
    "sha2",
    "stringprep",
    "thiserror",
    "xxhash-rust",
    "zeroize",
];

/// Dependencies that stay in one crate, or what has a command line: heavy ones, and ones that would blur a boundary.
const QUARANTINED: &[(&str, &[&str])] = &[
    ("anyhow", &["xtask"]),
    ("clap", &["pgisle-cli", "xtask"]),
    ("indicatif", &["pgisle-cli"]),
    ("kube", &["pgisle-operator"]),
    ("prost", &["pgisle-terraform"]),
    ("tonic", &["pgisle-terraform"]),
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |text: String| findings.push(format!("{}/Cargo.toml: {text}", package.folder));
    let Some((_, allowed)) = OURS.iter().find(|(name, _)| *name == package.name) else {
        find(format!("say in xtask/src/tidy/boundary.rs which of our crates \"{}\" may use", package.name));
        return findings;
    };
    for Dependency { name, is_dev } in &package.dependencies {
        let is_ours = OURS.iter().any(|(ours, _)| ours == name);
        if name == TESTKIT && !is_dev && package.name != MEASURES {
            find(format!("\"{TESTKIT}\" is for tests: make it a dev-dependency"));
        } else if is_ours && name != TESTKIT && !allowed.contains(&name.as_str()) {
            find(format!("\"{}\" must not use \"{name}\"", package.name));
        }
        if package.name == "pgisle-core" && !is_dev && !is_ours && !CORE_ALLOWED.contains(&name.as_str()) {
            find(format!("core must not use \"{name}\": it is not on the list of what is pure"));
        }
        let is_elsewhere = |homes: &[&str]| !homes.contains(&package.name.as_str());
        if let Some((_, homes)) = QUARANTINED.iter().find(|(quarantined, homes)| quarantined == name && is_elsewhere(homes)) {
            find(format!("\"{name}\" is used only in {homes:?}"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        Package {
            name: name.to_owned(),
            version: "0.0.0".to_owned(),
            is_published: false,
            folder: format!("crates/{name}"),
            dependencies: dependencies
                .iter()
                .map(|(name, is_dev)| Dependency { name: (*name).to_owned(), is_dev: *is_dev })
                .collect(),
            targets: Vec::new(),
        }
    }

    #[test]
    fn wrong_directions_are_found() {
        for (name, dependency, is_dev) in [
            ("pgisle-core", "pgisle-engine", false),
            ("pgisle-core", "pgisle-engine", true),
            ("pgisle-core", "tokio", false),
            ("pgisle-engine", "pgisle-cli", false),
            ("pgisle-engine", "pgisle-testkit", false),
            ("pgisle-engine", "clap", false),
            ("pgisle-router", "pgisle-core", false),
            ("pgisle-terraform", "pgisle-cli", false),
            ("pgisle-unheard-of", "serde", false),
        ] {
            assert_eq!(check_package(&package(name, &[(dependency, is_dev)])).len(), 1, "{name} on {dependency}");
        }
    }

    #[test]
    fn right_directions_are_not() {
        let right = [("pgisle-core", false), ("pgisle-testkit", true), ("tokio", false)];
        assert_eq!(check_package(&package("pgisle-engine", &right)), Vec::<Finding>::new());
        assert_eq!(check_package(&package("xtask", &[("pgisle-testkit", false)])), Vec::<Finding>::new());
        assert_eq!(check_package(&package("pgisle-core", &[("proptest", true), ("serde", false)])), Vec::<Finding>::new());
    }
}
