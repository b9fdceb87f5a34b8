use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgisle_core::spec::Environment;
use pgisle_engine::credential::{IdentitySource, Store, StoreError};
use pgisle_engine::local::find_program;

use super::{credentials_with, plain_store};

/// Key pairs made by age-keygen for these tests alone: they protect nothing.
const KEYS: [(&str, &str); 2] = [
    (
        "AGE-SECRET-KEY-1J0AK9AK44WVWT59KUTNH327M9Q9HDFXX3K5KHQ4Q00F6R7CY9NKSCC6CR5",
        "age10dcr2hpugw9yffjq6yue706eny6d49qtxrpuztrqw2w6gsdu0qlsu7hu0e",
    ),
    (
        "AGE-SECRET-KEY-1WJE3WSFWTS4TGUHZNA9N6JJL887DDY25EMCRKEMNY6FKHMJRZP8QFMXWC2",
        "age1zc4y4rw63w5wd4045ellh3p0edqyt8yd4tq2pzm5x2zc8cknlqyqulnjxx",
    ),
];

/// A key pair: identity and recipient.
pub(super) fn key(index: usize) -> (String, String) {
    let (identity, recipient) = KEYS[index];
    (identity.to_owned(), recipient.to_owned())
}

/// Gives an identity as the environment variable would.
pub(super) fn source(identity: &str) -> IdentitySource {
    IdentitySource::from_environment(|name| (name == "PGISLE_AGE_IDENTITY").then(|| identity.into()))
}

fn store(project: &Path, recipients: &[&str], identities: IdentitySource) -> Store {
    let recipients: Vec<String> = recipients.iter().map(|recipient| (*recipient).to_owned()).collect();
    Store::new(project, Environment::Development, &recipients, identities).unwrap()
}

fn plain_file(project: &Path) -> PathBuf {
    project.join(".pgisle/development/credentials.json")
}

fn encrypted_file(project: &Path) -> PathBuf {
    project.join(".pgisle/development/credentials.json.age")
}

/// True when these bytes stand in any file below the folder.
fn is_anywhere(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => is_anywhere(&path, bytes),
        false => fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes),
    })
}

#[test]
fn changing_over_moves_the_file_and_leaves_no_plain_copy() {
    let project = tempfile::tempdir().unwrap();
    let wanted = credentials_with("users", "hunter2");
    plain_store(project.path()).update(|credentials| *credentials = wanted.clone()).unwrap();
    assert!(is_anywhere(project.path(), b"hunter2"));
    // A killed writer's leftover is a plain copy, too.
    let leftover = project.path().join(".pgisle/development/.credentials.json.pgisle-new-0123456789abcdef");
    fs::copy(plain_file(project.path()), &leftover).unwrap();

    let (identity, recipient) = key(0);
    let encrypted = store(project.path(), &[&recipient], source(&identity));
    encrypted.update(|_| ()).unwrap();
    assert!(!plain_file(project.path()).exists() && !leftover.exists());
    assert!(!is_anywhere(project.path(), b"hunter2") && !is_anywhere(project.path(), b"link_users_user"));
    assert_eq!(encrypted.load().unwrap(), wanted);
    assert_eq!(encrypted.path(), encrypted_file(project.path()));
    assert_eq!(fs::metadata(encrypted_file(project.path())).unwrap().permissions().mode() & 0o7777, 0o600);

    // Back again; reading the encrypted file still takes its key.
    assert!(matches!(plain_store(project.path()).update(|_| ()).unwrap_err(), StoreError::IdentityMissing { .. }));
    store(project.path(), &[], source(&identity)).update(|_| ()).unwrap();
    assert!(!encrypted_file(project.path()).exists());
    assert_eq!(plain_store(project.path()).load().unwrap(), wanted);
}

#[test]
fn added_recipients_can_read_at_once_and_removed_ones_no_longer() {
    let project = tempfile::tempdir().unwrap();
    let ((mine, my_key), (theirs, their_key)) = (key(0), key(1));
    let wanted = credentials_with("users", "hunter2");
    let alone = store(project.path(), &[&my_key], source(&mine));
    alone.update(|credentials| *credentials = wanted.clone()).unwrap();
    let bytes = fs::read(encrypted_file(project.path())).unwrap();
    alone.update(|_| ()).unwrap();
    assert_eq!(fs::read(encrypted_file(project.path())).unwrap(), bytes, "nothing to do");

    let as_they = store(project.path(), &[&their_key, &my_key], source(&theirs));
    assert!(matches!(as_they.load().unwrap_err(), StoreError::IdentityWrong { .. }));
    store(project.path(), &[&my_key, &their_key], source(&mine)).update(|_| ()).unwrap();
    assert_eq!(as_they.load().unwrap(), wanted);
    let bytes = fs::read(encrypted_file(project.path())).unwrap();
    as_they.update(|_| ()).unwrap();
    assert_eq!(fs::read(encrypted_file(project.path())).unwrap(), bytes, "the order of recipients means nothing");

    alone.update(|_| ()).unwrap();
    assert!(matches!(as_they.load().unwrap_err(), StoreError::IdentityWrong { .. }));
}

#[test]
fn nobody_locks_themselves_out() {
    let project = tempfile::tempdir().unwrap();
    let ((mine, my_key), (_, their_key)) = (key(0), key(1));
    plain_store(project.path()).update(|credentials| *credentials = credentials_with("users", "x")).unwrap();
    let for_them = store(project.path(), &[&their_key], source(&mine));
    assert!(matches!(for_them.update(|_| ()).unwrap_err(), StoreError::LockedOut));
    let without = store(project.path(), &[&my_key], IdentitySource::default());
    let error = without.update(|_| ()).unwrap_err();
    assert!(error.diagnostic().to_string().contains("PGISLE_AGE_IDENTITY_FILE"), "{}", error.diagnostic());
    assert!(plain_file(project.path()).exists() && !encrypted_file(project.path()).exists());
}

#[test]
fn two_files_that_differ_are_refused() {
    let project = tempfile::tempdir().unwrap();
    let (identity, recipient) = key(0);
    let encrypted = store(project.path(), &[&recipient], source(&identity));
    plain_store(project.path()).update(|credentials| *credentials = credentials_with("users", "old")).unwrap();
    let old = fs::read(plain_file(project.path())).unwrap();
    encrypted.update(|credentials| *credentials = credentials_with("users", "new")).unwrap();
    fs::write(plain_file(project.path()), old).unwrap();
    fs::set_permissions(plain_file(project.path()), Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(encrypted.update(|_| ()).unwrap_err(), StoreError::Ambiguous { .. }));
    fs::remove_file(plain_file(project.path())).unwrap();
    assert_eq!(encrypted.load().unwrap(), credentials_with("users", "new"));
}

#[test]
fn damaged_files_are_refused() {
    let project = tempfile::tempdir().unwrap();
    let (identity, recipient) = key(0);
    let encrypted = store(project.path(), &[&recipient], source(&identity));
    encrypted.update(|credentials| *credentials = credentials_with("users", "x")).unwrap();
    let good = fs::read(encrypted_file(project.path())).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for bytes in [&good[..good.len() - 1], &good[..good.len() / 2], &flipped, b"", b"{}", b"age-encryption.org/v9\n"] {
        fs::write(encrypted_file(project.path()), bytes).unwrap();
        let error = encrypted.load().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    }
}

#[test]
fn keys_are_found_where_the_documentation_says_and_only_when_private() {
    let home = tempfile::tempdir().unwrap();
    let project = tempfile::tempdir().unwrap();
    let (identity, recipient) = key(0);
    let found = |variables: &[(&str, &str)]| {
        let source = IdentitySource::from_environment(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        });
        store(project.path(), &[&recipient], source).update(|credentials| *credentials = credentials_with("users", "x"))
    };
    let home_text = home.path().to_str().unwrap();
    assert!(matches!(found(&[("HOME", home_text)]).unwrap_err(), StoreError::IdentityMissing { .. }));

    fs::create_dir_all(home.path().join(".config/pgisle")).unwrap();
    let path = home.path().join(".config/pgisle/identity.txt");
    fs::write(&path, format!("# created: some time\n# public key: {recipient}\n{identity}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let error = found(&[("HOME", home_text)]).unwrap_err();
    assert!(error.diagnostic().to_string().contains(&format!("chmod 600 {}", path.display())), "{error:?}");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    found(&[("HOME", home_text)]).unwrap();
    found(&[("PGISLE_AGE_IDENTITY_FILE", path.to_str().unwrap())]).unwrap();
    found(&[("PGISLE_AGE_IDENTITY", &identity), ("PGISLE_AGE_IDENTITY_FILE", "/no/such/file")]).unwrap();
    let error = found(&[("PGISLE_AGE_IDENTITY_FILE", "/no/such/file"), ("HOME", home_text)]).unwrap_err();
    assert!(matches!(error, StoreError::IdentityUnreadable { .. }), "{error:?}");
    let error = found(&[("PGISLE_AGE_IDENTITY", "AGE-SECRET-KEY-1HUNTER2")]).unwrap_err();
    assert!(matches!(error, StoreError::IdentityMalformed { .. }), "{error:?}");
    assert!(!format!("{error:?} {}", error.diagnostic()).contains("HUNTER2"));
}

#[test]
fn what_is_no_public_key_is_no_recipient() {
    let (identity, recipient) = key(0);
    for text in ["", "age1", "ssh-ed25519 AAAA", &recipient[..recipient.len() - 1], &identity] {
        let result = Store::new(Path::new("."), Environment::Production, &[text.to_owned()], IdentitySource::default());
        let error = result.err().unwrap();
        assert!(matches!(error, StoreError::Recipient { position: 1 }), "{text}");
        assert!(!format!("{error:?} {}", error.diagnostic()).contains("AGE-SECRET"));
    }
}

#[test]
fn the_age_program_reads_what_we_write_and_we_read_what_it_writes() {
    let (Some(age), Some(age_keygen)) = (find_program("age"), find_program("age-keygen")) else {
        pgisle_testkit::skip!("the program age is not installed");
    };
    let project = tempfile::tempdir().unwrap();
    let key_path = project.path().join("key.txt");
    assert!(Command::new(&age_keygen).arg("-o").arg(&key_path).stderr(Stdio::null()).status().unwrap().success());
    let recipient = String::from_utf8(Command::new(&age_keygen).arg("-y").arg(&key_path).output().unwrap().stdout).unwrap();
    let identities =
        || IdentitySource::from_environment(|name| (name == "PGISLE_AGE_IDENTITY_FILE").then(|| key_path.clone().into()));
    let store = || store(project.path(), &[recipient.trim()], identities());
    let wanted = credentials_with("users", "a'b\"c\\d$e#f g=h%i@/:?");
    store().update(|credentials| *credentials = wanted.clone()).unwrap();

    let path = encrypted_file(project.path());
    let plain = Command::new(&age).args(["-d", "-i"]).arg(&key_path).arg(&path).output().unwrap();
    assert!(plain.status.success(), "{plain:?}");
    let json: serde_json::Value = serde_json::from_slice(&plain.stdout).unwrap();
    assert_eq!(json["services"]["users"]["active"]["password"], "a'b\"c\\d$e#f g=h%i@/:?");

    let plain_path = project.path().join("plain.json");
    fs::write(&plain_path, &plain.stdout).unwrap();
    for armor in [&["-a"][..], &[]] {
        fs::remove_file(&path).unwrap();
        let args = ["-r", recipient.trim(), "-o"];
        let status = Command::new(&age).args(armor).args(args).arg(&path).arg(&plain_path).status().unwrap();
        assert!(status.success());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(store().load().unwrap(), wanted, "{armor:?}");
    }
}
