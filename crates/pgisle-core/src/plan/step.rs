//! Steps: one change of the domain each, with its address, its SQL, its danger and its cause.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::credential::Verifier;
use crate::inventory::{DefaultAclObjects, Grantee};
use crate::marker::Marker;
use crate::name::{DatabaseName, ExtensionName, ParameterName, RoleName, SchemaName, ServiceName};
use crate::sql::Statement;

/// What a step is about, as people and `-target` name it: `service.users/database`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// Something of one service.
    Service(ServiceName, String),
    /// The monitoring login.
    Monitoring(String),
    /// The cluster's own databases.
    Cluster(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service, part) => write!(f, "service.{service}/{part}"),
            Self::Monitoring(part) => write!(f, "monitoring/{part}"),
            Self::Cluster(part) => write!(f, "cluster/{part}"),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a step can cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Danger {
    /// Nobody loses anything.
    None,
    /// Someone loses access or a session.
    Access,
    /// Data is lost for good.
    Data,
}

/// Why a step is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The file wants it, and it is not there yet.
    Missing,
    /// The file changed since the last apply.
    Changed,
    /// The file did not change; the cluster did, behind pgisle's back.
    Drift,
    /// The service left the file.
    Removed,
    /// The user asked to take it over.
    Adopted,
    /// The user asked to destroy it.
    Destroyed,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is about.
    pub address: Address,
    /// What it does.
    pub action: Action,
    /// What it can cost.
    pub danger: Danger,
    /// Why it is there.
    pub cause: Cause,
}

impl Step {
    /// The statements, in order.
    #[must_use]
    pub fn statements(&self) -> Vec<Statement> {
        self.action.statements()
    }

    /// What it does, as a line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        self.action.summary()
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { address, action, danger, cause } = self;
        let mut out = serializer.serialize_struct("Step", 6)?;
        out.serialize_field("address", address)?;
        out.serialize_field("operation", &action.operation())?;
        out.serialize_field("summary", &action.summary())?;
        out.serialize_field("danger", danger)?;
        out.serialize_field("cause", cause)?;
        out.serialize_field("sql", &action.statements())?;
        out.end()
    }
}

/// Whether a step adds, changes or removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Something new.
    Add,
    /// Something other than before.
    Change,
    /// Something less.
    Remove,
}

/// Everything that a step can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Makes a role and marks it.
    CreateRole {
        /// Its name.
        role: RoleName,
        /// For a login: how many connections it may hold.
        connection_limit: Option<u32>,
        /// For a login: its verifier, once there is one.
        verifier: Option<Verifier>,
        /// Its marker.
        marker: Marker,
    },
    /// Changes a role's attributes.
    AlterRole {
        /// Its name.
        role: RoleName,
        /// What changes.
        changes: BTreeSet<RoleChange>,
    },
    /// Sets a login's password by its verifier.
    SetPassword {
        /// The login.
        role: RoleName,
        /// The verifier, once there is one.
        verifier: Option<Verifier>,
    },
    /// Makes a role a member of another.
    GrantMembership {
        /// The role that is granted.
        role: RoleName,
        /// Who becomes a member.
        member: RoleName,
        /// What the membership allows, from PostgreSQL 16 on; before, every membership allows both.
        options: Option<MembershipOptions>,
    },
    /// Ends a membership, or only its admin option.
    RevokeMembership {
        /// The role that was granted.
        role: RoleName,
        /// Who is a member of it.
        member: RoleName,
        /// Who granted it, where the server distinguishes (16 and later).
        grantor: Option<RoleName>,
        /// Only the right to pass it on.
        admin_option_only: bool,
    },
    /// Sets or resets parameters of a role's sessions.
    SetRoleParameters {
        /// The role.
        role: RoleName,
        /// The parameters; a role to become is one of them.
        parameters: BTreeMap<ParameterName, String>,
        /// Parameters that go.
        reset: BTreeSet<ParameterName>,
    },
    /// Marks a role as pgisle's.
    MarkRole {
        /// The role.
        role: RoleName,
        /// The marker.
        marker: Marker,
    },
    /// Drops roles.
    DropRole {
        /// The role.
        role: RoleName,
    },
    /// Makes a database that accepts no connection yet.
    CreateDatabase {
        /// Its name.
        database: DatabaseName,
        /// `LC_COLLATE` and `LC_CTYPE`; the server's default when none.
        locale: Option<String>,
    },
    /// Changes who may do what with a database, in one transaction.
    FenceDatabase {
        /// The database.
        database: DatabaseName,
        /// Who loses what.
        revoke: Vec<DatabaseGrant>,
        /// Who gets what.
        grant: Vec<DatabaseGrant>,
    },
    /// Changes a database's attributes.
    AlterDatabase {
        /// The database.
        database: DatabaseName,
        /// What changes.
        changes: Vec<DatabaseChange>,
    },
    /// Marks a database as pgisle's.
    MarkDatabase {
        /// The database.
        database: DatabaseName,
        /// The marker.
        marker: Marker,
    },
    /// Ends all sessions in a database but our own.
    EndSessions {
        /// The database.
        database: DatabaseName,
    },
    /// Drops a database.
    DropDatabase {
        /// The database.
        database: DatabaseName,
    },
    /// Makes a schema as the owner role.
    CreateSchema {
        /// Its name.
        schema: SchemaName,
        /// The owner role.
        owner: RoleName,
    },
    /// Changes who may do what with a schema.
    FenceSchema {
        /// The schema.
        schema: SchemaName,
        /// The role to act as; the administrator when none.
        act_as: Option<RoleName>,
        /// Who loses everything.
        revoke: Vec<Grantee>,
        /// Who gets what.
        grant: Vec<SchemaGrant>,
    },
    /// Changes what others may do with the objects that the owner role will make.
    SetDefaultPrivileges {
        /// The owner role.
        owner: RoleName,
        /// The changes.
        changes: Vec<DefaultPrivilege>,
    },
    /// Grants on what a schema holds already.
    GrantExisting {
        /// The schema.
        schema: SchemaName,
        /// The owner role, who grants.
        owner: RoleName,
        /// Who gets it.
        grantee: RoleName,
        /// Reading only, or reading and writing rows.
        write: bool,
    },
    /// Installs an extension.
    CreateExtension {
        /// Its name.
        extension: ExtensionName,
        /// Whether it goes to schema `public`; false when it brings a schema of its own.
        in_public: bool,
    },
    /// Hands everything that one role owns in this database to another.
    ReassignOwned {
        /// Who owns it now.
        source: RoleName,
        /// Who shall.
        target: RoleName,
    },
}

/// What a membership allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipOptions {
    /// `SET TRUE, INHERIT FALSE`: enough to act as the role when asked to, and no more.
    SetOnly,
    /// `SET TRUE, INHERIT TRUE`: the role's privileges are the member's.
    SetAndInherit,
}

/// A change of a role's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleChange {
    /// `LOGIN`.
    Login,
    /// `NOLOGIN`.
    NoLogin,
    /// `INHERIT`.
    Inherit,
    /// `NOSUPERUSER`.
    NoSuperuser,
    /// `NOCREATEROLE`.
    NoCreateRole,
    /// `NOCREATEDB`.
    NoCreateDb,
    /// `NOREPLICATION`.
    NoReplication,
    /// `NOBYPASSRLS`.
    NoBypassRls,
    /// `CONNECTION LIMIT`.
    ConnectionLimit(u32),
    /// `VALID UNTIL 'infinity'`.
    ValidForever,
}

/// A change of a database's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseChange {
    /// `CONNECTION LIMIT`.
    ConnectionLimit(u32),
    /// `ALLOW_CONNECTIONS`.
    AllowConnections(bool),
    /// `IS_TEMPLATE false`.
    NoTemplate,
    /// `OWNER TO`.
    Owner(RoleName),
}

/// Privileges on a database, for several grantees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseGrant {
    /// Who.
    pub grantees: Vec<Grantee>,
    /// Which; all when none.
    pub privileges: Option<BTreeSet<&'static str>>,
    /// Only the right to pass them on.
    pub grant_option_only: bool,
}

/// Privileges on a schema, for several grantees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaGrant {
    /// Who.
    pub grantees: Vec<RoleName>,
    /// Which.
    pub privileges: BTreeSet<&'static str>,
}

/// One change of default privileges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DefaultPrivilege {
    /// On which kind of objects.
    pub objects: DefaultAclObjects,
    /// In which schema; everywhere when none.
    pub schema: Option<SchemaName>,
    /// For whom.
    pub grantee: Grantee,
    /// What is granted; when empty, everything is revoked.
    pub privileges: BTreeSet<&'static str>,
}

impl Action {
    /// Whether it adds, changes or removes.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::CreateRole { .. }
            | Self::CreateDatabase { .. }
            | Self::CreateSchema { .. }
            | Self::CreateExtension { .. }
            | Self::GrantMembership { .. } => Operation::Add,
            Self::DropRole { .. } | Self::DropDatabase { .. } | Self::EndSessions { .. } => Operation::Remove,
            Self::RevokeMembership { admin_option_only, .. } if !admin_option_only => Operation::Remove,
            _ => Operation::Change,
        }
    }
}
