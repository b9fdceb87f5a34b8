//! What is installed: here the client programs, there extensions and the operating system's collations.

use std::collections::BTreeMap;

use super::facts::{ClientFacts, ExtensionFacts, ServerFacts};
use crate::diagnostic::{Code, Diagnostic};
use crate::sql::doctor as sql;

/// Whether the client programs here can dump this server.
#[must_use]
pub fn programs(server_major: Option<u32>, found: &ClientFacts) -> Option<Diagnostic> {
    if found.fitting.is_some() {
        return None;
    }
    let wanted = server_major.map_or_else(|| "postgresql-client".to_owned(), |major| format!("postgresql-client-{major}"));
    let (summary, detail) = match found.majors.last() {
        None => (
            "pg_dump is not installed here".to_owned(),
            "Backups and restores need pg_dump, pg_restore and psql on the machine that makes them.".to_owned(),
        ),
        Some(newest) => (
            format!("pg_dump {newest} is older than the server"),
            format!("It refuses to dump a newer server, which is {}.", server_major.unwrap_or_default()),
        ),
    };
    Some(
        Diagnostic::warning(Code::BACKUP_TOOLS, summary)
            .detail(detail)
            .hint("Install them, from apt.postgresql.org where your system has no such package:")
            .command(format!("sudo apt-get install {wanted}")),
    )
}

/// Whether the databases' extensions go with what the server's machine has. What is the same in many databases is told once.
#[must_use]
pub fn extensions(server_major: u32, found: &[(String, Vec<ExtensionFacts>)]) -> Vec<Diagnostic> {
    let mut troubles: BTreeMap<(&str, Trouble<'_>), Vec<&str>> = BTreeMap::new();
    for (database, extensions) in found {
        for extension in extensions {
            if let Some(trouble) = Trouble::of(extension) {
                troubles.entry((&extension.name, trouble)).or_default().push(database);
            }
        }
    }
    troubles.into_iter().map(|((name, trouble), databases)| trouble.finding(server_major, name, &databases)).collect()
}

/// What is wrong with an extension.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble<'a> {
    /// A library that its functions are in is gone.
    Library(&'a str),
    /// Its files are gone.
    Files { installed: &'a str },
    /// The server's machine has another version.
    Version { installed: &'a str, available: &'a str },
}

impl<'a> Trouble<'a> {
    fn of(extension: &'a ExtensionFacts) -> Option<Self> {
        let ExtensionFacts { name: _, installed, available, libraries } = extension;
        if let Some(gone) = libraries.iter().find(|library| library.is_there == Some(false)) {
            return Some(Self::Library(&gone.name));
        }
        match available {
            None => Some(Self::Files { installed }),
            Some(available) if available != installed => Some(Self::Version { installed, available }),
            Some(_) => None,
        }
    }

    fn finding(&self, server_major: u32, name: &str, databases: &[&str]) -> Diagnostic {
        let of = match databases {
            [one] => format!("extension \"{name}\" of database \"{one}\""),
            _ => format!("extension \"{name}\" of databases \"{}\"", databases.join("\", \"")),
        };
        let install = |finding: Diagnostic| {
            let package = match name {
                "vector" => format!("postgresql-{server_major}-pgvector"),
                "postgis" => format!("postgresql-{server_major}-postgis-3"),
                _ => format!("postgresql-{server_major}"),
            };
            finding.hint("Install it again on the server's machine:").command(format!("sudo apt-get install --reinstall {package}"))
        };
        let error = |text: String| Diagnostic::error(Code::DOCTOR_EXTENSION, text);
        match self {
            Self::Library(library) => install(error(format!("{of} has lost its library \"{library}\"")).detail(
                "Its functions, operators and types fail whenever they are used, and no dump with their data can be read back.",
            )),
            Self::Files { installed } => install(error(format!("{of} is not on the server's machine any more")).detail(format!(
                "Version {installed} was created there; its files are gone, and no dump of the database can be restored."
            ))),
            Self::Version { installed, available } => {
                let summary = format!("{of} is version {installed}, and the server has {available}");
                let finding = Diagnostic::warning(Code::DOCTOR_EXTENSION, summary)
                    .detail("Its library is the new one, and its objects are as they were.")
                    .hint("Bring it up, in psql:");
                databases.iter().fold(finding, |finding, database| {
                    finding.command(sql::connect(database)).command(sql::update_extension(name).to_string())
                })
            }
        }
    }
}

/// Whether texts are sorted as they were when the databases were made.
#[must_use]
pub fn collations(facts: &ServerFacts) -> Vec<Diagnostic> {
    let differing = facts.databases.iter().filter_map(|database| {
        let made = database.collation_made.as_deref()?;
        (database.collation_now.as_deref() != Some(made)).then_some((database, made))
    });
    differing
        .map(|(database, made)| {
            let name = &database.name;
            let now = database.collation_now.as_deref().unwrap_or("none");
            Diagnostic::warning(
                Code::DOCTOR_COLLATION,
                format!("database \"{name}\" was made with collation version {made}, and the server's system has {now}"),
            )
            .detail("Texts may sort otherwise than when the indexes were made: lookups can miss rows, and unique indexes can hold duplicates.")
            .hint("Make the indexes anew, which locks tables in turn, and then note the version, in psql:")
            .command(sql::connect(name))
            .command(sql::reindex(name).to_string())
            .command(sql::refresh_collation(name).to_string())
        })
        .collect()
}
