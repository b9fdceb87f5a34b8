//! The repository as values: its crates and its text files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What is not source: build products, git's own, and what pgisle itself writes.
const SKIPPED: &[&str] = &["target", ".git", ".pgisle", "generated", "node_modules"];

/// A larger file is data, not text that anyone wrote.
const TEXT_BYTES_MAX: u64 = 1 << 20;

pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) texts: Vec<Text>,
}

/// A crate.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) is_published: bool,
    /// Below the repository, such as `crates/pgisle-core`.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

pub(crate) struct Dependency {
    pub(crate) name: String,
    /// True when only tests and examples use it.
    pub(crate) is_dev: bool,
}

/// A library, program or test binary.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// Its root file, below the repository.
    pub(crate) file: String,
}

/// A text file.
pub(crate) struct Text {
    /// Below the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    let mut folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.pop();
    folder
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let root = root();
        let packages = packages(&root)?;
        let mut texts = Vec::new();
        collect_texts(&root, &root, &mut texts)?;
        Ok(Self { packages, texts })
    }

    /// The Rust files, all of them.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &Text> {
        self.texts.iter().filter(|file| file.path.ends_with(".rs"))
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let below_root = |path: &str| Path::new(path).strip_prefix(root).map_or(path.to_owned(), |path| path.display().to_string());
    let package = |value: &Value| Package {
        name: text(&value["name"]),
        version: text(&value["version"]),
        is_published: !value["publish"].as_array().is_some_and(Vec::is_empty),
        folder: below_root(text(&value["manifest_path"]).trim_end_matches("/Cargo.toml")),
        dependencies: list(&value["dependencies"])
            .map(|value| Dependency { name: text(&value["name"]), is_dev: value["kind"] == "dev" })
            .collect(),
        targets: list(&value["targets"])
            .map(|value| Target {
                name: text(&value["name"]),
                kind: list(&value["kind"]).map(text).collect::<Vec<_>>().join(" "),
                file: below_root(&text(&value["src_path"])),
            })
            .collect(),
    };
    Ok(list(&metadata["packages"]).map(package).collect())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn collect_texts(root: &Path, folder: &Path, texts: &mut Vec<Text>) -> Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type()?);
        if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
            continue;
        }
        if kind.is_dir() {
            collect_texts(root, &path, texts)?;
        } else if kind.is_file() && entry.metadata()?.len() <= TEXT_BYTES_MAX {
            // What is not UTF-8 is a test's data.
            if let Ok(text) = fs::read_to_string(&path) {
                texts.push(Text { path: path.strip_prefix(root)?.display().to_string(), text });
            }
        }
    }
    Ok(())
}
