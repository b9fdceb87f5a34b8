//! The JSON documents that the server builds, and what they become.

use std::collections::{BTreeMap, BTreeSet};

use pgisle_core::credential::Verifier;
use pgisle_core::inventory::{AclItem, Admin, Database, Grantee, Inventory, Membership, Readable, Role, Server};
use pgisle_core::name::{DatabaseName, ParameterName, RoleName};
use serde::Deserialize;

use super::{InspectError, json};
use crate::postgres::session::Session;

/// From this version on a membership has options of its own.
const MEMBERSHIP_OPTIONS_VERSION_NUM: u32 = 160_000;

/// Everything that is read in the one snapshot.
pub(super) struct SharedDocuments {
    server: ServerDocument,
    roles: Vec<RoleDocument>,
    memberships: Vec<MembershipDocument>,
    databases: Vec<DatabaseDocument>,
    comments: Option<CommentsDocument>,
    settings: Option<Vec<SettingDocument>>,
    verifiers: Option<BTreeMap<String, String>>,
}

impl SharedDocuments {
    pub(super) async fn read(session: &Session) -> Result<Self, InspectError> {
        let server: ServerDocument = json(session, "the server's settings", include_str!("server.sql")).await?;
        let memberships = if server.version_num >= MEMBERSHIP_OPTIONS_VERSION_NUM {
            include_str!("memberships_16.sql")
        } else {
            include_str!("memberships_15.sql")
        };
        // A refused query would end the transaction, so what is forbidden is not asked. The rest goes out at once.
        let (roles, memberships, databases, comments, settings, verifiers) = futures_util::try_join!(
            json(session, "pg_roles", include_str!("roles.sql")),
            json(session, "pg_auth_members", memberships),
            json(session, "pg_database", include_str!("databases.sql")),
            json_if(server.reads_comments, session, "pg_shdescription", include_str!("comments.sql")),
            json_if(server.reads_settings, session, "pg_db_role_setting", include_str!("settings.sql")),
            json_if(server.reads_verifiers, session, "pg_authid", include_str!("verifiers.sql")),
        )?;
        Ok(Self { server, roles, memberships, databases, comments, settings, verifiers })
    }

    /// What is read outside of the snapshot is filled in by the caller.
    pub(super) fn into_inventory(self) -> Inventory {
        let Self { server, roles, memberships, databases, comments, settings, verifiers } = self;
        let mut hidden = BTreeMap::new();
        let mut hide = |catalog: &str, is_hidden: bool| {
            if is_hidden {
                hidden.insert(catalog.to_owned(), format!("permission denied for table {catalog}"));
            }
        };
        hide("pg_shdescription", comments.is_none());
        hide("pg_db_role_setting", settings.is_none());
        let CommentsDocument { roles: mut role_comments, databases: mut database_comments } = comments.unwrap_or_default();
        let mut verifiers = verifiers;
        let verifier = |name: &str| match &mut verifiers {
            Some(verifiers) => Readable::Known(verifiers.remove(name).as_deref().and_then(Verifier::parse)),
            None => Readable::Hidden("permission denied for table pg_authid".to_owned()),
        };
        let mut roles: BTreeMap<RoleName, Role> = roles_by_name(roles, &mut role_comments, verifier);
        let mut databases: BTreeMap<DatabaseName, Database> = databases
            .into_iter()
            .map(|document| {
                let comment = database_comments.remove(&document.name);
                (DatabaseName::observed(&document.name), document.into_database(comment))
            })
            .collect();
        for SettingDocument { database, role, settings } in settings.unwrap_or_default() {
            let database = DatabaseName::observed(database);
            match role.map(RoleName::observed) {
                None => drop(databases.get_mut(&database).map(|found| found.settings = parse_settings(settings))),
                Some(role) => {
                    if let Some(found) = roles.get_mut(&role) {
                        found.database_settings.insert(database, parse_settings(settings));
                    }
                }
            }
        }
        let mut memberships: Vec<Membership> = memberships.into_iter().map(MembershipDocument::into_membership).collect();
        memberships.sort();
        let (server, admin) = server.into_server_and_admin();
        let unread = || "it was not read".to_owned();
        Inventory {
            server,
            admin,
            roles,
            memberships,
            databases,
            available_extensions: Readable::Hidden(unread()),
            locales: Readable::Hidden(unread()),
            contents: BTreeMap::new(),
            hidden,
        }
    }
}

async fn json_if<T: serde::de::DeserializeOwned>(
    readable: bool,
    session: &Session,
    what: &'static str,
    sql: &'static str,
) -> Result<Option<T>, InspectError> {
    if readable { json(session, what, sql).await.map(Some) } else { Ok(None) }
}

fn roles_by_name(
    documents: Vec<RoleDocument>,
    comments: &mut BTreeMap<String, String>,
    mut verifier: impl FnMut(&str) -> Readable<Option<Verifier>>,
) -> BTreeMap<RoleName, Role> {
    let role = |document: RoleDocument| {
        let RoleDocument {
            name,
            login,
            superuser,
            inherit,
            create_role,
            create_db,
            replication,
            bypass_rls,
            connection_limit,
            valid_until,
            settings,
        } = document;
        let role = Role {
            login,
            superuser,
            inherit,
            create_role,
            create_db,
            replication,
            bypass_rls,
            connection_limit,
            valid_until,
            comment: comments.remove(&name),
            settings: parse_settings(settings),
            database_settings: BTreeMap::new(),
            verifier: verifier(&name),
        };
        (RoleName::observed(name), role)
    };
    documents.into_iter().map(role).collect()
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are the server's answers")]
struct ServerDocument {
    version_num: u32,
    version: String,
    in_recovery: bool,
    max_connections: u32,
    superuser_reserved_connections: u32,
    reserved_connections: u32,
    wal_level: String,
    default_collation: String,
    role: String,
    superuser: bool,
    create_role: bool,
    create_db: bool,
    cloud_superuser: bool,
    reads_verifiers: bool,
    reads_settings: bool,
    reads_comments: bool,
}

impl ServerDocument {
    fn into_server_and_admin(self) -> (Server, Admin) {
        let server = Server {
            version_num: self.version_num,
            version: self.version,
            system_identifier: Readable::Hidden("it was not read".to_owned()),
            in_recovery: self.in_recovery,
            max_connections: self.max_connections,
            superuser_reserved_connections: self.superuser_reserved_connections,
            reserved_connections: self.reserved_connections,
            wal_level: self.wal_level,
            default_collation: self.default_collation,
        };
        let admin = Admin {
            role: RoleName::observed(self.role),
            superuser: self.superuser,
            create_role: self.create_role,
            create_db: self.create_db,
            cloud_superuser: self.cloud_superuser,
        };
        (server, admin)
    }
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are pg_roles' columns")]
struct RoleDocument {
    name: String,
    login: bool,
    superuser: bool,
    inherit: bool,
    create_role: bool,
    create_db: bool,
    replication: bool,
    bypass_rls: bool,
    connection_limit: i32,
    valid_until: Option<String>,
    settings: Vec<String>,
}

#[derive(Deserialize, Default)]
struct CommentsDocument {
    roles: BTreeMap<String, String>,
    databases: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct MembershipDocument {
    role: String,
    member: String,
    grantor: String,
    admin: bool,
    inherit: bool,
    set: bool,
}

impl MembershipDocument {
    fn into_membership(self) -> Membership {
        let Self { role, member, grantor, admin, inherit, set } = self;
        Membership {
            role: RoleName::observed(role),
            member: RoleName::observed(member),
            grantor: RoleName::observed(grantor),
            admin,
            inherit,
            set,
        }
    }
}

/// Grantee (none for PUBLIC), grantor, privilege, grantable.
type AclDocument = Vec<(Option<String>, String, String, bool)>;

fn parse_acl(items: AclDocument) -> BTreeSet<AclItem> {
    let item = |(grantee, grantor, privilege, grantable): (Option<String>, String, String, bool)| AclItem {
        grantee: grantee.map_or(Grantee::Public, |name| Grantee::Role(RoleName::observed(name))),
        grantor: RoleName::observed(grantor),
        privilege,
        grantable,
    };
    items.into_iter().map(item).collect()
}

/// `name=value` pairs, as `pg_db_role_setting` has them.
fn parse_settings(pairs: Vec<String>) -> BTreeMap<ParameterName, String> {
    let pair = |pair: String| pair.split_once('=').map(|(name, value)| (ParameterName::observed(name), value.to_owned()));
    pairs.into_iter().filter_map(pair).collect()
}

#[derive(Deserialize)]
struct DatabaseDocument {
    name: String,
    owner: String,
    encoding: String,
    collate: String,
    ctype: String,
    allow_connections: bool,
    is_template: bool,
    connection_limit: i32,
    acl_is_default: bool,
    acl: AclDocument,
}

impl DatabaseDocument {
    fn into_database(self, comment: Option<String>) -> Database {
        let Self {
            name: _,
            owner,
            encoding,
            collate,
            ctype,
            allow_connections,
            is_template,
            connection_limit,
            acl_is_default,
            acl,
        } = self;
        Database {
            owner: RoleName::observed(owner),
            encoding,
            collate,
            ctype,
            allow_connections,
            is_template,
            connection_limit,
            acl: parse_acl(acl),
            acl_is_default,
            comment,
            settings: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
struct SettingDocument {
    database: String,
    role: Option<String>,
    settings: Vec<String>,
}
