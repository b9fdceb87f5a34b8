//! What a server needs to be told so that it archives its log.

use std::collections::BTreeMap;

use crate::artifact::shell_word;
use crate::name::ParameterName;
use crate::sql::{Statement, alter_system};

/// The parameters that matter, as `pg_settings` calls them.
pub const PARAMETERS: [&str; 5] = ["wal_level", "archive_mode", "archive_library", "archive_command", "archive_timeout"];

/// Seconds after which a segment is archived though it is not full: what a lost server costs at most.
const TIMEOUT_S: &str = "60";

/// A parameter that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: &'static str,
    /// As it is.
    pub from: String,
    /// As it must be.
    pub to: String,
    /// Whether the server must be started again for it.
    pub needs_restart: bool,
}

impl Change {
    /// The statement that makes it.
    #[must_use]
    pub fn statement(&self) -> Statement {
        alter_system(&ParameterName::observed(self.name), &self.to)
    }
}

/// What must change. A command that is not ours is somebody's archive, which only whoever asks for it replaces; empty when all is as
/// it must be.
#[must_use]
pub fn changes(there: &BTreeMap<String, String>, command: &str) -> Vec<Change> {
    let value = |name: &str| there.get(name).map(String::as_str).unwrap_or_default();
    let change = |name: &'static str, to: &str, needs_restart| {
        let from = value(name).to_owned();
        Change { name, from, to: to.to_owned(), needs_restart }
    };
    let mut changes = Vec::new();
    if value("wal_level") == "minimal" {
        changes.push(change("wal_level", "replica", true));
    }
    if !matches!(value("archive_mode"), "on" | "always") {
        changes.push(change("archive_mode", "on", true));
    }
    if !value("archive_library").is_empty() {
        changes.push(change("archive_library", "", false));
    }
    if value("archive_command") != command {
        changes.push(change("archive_command", command, false));
    }
    if value("archive_timeout") == "0" {
        changes.push(change("archive_timeout", TIMEOUT_S, false));
    }
    changes
}

/// The `archive_command` that calls pgisle. The server runs it by a shell, and takes `%` for its own.
#[must_use]
pub fn archive_command(program: &str, folder: &str, is_dev: bool, variables: &[(&str, String)]) -> String {
    let mut words = vec![shell_word(program), shell_word(&format!("-chdir={folder}"))];
    words.extend(is_dev.then(|| "-dev".to_owned()));
    words.extend(variables.iter().map(|(name, value)| shell_word(&format!("-var={name}={value}"))));
    format!("{} -quiet backup archive-wal %p", words.join(" ").replace('%', "%%"))
}

/// The `restore_command` that runs a shell script with the name and the path.
#[must_use]
pub fn restore_command(script: &str) -> String {
    format!("/bin/sh {} %f %p", shell_word(script).replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(values: [&str; 5]) -> BTreeMap<String, String> {
        PARAMETERS.into_iter().zip(values).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn only_what_is_not_as_it_must_be_is_changed() {
        let names = |values| changes(&there(values), "c").into_iter().map(|change| change.name).collect::<Vec<_>>();
        assert_eq!(
            names(["minimal", "off", "", "(disabled)", "0"]),
            ["wal_level", "archive_mode", "archive_command", "archive_timeout"]
        );
        assert_eq!(names(["logical", "always", "", "c", "300"]), [""; 0]);
        assert_eq!(names(["replica", "on", "basic_archive", "", "60"]), ["archive_library", "archive_command"]);
        let all = changes(&there(["minimal", "off", "", "", "0"]), "it's %p");
        assert_eq!(all.iter().map(|change| change.needs_restart).collect::<Vec<_>>(), [true, true, false, false]);
        assert_eq!(all[2].statement().to_string(), r#"ALTER SYSTEM SET "archive_command" = 'it''s %p'"#);
    }

    #[test]
    fn a_command_survives_the_shell_and_the_server() {
        let command = archive_command("/opt/my tools/pgisle", "/srv/100%", true, &[("environment", "staging".to_owned())]);
        let expected = "'/opt/my tools/pgisle' -chdir=/srv/100%% -dev -var=environment=staging -quiet backup archive-wal %p";
        assert_eq!(command, expected);
    }
}
