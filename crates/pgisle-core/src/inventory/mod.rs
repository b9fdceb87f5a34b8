//! What was observed on a cluster. Reading it is the engine's; this is the value, serialisable so that a test or a bug report
//! can hold one.
//!
//! What the administrator may not see is [`Readable::Hidden`], never an empty list: managed clouds hide things.

mod acl;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::credential::Verifier;
use crate::marker::Marker;
use crate::name::{DatabaseName, ExtensionName, ParameterName, RoleName, SchemaName};
pub use acl::{AclError, parse_acl};

/// Something that may be hidden from the administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readable<T> {
    /// It was read.
    Known(T),
    /// It could not be read, because.
    Hidden(String),
}

impl<T> Readable<T> {
    /// The value, if it was read.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Hidden(_) => None,
        }
    }
}

/// Everything that was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The server and its settings.
    pub server: Server,
    /// Who pgisle is there.
    pub admin: Admin,
    /// All roles, by name.
    pub roles: BTreeMap<RoleName, Role>,
    /// All memberships. From PostgreSQL 16 on a pair of roles may have several, one a grantor.
    pub memberships: Vec<Membership>,
    /// All databases, by name.
    pub databases: BTreeMap<DatabaseName, Database>,
    /// The extensions that the server's machine has, by name.
    pub available_extensions: Readable<BTreeMap<ExtensionName, AvailableExtension>>,
    /// The operating system's locales that `CREATE DATABASE` takes, as `pg_collation` knows them.
    pub locales: Readable<BTreeSet<String>>,
    /// What was seen inside of the databases that were asked for.
    pub contents: BTreeMap<DatabaseName, Readable<Contents>>,
    /// Catalogs that could not be read and have no [`Readable`] of their own, with the reason: what they hold is missing above.
    #[serde(default)]
    pub hidden: BTreeMap<String, String>,
}

/// The server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// `server_version_num`, such as 150020.
    pub version_num: u32,
    /// `server_version`, for people.
    pub version: String,
    /// `pg_control_system().system_identifier`, as text: which cluster this is, whatever its address.
    pub system_identifier: Readable<String>,
    /// True when it is a standby.
    pub in_recovery: bool,
    /// `max_connections`.
    pub max_connections: u32,
    /// `superuser_reserved_connections`.
    pub superuser_reserved_connections: u32,
    /// `reserved_connections`, from PostgreSQL 16; 0 before.
    pub reserved_connections: u32,
    /// `wal_level`.
    pub wal_level: String,
    /// Server's libc collation default of `template0`: what a database gets where the wanted locale is missing.
    pub default_collation: String,
}

impl Server {
    /// The major version, such as 15.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }

    /// Connections that are left for people who are not superusers.
    #[must_use]
    pub fn usable_connections(&self) -> u32 {
        self.max_connections.saturating_sub(self.superuser_reserved_connections).saturating_sub(self.reserved_connections)
    }
}

/// Who pgisle is on the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// `current_user`.
    pub role: RoleName,
    /// True for a superuser, who is asked nothing.
    pub superuser: bool,
    /// True when it may create roles.
    pub create_role: bool,
    /// True when it may create databases.
    pub create_db: bool,
    /// True when it is a member of a cloud's stand-in for the superuser (`rds_superuser`, `cloudsqlsuperuser`, `azure_pg_admin`,
    /// `alloydbsuperuser`, `neon_superuser`), who may often create extensions that are not trusted.
    pub cloud_superuser: bool,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are pg_roles' columns")]
pub struct Role {
    /// May log in.
    pub login: bool,
    /// Is a superuser.
    pub superuser: bool,
    /// Inherits the privileges of roles it is a member of.
    pub inherit: bool,
    /// May create roles.
    pub create_role: bool,
    /// May create databases.
    pub create_db: bool,
    /// May replicate.
    pub replication: bool,
    /// Is not bound by row security.
    pub bypass_rls: bool,
    /// Connections that it may hold; -1 for no limit.
    pub connection_limit: i32,
    /// When its password ends, as text.
    pub valid_until: Option<String>,
    /// Its comment.
    pub comment: Option<String>,
    /// Settings of its sessions in every database (`pg_db_role_setting` with `setdatabase = 0`).
    pub settings: BTreeMap<ParameterName, String>,
    /// Settings of its sessions in one database.
    pub database_settings: BTreeMap<DatabaseName, BTreeMap<ParameterName, String>>,
    /// Its password's verifier: `Known(None)` when it has no SCRAM password. Never serialised.
    #[serde(skip, default = "hidden_verifier")]
    pub verifier: Readable<Option<Verifier>>,
}

fn hidden_verifier() -> Readable<Option<Verifier>> {
    Readable::Hidden("it is never saved".to_owned())
}

impl Role {
    /// pgisle's marker on it.
    #[must_use]
    pub fn marker(&self) -> Option<Marker> {
        self.comment.as_deref().and_then(Marker::parse)
    }
}

/// One row of `pg_auth_members`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Membership {
    /// The role that is granted.
    pub role: RoleName,
    /// Who is a member of it.
    pub member: RoleName,
    /// Who granted it.
    pub grantor: RoleName,
    /// `ADMIN OPTION`.
    pub admin: bool,
    /// `INHERIT OPTION`; before PostgreSQL 16 the member's `rolinherit`.
    pub inherit: bool,
    /// `SET OPTION`; before PostgreSQL 16 always true.
    pub set: bool,
}

/// Who a privilege is granted to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grantee {
    /// Everyone.
    Public,
    /// One role.
    Role(RoleName),
}

/// One privilege that one grantee holds, as `aclexplode` gives it. NULL ACLs are read as their defaults (`acldefault`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AclItem {
    /// Who holds it.
    pub grantee: Grantee,
    /// Who granted it.
    pub grantor: RoleName,
    /// `CONNECT`, `CREATE`, `TEMPORARY`, `USAGE`, `SELECT`, …
    pub privilege: String,
    /// With grant option.
    pub grantable: bool,
}

/// A database, as the shared catalogs know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its owner.
    pub owner: RoleName,
    /// Its encoding, such as `UTF8`.
    pub encoding: String,
    /// `datcollate`.
    pub collate: String,
    /// `datctype`.
    pub ctype: String,
    /// `datallowconn`.
    pub allow_connections: bool,
    /// `datistemplate`.
    pub is_template: bool,
    /// `datconnlimit`: -1 for no limit, -2 for the remains of an interrupted DROP DATABASE.
    pub connection_limit: i32,
    /// Its privileges.
    pub acl: BTreeSet<AclItem>,
    /// True when the ACL is NULL: nobody ever granted or revoked anything on it.
    pub acl_is_default: bool,
    /// Its comment.
    pub comment: Option<String>,
    /// Settings of every session in it.
    pub settings: BTreeMap<ParameterName, String>,
}

impl Database {
    /// pgisle's marker on it.
    #[must_use]
    pub fn marker(&self) -> Option<Marker> {
        self.comment.as_deref().and_then(Marker::parse)
    }

    /// True for the remains of an interrupted DROP DATABASE, which can only be dropped.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.connection_limit == -2
    }
}

/// An extension that the server's machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailableExtension {
    /// The version that CREATE EXTENSION takes by default.
    pub default_version: String,
    /// Needs a superuser.
    pub superuser: bool,
    /// A database's CREATE privilege is enough.
    pub trusted: bool,
    /// The schema that it brings or insists on; none when it goes wherever it is put.
    pub schema: Option<SchemaName>,
}

/// What was seen inside of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Schemas that are not the system's, by name.
    pub schemas: BTreeMap<SchemaName, Schema>,
    /// Installed extensions: version and schema.
    pub extensions: BTreeMap<ExtensionName, InstalledExtension>,
    /// Default privileges.
    pub default_acls: Vec<DefaultAcl>,
    /// How many objects (relations, functions, types, schemas) each role owns here, extensions' members and system objects left out.
    pub objects_by_owner: BTreeMap<RoleName, u64>,
    /// Tables and views that a role cannot select from, for the roles that were asked about and exist (the monitoring login, a
    /// split service's application role).
    pub hidden_relations: BTreeSet<HiddenRelations>,
    /// Bytes of ordinary tables' data outside of the system's schemas: 0 means that nothing would be lost. None when nobody asked.
    pub data_bytes: Option<u64>,
}

/// How many tables and views of one owner in one schema a role cannot select from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HiddenRelations {
    /// Who cannot.
    pub reader: RoleName,
    /// Whose they are.
    pub owner: RoleName,
    /// Where they are.
    pub schema: SchemaName,
    /// How many, more than none.
    pub relations: u64,
}

/// A schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Its owner.
    pub owner: RoleName,
    /// Its privileges.
    pub acl: BTreeSet<AclItem>,
}

/// An extension that is installed in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledExtension {
    /// Its version.
    pub version: String,
    /// The schema that it lives in.
    pub schema: SchemaName,
}

/// One row of `pg_default_acl`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DefaultAcl {
    /// Whose future objects.
    pub role: RoleName,
    /// In which schema; none for the global form, which replaces the built-in defaults.
    pub schema: Option<SchemaName>,
    /// What kind of objects.
    pub objects: DefaultAclObjects,
    /// What is granted on them.
    pub acl: BTreeSet<AclItem>,
}

/// The kinds of objects that default privileges exist for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultAclObjects {
    /// Tables and views (`r`).
    Tables,
    /// Sequences (`S`).
    Sequences,
    /// Functions and procedures (`f`).
    Functions,
    /// Types (`T`).
    Types,
    /// Schemas (`n`).
    Schemas,
    /// Large objects (`L`), from PostgreSQL 18.
    #[serde(rename = "large objects")]
    LargeObjects,
}
