use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgisle_core::credential::Credentials;
use pgisle_core::diagnostic::Code;
use pgisle_core::name::RoleName;
use pgisle_core::spec::Environment;
use pgisle_engine::credential::{IdentitySource, Store, StoreError, system_random};
use proptest::prelude::*;

use super::{credentials_with, plain_store, service_name};

/// Tells a child of this test program which folder to work in.
const CHILD_FOLDER: &str = "PGISLE_TEST_STORE";

fn file(project: &Path) -> PathBuf {
    project.join(".pgisle/development/credentials.json")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A store with one service in it.
fn filled(project: &Path, password: &str) {
    plain_store(project).update(|credentials| *credentials = credentials_with("users", password)).unwrap();
}

#[test]
fn an_absent_store_is_empty_and_reading_it_writes_nothing() {
    let project = tempfile::tempdir().unwrap();
    assert_eq!(plain_store(project.path()).load().unwrap(), Credentials::default());
    assert_eq!(fs::read_dir(project.path()).unwrap().count(), 0);
}

#[test]
fn files_and_folders_are_private_and_not_for_git() {
    let project = tempfile::tempdir().unwrap();
    filled(project.path(), "x");
    let folder = project.path().join(".pgisle");
    assert_eq!((mode(&folder), mode(&folder.join("development")), mode(&file(project.path()))), (0o700, 0o700, 0o600));
    assert_eq!(mode(&folder.join("development/credentials.lock")), 0o600);
    assert_eq!(fs::read_to_string(folder.join(".gitignore")).unwrap(), "*\n");
}

#[test]
fn environments_do_not_mix() {
    let project = tempfile::tempdir().unwrap();
    filled(project.path(), "x");
    let staging = Store::new(project.path(), Environment::Staging, &[], IdentitySource::default()).unwrap();
    assert_eq!(staging.load().unwrap(), Credentials::default());
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_command_that_closes_it() {
    let project = tempfile::tempdir().unwrap();
    filled(project.path(), "x");
    for bits in [0o640, 0o604, 0o660, 0o666, 0o610] {
        fs::set_permissions(file(project.path()), Permissions::from_mode(bits)).unwrap();
        for error in [plain_store(project.path()).load().unwrap_err(), plain_store(project.path()).update(|_| ()).unwrap_err()] {
            let diagnostic = error.diagnostic();
            assert_eq!(diagnostic.code, Code::CREDENTIAL_STORE);
            let text = diagnostic.to_string();
            assert!(text.contains(&format!("chmod 600 {}", file(project.path()).display())), "{text}");
        }
    }
    fs::set_permissions(file(project.path()), Permissions::from_mode(0o400)).unwrap();
    plain_store(project.path()).load().unwrap();
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let project = tempfile::tempdir().unwrap();
    filled(project.path(), "x");
    let newer = r#"{ "version": 2, "vault": { "kind": "unheard of" } }"#;
    fs::write(file(project.path()), newer).unwrap();
    let error = plain_store(project.path()).update(|credentials| *credentials = Credentials::default()).unwrap_err();
    assert!(matches!(error, StoreError::Version { found: 2, .. }), "{error:?}");
    assert!(error.diagnostic().to_string().contains("newer"));
    assert_eq!(fs::read_to_string(file(project.path())).unwrap(), newer);
}

#[test]
fn malformed_files_are_refused_without_quoting_them() {
    let project = tempfile::tempdir().unwrap();
    filled(project.path(), "hunter2");
    let good = fs::read_to_string(file(project.path())).unwrap();
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    let cases = [
        String::new(),
        "hunter2".to_owned(),
        "{}".to_owned(),
        good[..good.len() / 2].to_owned(),
        format!("{good}{good}"),
        replaced("\"version\": 1", "\"version\": \"hunter2\""),
        replaced("\"version\": 1", "\"version\": 1, \"hunter2\": 1"),
        replaced("\"password\": \"hunter2\"", "\"password\": [\"hunter2\"]"),
        replaced("\"password\"", "\"hunter2\""),
        replaced("\"active_slot\": \"a\"", "\"active_slot\": \"hunter2\""),
        replaced("SCRAM-SHA-256$", "hunter2"),
        replaced("\"role\": \"link_users_user\"", "\"role\": \"hunter2\\u0000\""),
        replaced("\"pending\": null", "\"pending\": 1"),
        replaced("\"pending\": null", "\"pending\": null, \"pending\": null"),
    ];
    for text in cases {
        fs::write(file(project.path()), &text).unwrap();
        let error = plain_store(project.path()).load().unwrap_err();
        assert!(matches!(error, StoreError::Malformed { .. }), "{text}: {error:?}");
        let shown = format!("{error:?} {error} {}", error.diagnostic());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn links_and_folders_are_no_store() {
    let project = tempfile::tempdir().unwrap();
    filled(project.path(), "x");
    let path = file(project.path());
    let elsewhere = project.path().join("elsewhere.json");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(matches!(plain_store(project.path()).load().unwrap_err(), StoreError::NotAFile { .. }));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(plain_store(project.path()).update(|_| ()).unwrap_err(), StoreError::NotAFile { .. }));
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let project = tempfile::tempdir().unwrap();
    filled(project.path(), "x");
    let before = fs::metadata(file(project.path())).unwrap().ino();
    plain_store(project.path()).update(|credentials| credentials.services.len()).unwrap();
    assert_eq!(fs::metadata(file(project.path())).unwrap().ino(), before);
}

#[test]
fn debug_shows_no_secret() {
    let credentials = credentials_with("users", "hunter2");
    let text = format!("{credentials:?} {credentials:#?}");
    assert!(!text.contains("hunter2") && !text.contains("SCRAM-SHA-256"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_password_survives_the_file(password in prop_oneof![any::<String>(), "[\\x00-\\x7f]{0,80}", "['\"\\\\$#%@/:? {}\u{2028}\u{feff}é😀]{1,40}"]) {
        let project = tempfile::tempdir().unwrap();
        filled(project.path(), &password);
        let credentials = plain_store(project.path()).load().unwrap();
        prop_assert_eq!(&credentials, &credentials_with("users", &password));
        prop_assert_eq!(credentials.services[&service_name("users")].active.secret.expose(), password);
    }
}

/// Starts this test program again with one test that works on the folder until it is killed or done.
fn child(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("credential::store::{test}"), "--exact", "--ignored", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn child_folder() -> PathBuf {
    PathBuf::from(std::env::var_os(CHILD_FOLDER).expect("only started by another test"))
}

/// Two stores of the same place, plain and encrypted, to go back and forth between.
fn both_stores(project: &Path) -> [Store; 2] {
    let (key, recipient) = super::encryption::key(1);
    let source = || super::encryption::source(&key);
    [vec![], vec![recipient]].map(|recipients| Store::new(project, Environment::Development, &recipients, source()).unwrap())
}

#[test]
#[ignore = "started and killed by killed_at_any_moment_the_store_is_old_or_new"]
fn endless_writer() {
    let folder = child_folder();
    let stores = both_stores(&folder);
    let first = u64::from(std::process::id()) * 1_000_000;
    for generation in first.. {
        // Three writes in each format, so that changing over is hit as often as changing.
        stores[usize::from(generation % 6 < 3)].update(|credentials| write_generation(credentials, generation)).unwrap();
        fs::write(folder.join("begun"), "").unwrap();
    }
}

/// Puts the number of this write everywhere, so that a mixture of two writes shows.
fn write_generation(credentials: &mut Credentials, generation: u64) {
    let template = credentials_with("users", &format!("generation {generation}"));
    let logins = &template.services[&service_name("users")];
    credentials.services = (0..30).map(|index| (service_name(&format!("service{index}")), logins.clone())).collect();
}

#[test]
fn killed_at_any_moment_the_store_is_old_or_new() {
    let project = tempfile::tempdir().unwrap();
    let [plain, encrypted] = both_stores(project.path());
    let mut generations = std::collections::BTreeSet::new();
    for round in 0..40 {
        let mut writer = child("endless_writer", project.path());
        let deadline = Instant::now() + Duration::from_secs(60);
        while !project.path().join("begun").exists() {
            assert!(Instant::now() < deadline, "the writer does not write");
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut random = [0; 2];
        system_random(&mut random);
        std::thread::sleep(Duration::from_micros(u64::from(u16::from_ne_bytes(random))));
        writer.kill().unwrap();
        writer.wait().unwrap();
        fs::remove_file(project.path().join("begun")).unwrap();
        let credentials = plain.load().unwrap();
        assert_eq!(credentials, encrypted.load().unwrap());
        let secrets: std::collections::BTreeSet<&str> =
            credentials.services.values().map(|logins| logins.active.secret.expose()).collect();
        assert!(secrets.len() <= 1 && [0, 30].contains(&credentials.services.len()), "a mixture in round {round}");
        generations.extend(secrets.into_iter().map(str::to_owned));
    }
    assert!(generations.len() > 20, "the writers were killed before they wrote: {generations:?}");
    plain.update(|_| ()).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(project.path().join(".pgisle/development")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["credentials.json", "credentials.lock"], "nothing is left of the killed writers");
}

#[test]
#[ignore = "started by writers_at_once_lose_nothing"]
fn finite_writer() {
    add_services(&child_folder(), &format!("p{}", std::process::id()));
}

fn add_services(project: &Path, writer: &str) {
    for index in 0..20 {
        let name = format!("{writer}-{index}");
        let mut added = credentials_with(&name, &name);
        added.services.values_mut().for_each(|logins| logins.active.role = RoleName::new(name.clone()).unwrap());
        plain_store(project).update(|credentials| credentials.services.append(&mut added.services)).unwrap();
    }
}

#[test]
fn writers_at_once_lose_nothing() {
    let project = tempfile::tempdir().unwrap();
    let children: Vec<Child> = (0..3).map(|_| child("finite_writer", project.path())).collect();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let project = project.path();
            scope.spawn(move || add_services(project, &format!("t{thread}")));
        }
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(plain_store(project.path()).load().unwrap().services.len(), 5 * 20);
}
