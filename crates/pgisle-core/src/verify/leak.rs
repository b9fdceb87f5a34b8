//! A leak: who reaches what, by which path, and what closes it.

use std::fmt;

use serde::Serialize;

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::name::{DatabaseName, RoleName, ServiceName};

/// Who can do what should not be possible.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Who {
    /// Every login of the cluster, through PUBLIC.
    Everyone,
    /// A service, by one of its logins.
    Service {
        /// The service.
        service: ServiceName,
        /// Its login.
        login: RoleName,
    },
    /// The monitoring login.
    Monitoring {
        /// Its name.
        login: RoleName,
    },
    /// A role that is no service's and that nobody declared as trusted.
    Outsider {
        /// Its name.
        role: RoleName,
    },
}

impl Who {
    /// The service, if it is one.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Service { service, .. } => Some(service),
            Self::Everyone | Self::Monitoring { .. } | Self::Outsider { .. } => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("every login"),
            Self::Service { service, .. } => write!(f, "service \"{service}\""),
            Self::Monitoring { login } => write!(f, "monitoring login \"{login}\""),
            Self::Outsider { role } => write!(f, "role \"{role}\""),
        }
    }
}

/// One step of the way from a login to what it should not reach.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum PathStep {
    /// Where the path begins.
    Role {
        /// The role.
        role: RoleName,
    },
    /// PUBLIC: everyone begins here.
    Everyone,
    /// Has the privileges of a role by inheritance.
    MemberOf {
        /// That role.
        role: RoleName,
    },
    /// Has nothing of a role by itself, and may become it.
    SetRole {
        /// That role.
        role: RoleName,
    },
    /// Holds the admin option, and may so grant itself, or others, a role.
    AdminOf {
        /// That role.
        role: RoleName,
    },
    /// Was granted privileges.
    Granted {
        /// `CONNECT, TEMPORARY`.
        privileges: String,
        /// On what: `database link_users`.
        on: String,
        /// With grant option.
        grantable: bool,
    },
    /// Owns something, and so may grant it to anyone.
    Owns {
        /// What: `database link_users`.
        what: String,
    },
    /// Has an attribute of roles.
    Attribute {
        /// `SUPERUSER`.
        attribute: &'static str,
    },
    /// Whatever else was found in the catalogs.
    Fact {
        /// In words.
        what: String,
    },
    /// What a probe did, and the server let it.
    Did {
        /// In words: `logged in to link_users`.
        what: String,
    },
}

impl fmt::Display for PathStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { role } => write!(f, "{role}"),
            Self::Everyone => f.write_str("every login (PUBLIC)"),
            Self::MemberOf { role } => write!(f, "member of {role}"),
            Self::SetRole { role } => write!(f, "may SET ROLE {role}"),
            Self::AdminOf { role } => write!(f, "may grant {role}"),
            Self::Granted { privileges, on, grantable } => {
                write!(f, "granted {privileges} on {on}{}", if *grantable { " with grant option" } else { "" })
            }
            Self::Owns { what } => write!(f, "owns {what}"),
            Self::Attribute { attribute } => write!(f, "is {attribute}"),
            Self::Fact { what } => f.write_str(what),
            Self::Did { what } => write!(f, "tried it and {what}"),
        }
    }
}

/// How a leak is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// The catalogs say so.
    Catalog,
    /// A probe did it.
    Probe,
    /// The catalogs say so, and a probe did it.
    Both,
}

/// One way out of, or into, an island.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// One of the `LEAK_*` codes.
    pub code: Code,
    /// An error breaks the isolation; a warning is open by intent or behind another wall.
    pub severity: Severity,
    /// How it is known.
    pub evidence: Evidence,
    /// Who leaks.
    pub from: Who,
    /// Where to; none when it is the whole cluster.
    pub to: Option<DatabaseName>,
    /// How, step by step.
    pub path: Vec<PathStep>,
    /// What trials have shown of it, such as `chat logged in to link_users`.
    pub seen: Vec<String>,
    /// What closes it, as sentences.
    pub hint: String,
    /// SQL that closes it, for who cannot let pgisle do it.
    pub commands: Vec<String>,
}

impl Leak {
    /// The path in one line: `link_chat_user → member of reporting → granted CONNECT on database link_users`.
    #[must_use]
    pub fn path_text(&self) -> String {
        self.path.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ")
    }

    /// What it is, in one line without a full stop.
    #[must_use]
    pub fn summary(&self) -> String {
        let verb = match self.code {
            Code::LEAK_CONNECT => "can connect to",
            Code::LEAK_READ => "can read data in",
            Code::LEAK_CREATE => "can create objects in",
            Code::LEAK_ROLE => "can act as another role on",
            Code::LEAK_ATTRIBUTE => "has an attribute that reaches",
            Code::LEAK_OWNER => "can undo the isolation of",
            Code::LEAK_LIMIT => "is not held to the limits of",
            Code::LEAK_DEFAULT_PRIVILEGE => "would be let at future objects of",
            Code::LEAK_PREDEFINED_ROLE => "has a predefined role on",
            Code::LEAK_LOGIN => "cannot use",
            Code::VERIFY_BROKEN => "cannot work in",
            Code::LEAK_FUNCTION => "can run a function with its owner's rights in",
            Code::LEAK_SYSTEM => "can use what is the superuser's in",
            Code::LEAK_FOREIGN_SERVER => "can reach out of",
            _ => "leaks to",
        };
        match &self.to {
            Some(database) => format!("{} {verb} database \"{database}\"", self.from),
            None => format!("{} {verb} the cluster", self.from),
        }
    }

    /// The finding as every other one.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let diagnostic = match self.severity {
            Severity::Error => Diagnostic::error(self.code, self.summary()),
            Severity::Warning => Diagnostic::warning(self.code, self.summary()),
            Severity::Note => Diagnostic::note(self.code, self.summary()),
        };
        let diagnostic = diagnostic.about(self.from.to_string()).detail(format!("{}.", self.path_text())).hint(self.hint.clone());
        self.commands.iter().fold(diagnostic, Diagnostic::command)
    }

    /// What makes it the same leak as another one, in the order in which leaks are shown.
    fn identity(&self) -> (Severity, Code, &Option<DatabaseName>, &Who, &[PathStep], Evidence) {
        (self.severity, self.code, &self.to, &self.from, &self.path, self.evidence)
    }
}

/// Sorts leaks into the order in which they are shown, and drops repetitions.
pub(super) fn sort(leaks: &mut Vec<Leak>) {
    leaks.sort_by(|one, other| one.identity().cmp(&other.identity()));
    leaks.dedup_by(|one, other| one.identity() == other.identity());
}

impl Serialize for Leak {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let Self { code, severity, evidence, from, to, path, seen, hint, commands } = self;
        let mut leak = serializer.serialize_struct("Leak", 11)?;
        leak.serialize_field("code", code)?;
        leak.serialize_field("severity", severity)?;
        leak.serialize_field("evidence", evidence)?;
        leak.serialize_field("summary", &self.summary())?;
        leak.serialize_field("from", from)?;
        leak.serialize_field("to", to)?;
        leak.serialize_field("path", path)?;
        leak.serialize_field("path_text", &self.path_text())?;
        leak.serialize_field("seen", seen)?;
        leak.serialize_field("hint", hint)?;
        leak.serialize_field("commands", commands)?;
        leak.end()
    }
}

/// Something about which nothing is known: neither isolated nor a leak.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unproved {
    /// What: `contents of database "link_users"`.
    pub what: String,
    /// Why it could not be proved.
    pub because: String,
}

impl Unproved {
    /// The finding as every other one.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::error(Code::VERIFY_NOT_PROVED, format!("not proved: {}", self.what))
            .detail(self.because.clone())
            .hint("Mend what kept the probe from running and verify again.")
    }
}
