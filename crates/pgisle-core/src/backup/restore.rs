//! What a restore makes on a cluster, what it is called, and what is left of one that was interrupted.
//!
//! A restore fills a database of its own (`link_users__restore_20250119020000`) by a login of its own (`link_users_owner__restore`)
//! and then trades names with the live one in a single transaction; what was live is `link_users__replaced_20250119020000` from then
//! on. Names and markers are all that is recorded: whoever reads the catalogs knows how far it came.

use serde::Serialize;

use crate::inventory::{Database, Inventory};
use crate::marker::{Kind, Marker};
use crate::moment::Moment;
use crate::name::{DatabaseName, NAME_BYTES_MAX, RoleName, ServiceName};

/// What a database is filled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// To take the live one's place.
    Restore,
    /// To be compared, and dropped.
    Drill,
    /// To hold what a split takes out of the shared database.
    Split,
}

impl Purpose {
    /// The part that the database and its login play on the cluster.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Restore | Self::Drill => Kind::Restore,
            Self::Split => Kind::Split,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::Drill => "drill",
            Self::Split => "split",
        }
    }
}

/// The database that is filled.
#[must_use]
pub fn staging_name(database: &DatabaseName, purpose: Purpose, at: Moment) -> DatabaseName {
    DatabaseName::observed(fit(database.as_str(), &format!("__{}_{}", purpose.word(), digits(at))))
}

/// The database that was live until it was replaced.
#[must_use]
pub fn replaced_name(database: &DatabaseName, at: Moment) -> DatabaseName {
    DatabaseName::observed(fit(database.as_str(), &format!("__replaced_{}", digits(at))))
}

/// The login that fills it.
#[must_use]
pub fn loader_name(owner: &RoleName, purpose: Purpose) -> RoleName {
    let word = if purpose == Purpose::Split { "__split" } else { "__restore" };
    RoleName::observed(fit(owner.as_str(), word))
}

/// The key of the advisory lock on what is filled by a login: the beginning of a hash, so that no two are the same. It is never
/// negative: the server shows it in two halves, as numbers of objects.
#[must_use]
pub fn lock_key(loader: &RoleName) -> i64 {
    let digest = super::checksum(format!("pgisle restore {loader}").as_bytes());
    digest.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default().cast_signed() & i64::MAX
}

/// Cuts a name so that PostgreSQL keeps what is put behind it.
fn fit(name: &str, suffix: &str) -> String {
    let room = NAME_BYTES_MAX - suffix.len();
    let end = (0..=room.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    format!("{}{suffix}", &name[..end])
}

/// `20250119020000`.
fn digits(at: Moment) -> String {
    at.compact().chars().filter(char::is_ascii_digit).collect()
}

/// Something that a restore made and that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Leftover {
    /// A database that is being filled, or whose filling was interrupted.
    Staging {
        /// The database.
        database: DatabaseName,
        /// Whose it is.
        service: ServiceName,
        /// What it is filled from.
        source: Option<String>,
        /// When it was made.
        since: Option<Moment>,
        /// Whether it waits for someone with more rights.
        waiting: bool,
    },
    /// The login that fills it.
    Loader {
        /// The login.
        role: RoleName,
        /// Whose it is.
        service: ServiceName,
    },
    /// A database that was replaced.
    Replaced {
        /// The database.
        database: DatabaseName,
        /// Whose it was.
        service: ServiceName,
        /// What replaced it.
        source: Option<String>,
        /// When it was replaced.
        since: Option<Moment>,
    },
}

impl Leftover {
    /// Whose it is.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        match self {
            Self::Staging { service, .. } | Self::Loader { service, .. } | Self::Replaced { service, .. } => service,
        }
    }

    /// The database that it is; none for a login.
    #[must_use]
    pub fn database(&self) -> Option<&DatabaseName> {
        match self {
            Self::Staging { database, .. } | Self::Replaced { database, .. } => Some(database),
            Self::Loader { .. } => None,
        }
    }
}

/// Finds everything that restores of this project and environment have left: databases by name, then logins.
#[must_use]
pub fn leftovers(inventory: &Inventory, project: &str, environment: &str) -> Vec<Leftover> {
    remains(inventory, project, environment, &[Kind::Restore, Kind::Replaced])
}

/// Finds what splits of this project and environment fill, or have left: databases by name, then logins.
#[must_use]
pub fn split_remains(inventory: &Inventory, project: &str, environment: &str) -> Vec<Leftover> {
    remains(inventory, project, environment, &[Kind::Split])
}

fn remains(inventory: &Inventory, project: &str, environment: &str, kinds: &[Kind]) -> Vec<Leftover> {
    let ours = |marker: Marker| {
        let service = marker.service.clone()?;
        (marker.same_owner(project, environment) && kinds.contains(&marker.kind)).then_some((service, marker))
    };
    let loaders: Vec<(&RoleName, ServiceName, Marker)> = inventory
        .roles
        .iter()
        .filter_map(|(name, role)| role.marker().and_then(ours).map(|(service, marker)| (name, service, marker)))
        .collect();
    let mut leftovers = Vec::new();
    for (name, database) in &inventory.databases {
        if let Some((service, marker)) = database.marker().and_then(ours) {
            let (source, since, waiting) = match marker.restore {
                Some(mark) => (Some(mark.source), Some(mark.at), mark.waiting),
                None => (None, None, false),
            };
            let database = name.clone();
            leftovers.push(match marker.kind {
                Kind::Replaced => Leftover::Replaced { database, service, source, since },
                _ => Leftover::Staging { database, service, source, since, waiting },
            });
        } else if let Some((_, service, marker)) =
            loaders.iter().find(|(.., marker)| is_promised(marker, name, database, inventory))
        {
            let source = marker.restore.as_ref().map(|mark| mark.source.clone());
            let since = marker.restore.as_ref().map(|mark| mark.at);
            let (database, service) = (name.clone(), service.clone());
            leftovers.push(Leftover::Staging { database, service, source, since, waiting: false });
        }
    }
    leftovers.extend(loaders.into_iter().map(|(role, service, _)| Leftover::Loader { role: role.clone(), service }));
    leftovers
}

/// Made a moment ago and not marked yet: it has the name that the login's marker gives, and is closed, untouched and ours.
fn is_promised(marker: &Marker, name: &DatabaseName, database: &Database, inventory: &Inventory) -> bool {
    marker.database.as_ref() == Some(name)
        && database.comment.is_none()
        && (database.is_invalid() || (!database.allow_connections && database.acl_is_default))
        && database.owner == inventory.admin.role
}

/// The replaced databases of a service, the latest first.
#[must_use]
pub fn replaced_of(leftovers: &[Leftover], wanted: &ServiceName) -> Vec<(DatabaseName, Option<Moment>)> {
    let mut replaced: Vec<(DatabaseName, Option<Moment>)> = leftovers
        .iter()
        .filter_map(|leftover| match leftover {
            Leftover::Replaced { database, service, since, .. } if service == wanted => Some((database.clone(), *since)),
            _ => None,
        })
        .collect();
    replaced.sort_by(|one, other| (other.1, &other.0).cmp(&(one.1, &one.0)));
    replaced
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn names_say_when_and_always_fit() {
        let at = Moment::parse_compact("20250119T020000Z").unwrap();
        let users = DatabaseName::new("link_users").unwrap();
        assert_eq!(staging_name(&users, Purpose::Restore, at).as_str(), "link_users__restore_20250119020000");
        assert_eq!(staging_name(&users, Purpose::Drill, at).as_str(), "link_users__drill_20250119020000");
        assert_eq!(replaced_name(&users, at).as_str(), "link_users__replaced_20250119020000");
        let long = DatabaseName::new("é".repeat(31)).unwrap();
        for name in [staging_name(&long, Purpose::Restore, at), replaced_name(&long, at)] {
            assert!(DatabaseName::new(name.as_str()).is_ok() && name.as_str().ends_with("_20250119020000"), "{name}");
        }
        let owner = RoleName::new("o".repeat(63)).unwrap();
        assert_eq!(loader_name(&owner, Purpose::Restore).as_str().len(), 63);
        let keys = ["users", "chat", "orders", "billing"].map(|name| lock_key(&RoleName::new(name).unwrap()));
        assert!(keys.iter().all(|key| *key > 0) && keys[0] != keys[1], "{keys:?}");
    }
}
