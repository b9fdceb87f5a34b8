//! Checks on texts: what each setting's words must be like, in code and in words.

use super::model::HostPort;
use crate::backup::Schedule;
use crate::diagnostic::Code;
use crate::name::{DatabaseName, ExtensionName, NAME_BYTES_MAX, RoleName, SchemaName};

/// What a text must be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// A password: anything that fits on the wire.
    Password,
    /// One line of anything.
    Line,
    /// A host name, an address or the folder of a Unix socket.
    Host,
    /// A host name or an address, with a port where that is another one than usual.
    HostPort,
    /// A path.
    Path,
    /// The name of a database that exists outside of pgisle.
    Database,
    /// The name of a role that exists outside of pgisle.
    Role,
    /// The name of a database or login that pgisle makes. It goes into shell scripts, INI and YAML files.
    IslandName,
    /// The first part of names.
    Prefix,
    /// The name of an extension.
    Extension,
    /// The name of a schema.
    Schema,
    /// `table` or `schema.table`.
    Table,
    /// A value of a PostgreSQL setting.
    ParameterValue,
    /// The name of a namespace.
    KubernetesName,
    /// The name of a locale.
    Locale,
    /// `1.18`.
    Version,
    /// A public key of age.
    AgeRecipient,
    /// Cron's five fields.
    Schedule,
}

/// Why a text is refused.
pub(super) struct Refusal {
    pub(super) code: Code,
    /// What is wrong, as a sentence.
    pub(super) detail: String,
}

fn refusal(code: Code, detail: impl Into<String>) -> Refusal {
    Refusal { code, detail: detail.into() }
}

impl Check {
    /// What the text must be like, for the reference and for hints; empty when there is nothing to say.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::Password | Self::Line | Self::ParameterValue => "",
            Self::Host => "a host name, an address, or the absolute path of a socket's folder",
            Self::HostPort => "host or host:port; an IPv6 address with a port stands in brackets",
            Self::Path => "a path",
            Self::Database => "the name of a database, 63 bytes at most",
            Self::Role => "the name of a role, 63 bytes at most",
            Self::IslandName => "a letter or _, then letters, digits, _ and -",
            Self::Prefix => "a lower-case letter, then lower-case letters, digits and _, not ending in _",
            Self::Extension => "the name of an extension: letters, digits, _ and -",
            Self::Schema => "a lower-case letter or _, then lower-case letters, digits and _",
            Self::Table => "table or schema.table",
            Self::KubernetesName => "lower-case letters, digits and -, 63 at most, beginning and ending with a letter or digit",
            Self::Locale => "the name of a locale, such as en_US.utf8, C or C.UTF-8",
            Self::Version => "a version, such as 1.18",
            Self::AgeRecipient => "an age public key: age1…",
            Self::Schedule => "cron's five fields, such as 0 2 * * *",
        }
    }

    /// Checks a text.
    pub(super) fn check(self, text: &str) -> Result<(), Refusal> {
        match self {
            // NUL is the one character that neither the wire nor a file can carry; files cannot hold it to begin with.
            Self::Password if text.is_empty() => Err(refusal(Code::SPEC_RANGE, "The password is empty.")),
            Self::Password if text.contains('\0') => Err(refusal(Code::SPEC_RANGE, "The password contains a NUL character.")),
            Self::Password => Ok(()),
            Self::Line | Self::ParameterValue => one_line(text),
            Self::Host => host(text),
            Self::HostPort => host_port(text),
            Self::Path if text.is_empty() => Err(refusal(Code::SPEC_RANGE, "The path is empty.")),
            Self::Path => one_line(text),
            Self::Database => name(DatabaseName::new(text)),
            Self::Role => role(text),
            Self::IslandName => {
                let first = |c: char| c.is_ascii_alphabetic() || c == '_';
                spelled(text, first, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'), self)
            }
            Self::Prefix => prefix(text),
            Self::Extension => {
                name(ExtensionName::new(text))?;
                spelled(
                    text,
                    |c| c.is_ascii_alphanumeric() || c == '_',
                    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'),
                    self,
                )
            }
            Self::Schema => schema(text),
            Self::Table => table(text),
            Self::KubernetesName => kubernetes_name(text),
            Self::Locale => spelled(
                text,
                |c| c.is_ascii_alphanumeric(),
                |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@'),
                self,
            ),
            Self::Version => version(text),
            Self::AgeRecipient => {
                let body = text.strip_prefix("age1").unwrap_or_default();
                let is_key = body.len() >= 50 && body.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
                if is_key { Ok(()) } else { Err(refusal(Code::SPEC_RANGE, "It is not a public key of age.")) }
            }
            Self::Schedule => Schedule::parse(text).map(drop).map_err(|why| refusal(Code::SPEC_RANGE, why)),
        }
    }
}

fn name<T>(result: Result<T, crate::name::NameError>) -> Result<(), Refusal> {
    result.map(|_| ()).map_err(|error| refusal(Code::SPEC_NAME, sentence(&error.to_string())))
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

fn one_line(text: &str) -> Result<(), Refusal> {
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(refusal(Code::SPEC_RANGE, format!("The text contains the control character {c:?}."))),
        None => Ok(()),
    }
}

/// Checks the spelling of a name that pgisle's own rules bound.
fn spelled(text: &str, first: impl Fn(char) -> bool, other: impl Fn(char) -> bool, check: Check) -> Result<(), Refusal> {
    let Some(initial) = text.chars().next() else {
        return Err(refusal(Code::SPEC_NAME, "The name is empty."));
    };
    if text.len() > NAME_BYTES_MAX {
        let bytes = text.len();
        return Err(refusal(
            Code::SPEC_NAME,
            format!("The name has {bytes} bytes, and PostgreSQL cuts names at {NAME_BYTES_MAX}."),
        ));
    }
    let bad = if first(initial) { text.chars().find(|c| !other(*c)) } else { Some(initial) };
    match bad {
        Some(c) => Err(refusal(Code::SPEC_NAME, format!("{c:?} cannot stand there: it must be {}.", check.rule()))),
        None => Ok(()),
    }
}

fn host(text: &str) -> Result<(), Refusal> {
    const HOST_BYTES_MAX: usize = 253;
    if text.is_empty() {
        return Err(refusal(Code::SPEC_RANGE, "The host is empty."));
    }
    if text.starts_with('/') {
        return one_line(text);
    }
    if text.len() > HOST_BYTES_MAX {
        return Err(refusal(
            Code::SPEC_RANGE,
            format!("The host has {} bytes, and names have {HOST_BYTES_MAX} at most.", text.len()),
        ));
    }
    // `:` and `%` are for IPv6 addresses and their zones.
    match text.chars().find(|c| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%'))) {
        Some(c) => {
            let detail = match c {
                ',' => "It is a list of hosts, and pgisle administers one server.".to_owned(),
                '/' => "It looks like an address with a scheme or a path; only the host is wanted.".to_owned(),
                _ => format!("{c:?} cannot stand in a host name."),
            };
            Err(refusal(Code::SPEC_RANGE, detail))
        }
        None => Ok(()),
    }
}

fn host_port(text: &str) -> Result<(), Refusal> {
    let Some(HostPort { host: name, .. }) = HostPort::parse(text) else {
        return Err(refusal(Code::SPEC_RANGE, format!("It must be {}.", Check::HostPort.rule())));
    };
    if name.starts_with('/') {
        return Err(refusal(Code::SPEC_RANGE, "A socket is on one machine; others need a host."));
    }
    host(&name)
}

fn role(text: &str) -> Result<(), Refusal> {
    match RoleName::new(text) {
        Ok(role) if matches!(text, "public" | "none") || role.is_reserved() && !text.starts_with("pg_") => {
            Err(refusal(Code::SPEC_NAME, "PostgreSQL gives this word a meaning of its own."))
        }
        other => name(other),
    }
}

fn prefix(text: &str) -> Result<(), Refusal> {
    // Room for `_monitoring`, and for a service's name between the prefix and `_migrator`.
    const PREFIX_BYTES_MAX: usize = 40;
    let other = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    spelled(text, |c| c.is_ascii_lowercase(), other, Check::Prefix)?;
    if text.ends_with('_') {
        return Err(refusal(Code::SPEC_NAME, "The prefix ends in _, and one is put behind it anyway."));
    }
    if text == "pg" || text.starts_with("pg_") {
        return Err(refusal(Code::SPEC_NAME, "PostgreSQL keeps names that begin with pg_ for itself."));
    }
    if text.len() > PREFIX_BYTES_MAX {
        return Err(refusal(
            Code::SPEC_NAME,
            format!("The prefix has {} bytes; {PREFIX_BYTES_MAX} leave room for the rest.", text.len()),
        ));
    }
    Ok(())
}

fn schema(text: &str) -> Result<(), Refusal> {
    name(SchemaName::new(text))?;
    let other = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    spelled(text, |c| c.is_ascii_lowercase() || c == '_', other, Check::Schema)?;
    if text.starts_with("pg_") || text == "information_schema" {
        return Err(refusal(Code::SPEC_NAME, "PostgreSQL keeps this schema for itself."));
    }
    Ok(())
}

fn table(text: &str) -> Result<(), Refusal> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 2 {
        return Err(refusal(Code::SPEC_NAME, "It has more than one dot; it must be table or schema.table."));
    }
    for part in parts {
        name(SchemaName::new(part))?;
        if part.trim() != part || part.contains(['"', '*']) {
            return Err(refusal(Code::SPEC_NAME, "It must be the plain name of one table, without quotes, blanks or patterns."));
        }
    }
    Ok(())
}

fn kubernetes_name(text: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| allowed(c) || c == '-')
        && text.starts_with(allowed)
        && text.ends_with(allowed);
    if is_name { Ok(()) } else { Err(refusal(Code::SPEC_RANGE, format!("It must be {}.", Check::KubernetesName.rule()))) }
}

fn version(text: &str) -> Result<(), Refusal> {
    let parts: Vec<&str> = text.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.len() <= 4 && part.chars().all(|c| c.is_ascii_digit());
    if (2..=3).contains(&parts.len()) && parts.iter().all(is_number) {
        Ok(())
    } else {
        Err(refusal(Code::SPEC_RANGE, "It must be a version, such as 1.18."))
    }
}
