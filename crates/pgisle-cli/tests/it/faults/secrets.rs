//! Where passwords must not be: the server's log, command lines, all that is said, and files that others can read.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgisle_testkit::Cluster;
use serde_json::Value;

use super::{cluster, text};
use crate::program::Place;

/// A server that tells its log all it hears.
const TALKATIVE: &[(&str, &str)] = &[
    ("log_statement", "all"),
    ("log_min_duration_statement", "0"),
    ("log_duration", "on"),
    ("log_parameter_max_length", "-1"),
    ("log_parameter_max_length_on_error", "-1"),
    ("log_min_messages", "debug1"),
    ("log_min_error_statement", "debug1"),
    ("log_error_verbosity", "verbose"),
    ("log_connections", "on"),
    ("debug_print_parse", "on"),
];

/// All that a project goes through.
const COMMANDS: &[&[&str]] = &[
    &["init", "-prefix=shop", "orders", "billing"],
    &["validate", "-json"],
    &["plan", "-v"],
    &["plan", "-json", "-out=saved.pgplan"],
    &["apply", "-v", "saved.pgplan"],
    &["plan", "-v", "-json"],
    &["apply", "-auto-approve", "-json", "-v"],
    &["verify", "-v"],
    &["verify", "-json", "-junit=verify.xml"],
    &["rotate", "orders", "-v"],
    &["rotate", "billing", "-json"],
    &["apply", "-auto-approve", "-v"],
    &["rotate", "-all", "-finish", "-v"],
    &["status", "-v"],
    &["status", "-json"],
    &["budget", "-json"],
    &["output"],
    &["output", "service_databases"],
    &["plan", "-v", "-destroy", "-out=destroy.pgplan"],
    &["destroy", "-target=service.billing", "-auto-approve", "-v"],
];

fn project(cluster: &Cluster) -> Place {
    Place::new()
        .variable("PGISLE_VAR_postgres_host", cluster.host())
        .variable("PGISLE_VAR_postgres_port", &cluster.port().to_string())
        .variable("PGISLE_VAR_postgres_username", cluster.superuser())
        .variable("PGISLE_VAR_postgres_sslmode", "disable")
        .variable("PGISLE_VAR_collation", "C.UTF-8")
        .variable("PGISLE_VAR_default_extensions", "[]")
        .variable("PGPASSWORD", cluster.password())
}

/// Every password that the store has, and the keys of every verifier.
fn secrets(place: &Place, passwords: &mut BTreeSet<String>, keys: &mut BTreeSet<String>) {
    fn walk(value: &Value, passwords: &mut BTreeSet<String>, keys: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| match (name.as_str(), value.as_str()) {
                ("password", Some(password)) => drop(passwords.insert(password.to_owned())),
                ("verifier", Some(verifier)) => {
                    keys.extend(verifier.rsplit('$').next().unwrap().split(':').map(str::to_owned));
                }
                _ => walk(value, passwords, keys),
            }),
            Value::Array(values) => values.iter().for_each(|value| walk(value, passwords, keys)),
            _ => {}
        }
    }
    if place.project().join(".pgisle/development/credentials.json").exists() {
        walk(&serde_json::from_str(&place.read(".pgisle/development/credentials.json")).unwrap(), passwords, keys);
    }
}

/// Collects the command lines of all processes until it is told that it is enough.
async fn command_lines(enough: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while !enough.load(Ordering::SeqCst) {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            // Most of what is there is no process, or has ended by now.
            if let Ok(line) = fs::read(entry.path().join("cmdline")) {
                seen.insert(String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    seen
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { paths(&path) } else { vec![path] }).collect()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn passwords_stay_where_they_belong() {
    let builder = TALKATIVE.iter().fold(Cluster::builder(), |builder, (name, value)| builder.conf(name, value));
    let cluster = cluster(builder).await;
    let place = project(&cluster);
    let enough = Arc::new(AtomicBool::new(false));
    let lines = tokio::spawn(command_lines(Arc::clone(&enough)));
    let (mut passwords, mut keys, mut said) = (BTreeSet::new(), BTreeSet::new(), String::new());
    for arguments in COMMANDS {
        // With a umask that takes nothing away, every mode is pgisle's own choice.
        let mut command = place.command("/bin/sh");
        command.args(["-c", "umask 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_pgisle")]).args(*arguments);
        let output = tokio::process::Command::from(command).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        said.push_str(&text(&output));
        secrets(&place, &mut passwords, &mut keys);
        assert_files_are_private(&place, passwords.iter().chain(&keys));
    }
    enough.store(true, Ordering::SeqCst);
    passwords.insert(cluster.password().to_owned());
    // Two services, monitoring, the pooler's console, two more by rotation, the administrator.
    assert!(passwords.len() >= 7 && keys.len() >= 12, "{} passwords, {} keys", passwords.len(), keys.len());

    let lines = lines.await.unwrap();
    assert!(lines.iter().any(|line| line.contains("pgisle apply")), "the command lines were not seen");
    let lines: String = lines.into_iter().collect();
    let log = cluster.log();
    assert!(log.contains("CREATE ROLE") && log.contains("parse tree"), "the log is silent");
    let plans = ["saved.pgplan", "destroy.pgplan", "verify.xml"].map(|file| place.read(file)).concat();
    for password in &passwords {
        for (name, place) in [("the log", &log), ("a command line", &lines), ("what was said", &said), ("a file", &plans)] {
            assert!(!place.contains(password), "a password is in {name}");
        }
    }
    for key in &keys {
        for (name, place) in [("a command line", &lines), ("what was said", &said), ("a file", &plans)] {
            assert!(!place.contains(key), "a verifier's key is in {name}");
        }
    }
}

/// Whatever file has a secret in it, and the folder that it is in, is its owner's alone.
fn assert_files_are_private<'s>(place: &Place, secrets: impl Iterator<Item = &'s String> + Clone) {
    for path in paths(place.root()) {
        let bytes = fs::read(&path).unwrap();
        let content = String::from_utf8_lossy(&bytes);
        if secrets.clone().any(|secret| content.contains(secret)) {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            assert_eq!(mode(path.parent().unwrap()), 0o700, "the folder of {}", path.display());
        }
        // What is the user's to edit follows the user's umask.
        let is_generated = ["generated", ".pgisle"].iter().any(|folder| path.starts_with(place.project().join(folder)));
        assert!(!is_generated || mode(&path) & 0o022 == 0, "{} can be written by others", path.display());
    }
}
