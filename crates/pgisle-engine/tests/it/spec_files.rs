//! What is read, in which order, and what happens with what cannot be read.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::spec::{Loaded, load};
use pgisle_engine::spec_files::{SpecFiles, read};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn load(&self, var_files: &[&str], assignments: &[&str], environment: &[(&str, &str)]) -> Loaded {
        let environment: Vec<(OsString, OsString)> = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let var_files: Vec<PathBuf> = var_files.iter().map(|name| self.path().join(name)).collect();
        let files = SpecFiles { folder: self.path(), var_files: &var_files, assignments, environment: &environment };
        load(&read(&files).unwrap_or_else(|diagnostics| panic!("{diagnostics:?}")))
    }
}

fn refusal(folder: &Path, var_files: &[PathBuf]) -> Vec<Diagnostic> {
    read(&SpecFiles { folder, var_files, assignments: &[], environment: &[] }).unwrap_err()
}

const SPEC: &[u8] = b"environment = \"staging\"\npostgres_port = 1\nservice \"users\" {\n}\n";

#[test]
fn each_source_wins_over_the_one_before() {
    let folder = Folder::new(&[
        ("pgisle.hcl", SPEC),
        ("environments/staging.tfvars", b"postgres_port = 2"),
        ("environments/production.tfvars", b"postgres_port = 99"),
        ("terraform.tfvars", b"postgres_port = 3"),
        ("b.auto.tfvars", b"postgres_port = 5"),
        ("a.auto.tfvars", b"postgres_port = 4"),
        ("x.tfvars", b"postgres_port = 6"),
        ("y.tfvars", b"postgres_port = 7"),
        ("README.md", b"not read"),
    ]);
    let port = |loaded: Loaded| loaded.spec.map(|spec| spec.settings.postgres_port);
    let terraform = ("TF_VAR_postgres_port", "8");
    let ours = ("PGISLE_VAR_postgres_port", "9");
    assert_eq!(port(folder.load(&[], &[], &[])), Some(5));
    assert_eq!(port(folder.load(&["y.tfvars", "x.tfvars"], &[], &[])), Some(6));
    assert_eq!(port(folder.load(&["x.tfvars"], &[], &[terraform])), Some(8));
    assert_eq!(port(folder.load(&["x.tfvars"], &[], &[ours, terraform])), Some(9));
    assert_eq!(port(folder.load(&["x.tfvars"], &["postgres_port=10", "postgres_port=11"], &[ours])), Some(11));
    for name in ["terraform.tfvars", "a.auto.tfvars", "b.auto.tfvars"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert_eq!(port(folder.load(&[], &[], &[])), Some(2));
    assert_eq!(port(folder.load(&[], &["environment=development"], &[])), Some(1));
}

#[test]
fn a_folder_without_a_spec_is_told_how_to_begin() {
    let folder = Folder::new(&[("terraform.tfvars", b"")]);
    let found = refusal(folder.path(), &[]);
    assert_eq!((found.len(), found[0].code, found[0].commands.as_slice()), (1, Code::SPEC_FILE, &["pgisle init".to_owned()][..]));
}

#[test]
fn every_file_that_cannot_be_read_is_named() {
    let folder = Folder::new(&[("pgisle.hcl", SPEC), ("environments/staging.tfvars/x", b"")]);
    let missing = folder.path().join("missing.tfvars");
    let found = refusal(folder.path(), &[missing.clone(), folder.path().to_owned()]);
    let subjects: Vec<String> = found.iter().filter_map(|diagnostic| diagnostic.subject.clone()).collect();
    assert_eq!(subjects.len(), 3, "{found:?}");
    assert!(subjects[0].contains("missing.tfvars") && subjects[2].contains("staging.tfvars"), "{subjects:?}");
    assert!(found.iter().all(|diagnostic| diagnostic.code == Code::SPEC_FILE));
    assert_eq!(refusal(&missing, &[])[0].code, Code::SPEC_FILE);
}

#[test]
fn endless_and_binary_files_end() {
    let folder = Folder::new(&[("pgisle.hcl", SPEC)]);
    let loaded = folder.load(&["/dev/zero"], &[], &[]);
    assert!(loaded.spec.is_none() && loaded.diagnostics[0].code == Code::SPEC_LIMIT, "{:?}", loaded.diagnostics);

    let folder = Folder::new(&[("pgisle.hcl", b"\xff\xfe")]);
    let loaded = folder.load(&[], &[], &[]);
    assert!(loaded.spec.is_none() && loaded.diagnostics[0].code == Code::SPEC_FILE, "{:?}", loaded.diagnostics);
}

#[test]
fn an_environment_that_is_not_text_does_no_harm() {
    let folder = Folder::new(&[("pgisle.hcl", SPEC)]);
    let odd = OsString::from_vec(vec![0xff, b'X']);
    let environment = [(odd.clone(), odd.clone()), ("PGISLE_VAR_postgres_host".into(), odd)];
    let files = SpecFiles { folder: folder.path(), var_files: &[], assignments: &[], environment: &environment };
    let loaded = load(&read(&files).unwrap());
    assert!(loaded.spec.is_none(), "{:?}", loaded.diagnostics);
}
