//! From actions to statements and sentences. Every arm names all fields, so that a new one cannot be forgotten.

use std::collections::{BTreeMap, BTreeSet};

use super::Statement;
use crate::inventory::{DefaultAclObjects, Grantee};
use crate::name::{DatabaseName, ParameterName, RoleName, SchemaName};
use crate::plan::{Action, DatabaseChange, DatabaseGrant, DefaultPrivilege, MembershipOptions, RoleChange, SchemaGrant};

impl Action {
    /// The statements, in order. A step that has several runs them in one transaction.
    #[must_use]
    pub fn statements(&self) -> Vec<Statement> {
        match self {
            Self::CreateRole { role, connection_limit, verifier, marker } => {
                let mut create = Statement::new("CREATE ROLE ").ident(role);
                create = match connection_limit {
                    None => create.sql(" NOLOGIN"),
                    Some(limit) => create
                        .sql(" LOGIN CONNECTION LIMIT ")
                        .number(i64::from(*limit))
                        .sql(" PASSWORD ")
                        .secret(verifier.as_ref().map(|verifier| verifier.expose())),
                };
                vec![create, comment("ROLE ", role, marker)]
            }
            Self::AlterRole { role, changes } => vec![alter_role(role, changes)],
            Self::SetPassword { role, verifier } => {
                let verifier = verifier.as_ref().map(|verifier| verifier.expose());
                vec![Statement::new("ALTER ROLE ").ident(role).sql(" PASSWORD ").secret(verifier)]
            }
            Self::GrantMembership { role, member, options } => {
                let grant = Statement::new("GRANT ").ident(role).sql(" TO ").ident(member);
                vec![match options {
                    None => grant,
                    Some(MembershipOptions::SetOnly) => grant.sql(" WITH SET TRUE, INHERIT FALSE"),
                    Some(MembershipOptions::SetAndInherit) => grant.sql(" WITH SET TRUE, INHERIT TRUE"),
                }]
            }
            Self::RevokeMembership { role, member, grantor, admin_option_only } => {
                let revoke = Statement::new(if *admin_option_only { "REVOKE ADMIN OPTION FOR " } else { "REVOKE " });
                let mut revoke = revoke.ident(role).sql(" FROM ").ident(member);
                if let Some(grantor) = grantor {
                    revoke = revoke.sql(" GRANTED BY ").ident(grantor);
                }
                vec![revoke.sql(" CASCADE")]
            }
            Self::SetRoleParameters { role, parameters, reset } => set_parameters(role, parameters, reset),
            Self::MarkRole { role, marker } => vec![comment("ROLE ", role, marker)],
            Self::DropRole { role } => vec![Statement::new("DROP ROLE ").ident(role)],
            Self::CreateDatabase { database, locale } => vec![create_database(database, locale.as_deref())],
            Self::FenceDatabase { database, revoke, grant } => {
                let revokes = revoke.iter().map(|change| database_revoke(database, change));
                revokes.chain(grant.iter().map(|change| database_grant(database, change))).collect()
            }
            Self::AlterDatabase { database, changes } => changes.iter().map(|change| alter_database(database, change)).collect(),
            Self::MarkDatabase { database, marker } => vec![comment("DATABASE ", database, marker)],
            Self::EndSessions { database } => vec![
                Statement::new("SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = ")
                    .literal(database.as_str())
                    .sql(" AND pid <> pg_catalog.pg_backend_pid()"),
            ],
            Self::DropDatabase { database } => vec![Statement::new("DROP DATABASE ").ident(database)],
            Self::CreateSchema { schema, owner } => acting_as(Some(owner), vec![Statement::new("CREATE SCHEMA ").ident(schema)]),
            Self::FenceSchema { schema, act_as, revoke, grant } => acting_as(act_as.as_ref(), fence_schema(schema, revoke, grant)),
            Self::SetDefaultPrivileges { owner, changes } => {
                acting_as(Some(owner), changes.iter().map(|change| default_privilege(owner, change)).collect())
            }
            Self::GrantExisting { schema, owner, grantee, write } => {
                acting_as(Some(owner), grant_existing(schema, owner, grantee, *write))
            }
            Self::CreateExtension { extension, in_public } => {
                let create = Statement::new("CREATE EXTENSION IF NOT EXISTS ").ident(extension);
                vec![if *in_public { create.sql(" SCHEMA \"public\"") } else { create }]
            }
            Self::ReassignOwned { source, target } => {
                vec![Statement::new("REASSIGN OWNED BY ").ident(source).sql(" TO ").ident(target)]
            }
        }
    }

    /// What it does, as a line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::CreateRole { role, connection_limit: Some(limit), .. } => {
                format!("create login \"{role}\", at most {limit} connections")
            }
            Self::CreateRole { role, connection_limit: None, .. } => format!("create role \"{role}\", which cannot log in"),
            Self::AlterRole { role, changes } => {
                let words: Vec<String> = changes.iter().map(role_change_words).collect();
                format!("change role \"{role}\": {}", words.join(", "))
            }
            Self::SetPassword { role, .. } => format!("set the password of \"{role}\""),
            Self::GrantMembership { role, member, .. } => format!("let \"{member}\" act as \"{role}\""),
            Self::RevokeMembership { role, member, admin_option_only: true, .. } => {
                format!("stop \"{member}\" from passing \"{role}\" on")
            }
            Self::RevokeMembership { role, member, .. } => format!("end the membership of \"{member}\" in \"{role}\""),
            Self::SetRoleParameters { role, parameters, reset } => {
                let set = parameters.iter().map(|(name, value)| format!("{name} = {value}"));
                let words: Vec<String> = set.chain(reset.iter().map(|name| format!("{name} reset"))).collect();
                format!("set session parameters of \"{role}\": {}", words.join(", "))
            }
            Self::MarkRole { role, .. } => format!("mark role \"{role}\" as pgisle's"),
            Self::DropRole { role } => format!("drop role \"{role}\""),
            Self::CreateDatabase { database, .. } => format!("create database \"{database}\", closed"),
            Self::FenceDatabase { database, revoke, grant } => fence_words("database", database.as_str(), revoke, grant),
            Self::AlterDatabase { database, changes } => {
                let words: Vec<String> = changes.iter().map(database_change_words).collect();
                format!("change database \"{database}\": {}", words.join(", "))
            }
            Self::MarkDatabase { database, .. } => format!("mark database \"{database}\" as pgisle's"),
            Self::EndSessions { database } => format!("end all sessions in database \"{database}\""),
            Self::DropDatabase { database } => format!("drop database \"{database}\" and all its data"),
            Self::CreateSchema { schema, owner } => format!("create schema \"{schema}\", owned by \"{owner}\""),
            Self::FenceSchema { schema, act_as: _, revoke, grant } => {
                let from = revoke.iter().map(|grantee| format!("nothing for {}", grantee_words(grantee)));
                let to =
                    grant.iter().map(|grant| format!("{} for {}", privilege_list(&grant.privileges), role_list(&grant.grantees)));
                format!("fence schema \"{schema}\": {}", from.chain(to).collect::<Vec<_>>().join("; "))
            }
            Self::SetDefaultPrivileges { owner, changes } => {
                let words: Vec<String> = changes.iter().map(default_privilege_words).collect();
                format!("default privileges of \"{owner}\": {}", words.join("; "))
            }
            Self::GrantExisting { schema, grantee, write, owner: _ } => {
                let what = if *write { "read and write" } else { "read" };
                format!("let \"{grantee}\" {what} what schema \"{schema}\" holds already")
            }
            Self::CreateExtension { extension, in_public: _ } => format!("create extension \"{extension}\""),
            Self::ReassignOwned { source, target } => format!("hand everything that \"{source}\" owns to \"{target}\""),
        }
    }
}

fn comment(kind: &'static str, name: &impl super::Identifier, marker: &crate::marker::Marker) -> Statement {
    Statement::new("COMMENT ON ").sql(kind).ident(name).sql(" IS ").literal_shown(&marker.to_comment(), &marker.shown_comment())
}

/// Runs statements as another role, and gives the role back even though the transaction's end would do so too: the next step of
/// the same transaction is not this role's.
fn acting_as(role: Option<&RoleName>, statements: Vec<Statement>) -> Vec<Statement> {
    let Some(role) = role else { return statements };
    let begin = Statement::new("SET LOCAL ROLE ").ident(role);
    std::iter::once(begin).chain(statements).chain([Statement::new("RESET ROLE")]).collect()
}

fn alter_role(role: &RoleName, changes: &BTreeSet<RoleChange>) -> Statement {
    let start = Statement::new("ALTER ROLE ").ident(role);
    changes.iter().fold(start, |statement, change| match change {
        RoleChange::Login => statement.sql(" LOGIN"),
        RoleChange::NoLogin => statement.sql(" NOLOGIN"),
        RoleChange::Inherit => statement.sql(" INHERIT"),
        RoleChange::NoSuperuser => statement.sql(" NOSUPERUSER"),
        RoleChange::NoCreateRole => statement.sql(" NOCREATEROLE"),
        RoleChange::NoCreateDb => statement.sql(" NOCREATEDB"),
        RoleChange::NoReplication => statement.sql(" NOREPLICATION"),
        RoleChange::NoBypassRls => statement.sql(" NOBYPASSRLS"),
        RoleChange::ConnectionLimit(limit) => statement.sql(" CONNECTION LIMIT ").number(i64::from(*limit)),
        RoleChange::ValidForever => statement.sql(" VALID UNTIL 'infinity'"),
    })
}

fn set_parameters(
    role: &RoleName,
    parameters: &BTreeMap<ParameterName, String>,
    reset: &BTreeSet<ParameterName>,
) -> Vec<Statement> {
    let set = parameters.iter().map(|(name, value)| {
        let set = Statement::new("ALTER ROLE ").ident(role).sql(" SET ").ident(name).sql(" = ");
        set.literals(&parameter_elements(name, value))
    });
    let resets = reset.iter().map(|name| Statement::new("ALTER ROLE ").ident(role).sql(" RESET ").ident(name));
    set.chain(resets).collect()
}

/// Parameters that are lists of names (`GUC_LIST_QUOTE` in the server's table): one literal would be taken as one name.
const LIST_PARAMETERS: &[&str] = &["local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"];

/// A parameter's value as the literals that SET takes: the elements of a list, or the one value.
pub(crate) fn parameter_elements(name: &ParameterName, value: &str) -> Vec<String> {
    if !LIST_PARAMETERS.contains(&name.as_str()) {
        return vec![value.to_owned()];
    }
    value.split(',').map(|element| element.trim().trim_matches('"').replace("\"\"", "\"")).collect()
}

fn create_database(database: &DatabaseName, locale: Option<&str>) -> Statement {
    let create = Statement::new("CREATE DATABASE ").ident(database).sql(" TEMPLATE template0 ENCODING 'UTF8'");
    let create = match locale {
        Some(locale) => create.sql(" LC_COLLATE ").literal(locale).sql(" LC_CTYPE ").literal(locale),
        None => create,
    };
    create.sql(" ALLOW_CONNECTIONS false")
}

fn alter_database(database: &DatabaseName, change: &DatabaseChange) -> Statement {
    let alter = Statement::new("ALTER DATABASE ").ident(database);
    match change {
        DatabaseChange::ConnectionLimit(limit) => alter.sql(" CONNECTION LIMIT ").number(i64::from(*limit)),
        DatabaseChange::AllowConnections(true) => alter.sql(" ALLOW_CONNECTIONS true"),
        DatabaseChange::AllowConnections(false) => alter.sql(" ALLOW_CONNECTIONS false"),
        DatabaseChange::NoTemplate => alter.sql(" IS_TEMPLATE false"),
        DatabaseChange::Owner(owner) => alter.sql(" OWNER TO ").ident(owner),
    }
}

fn database_revoke(database: &DatabaseName, change: &DatabaseGrant) -> Statement {
    let start = Statement::new(if change.grant_option_only { "REVOKE GRANT OPTION FOR " } else { "REVOKE " });
    let revoke = privileges(start, change.privileges.as_ref()).sql(" ON DATABASE ").ident(database).sql(" FROM ");
    // Cascades to whoever got it from those who lose it.
    grantees(revoke, &change.grantees).sql(" CASCADE")
}

fn database_grant(database: &DatabaseName, change: &DatabaseGrant) -> Statement {
    let grant = privileges(Statement::new("GRANT "), change.privileges.as_ref()).sql(" ON DATABASE ").ident(database).sql(" TO ");
    grantees(grant, &change.grantees)
}

fn fence_schema(schema: &SchemaName, revoke: &[Grantee], grant: &[SchemaGrant]) -> Vec<Statement> {
    let mut statements = Vec::new();
    if !revoke.is_empty() {
        let start = Statement::new("REVOKE ALL ON SCHEMA ").ident(schema).sql(" FROM ");
        statements.push(grantees(start, revoke).sql(" CASCADE"));
    }
    for SchemaGrant { grantees, privileges: wanted } in grant {
        let start = privileges(Statement::new("GRANT "), Some(wanted));
        statements.push(start.sql(" ON SCHEMA ").ident(schema).sql(" TO ").idents(grantees));
    }
    statements
}

fn default_privilege(owner: &RoleName, change: &DefaultPrivilege) -> Statement {
    let DefaultPrivilege { objects, schema, grantee, privileges: wanted } = change;
    let mut statement = Statement::new("ALTER DEFAULT PRIVILEGES FOR ROLE ").ident(owner);
    if let Some(schema) = schema {
        statement = statement.sql(" IN SCHEMA ").ident(schema);
    }
    let grants = !wanted.is_empty();
    statement = statement.sql(if grants { " GRANT " } else { " REVOKE " });
    statement = privileges(statement, grants.then_some(wanted)).sql(" ON ").sql(objects_sql(*objects));
    statement = statement.sql(if grants { " TO " } else { " FROM " });
    grantees(statement, std::slice::from_ref(grantee))
}

/// Grants on each object of the owner role alone. `ON ALL TABLES` would also touch what an extension put into the schema, which
/// the owner role may not grant.
fn grant_existing(schema: &SchemaName, owner: &RoleName, grantee: &RoleName, write: bool) -> Vec<Statement> {
    let (tables, sequences, functions) =
        if write { ("SELECT, INSERT, UPDATE, DELETE", "USAGE, SELECT, UPDATE", "EXECUTE") } else { ("SELECT", "SELECT", "") };
    // The body is put together as a statement and then quoted whole, so that no name can end it.
    let mut body = Statement::new("DECLARE r record; BEGIN FOR r IN SELECT c.oid::pg_catalog.regclass AS name, c.relkind = 'S' AS is_sequence FROM pg_catalog.pg_class AS c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relnamespace = ")
        .sql("(SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ")
        .literal(schema.as_str())
        .sql(") AND pg_catalog.pg_get_userbyid(c.relowner) = ")
        .literal(owner.as_str())
        .sql(" LOOP EXECUTE pg_catalog.format(CASE WHEN r.is_sequence THEN 'GRANT ")
        .sql(sequences)
        .sql(" ON SEQUENCE %s TO %I' ELSE 'GRANT ")
        .sql(tables)
        .sql(" ON TABLE %s TO %I' END, r.name, ")
        .literal(grantee.as_str())
        .sql("); END LOOP;");
    if !functions.is_empty() {
        body = body
            .sql(" FOR r IN SELECT p.oid::pg_catalog.regprocedure AS name FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ")
            .literal(schema.as_str())
            .sql(") AND pg_catalog.pg_get_userbyid(p.proowner) = ")
            .literal(owner.as_str())
            .sql(" LOOP EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO %I', r.name, ")
            .literal(grantee.as_str())
            .sql("); END LOOP;");
    }
    let body = body.sql(" END");
    vec![Statement::new("DO ").literal(body.expose())]
}

fn privileges(statement: Statement, wanted: Option<&BTreeSet<&'static str>>) -> Statement {
    match wanted {
        None => statement.sql("ALL"),
        Some(wanted) => wanted.iter().enumerate().fold(statement, |statement, (index, privilege)| {
            (if index > 0 { statement.sql(", ") } else { statement }).sql(privilege)
        }),
    }
}

fn grantees(statement: Statement, grantees: &[Grantee]) -> Statement {
    grantees.iter().enumerate().fold(statement, |statement, (index, grantee)| {
        let statement = if index > 0 { statement.sql(", ") } else { statement };
        match grantee {
            Grantee::Public => statement.sql("PUBLIC"),
            Grantee::Role(role) => statement.ident(role),
        }
    })
}

pub(super) fn objects_sql(objects: DefaultAclObjects) -> &'static str {
    match objects {
        DefaultAclObjects::Tables => "TABLES",
        DefaultAclObjects::Sequences => "SEQUENCES",
        DefaultAclObjects::Functions => "FUNCTIONS",
        DefaultAclObjects::Types => "TYPES",
        DefaultAclObjects::Schemas => "SCHEMAS",
        DefaultAclObjects::LargeObjects => "LARGE OBJECTS",
    }
}

fn role_change_words(change: &RoleChange) -> String {
    match change {
        RoleChange::Login => "may log in".to_owned(),
        RoleChange::NoLogin => "may not log in".to_owned(),
        RoleChange::Inherit => "inherits".to_owned(),
        RoleChange::NoSuperuser => "no superuser".to_owned(),
        RoleChange::NoCreateRole => "may not create roles".to_owned(),
        RoleChange::NoCreateDb => "may not create databases".to_owned(),
        RoleChange::NoReplication => "may not replicate".to_owned(),
        RoleChange::NoBypassRls => "bound by row security".to_owned(),
        RoleChange::ConnectionLimit(limit) => format!("at most {limit} connections"),
        RoleChange::ValidForever => "password without end".to_owned(),
    }
}

fn database_change_words(change: &DatabaseChange) -> String {
    match change {
        DatabaseChange::ConnectionLimit(limit) => format!("at most {limit} connections"),
        DatabaseChange::AllowConnections(true) => "open for connections".to_owned(),
        DatabaseChange::AllowConnections(false) => "closed for connections".to_owned(),
        DatabaseChange::NoTemplate => "no template".to_owned(),
        DatabaseChange::Owner(owner) => format!("owned by \"{owner}\""),
    }
}

fn fence_words(kind: &str, name: &str, revoke: &[DatabaseGrant], grant: &[DatabaseGrant]) -> String {
    let words = |grant: &DatabaseGrant, verb: &str| {
        let what = grant.privileges.as_ref().map_or("everything".to_owned(), privilege_list);
        let what = if grant.grant_option_only { format!("passing on of {what}") } else { what };
        let who: Vec<String> = grant.grantees.iter().map(grantee_words).collect();
        format!("{what} {verb} {}", who.join(", "))
    };
    let all = revoke.iter().map(|change| words(change, "taken from")).chain(grant.iter().map(|change| words(change, "given to")));
    format!("fence {kind} \"{name}\": {}", all.collect::<Vec<_>>().join("; "))
}

fn default_privilege_words(change: &DefaultPrivilege) -> String {
    let DefaultPrivilege { objects, schema, grantee, privileges } = change;
    let what = if privileges.is_empty() { "nothing".to_owned() } else { privilege_list(privileges) };
    let place = schema.as_ref().map_or(String::new(), |schema| format!(" in schema \"{schema}\""));
    format!("{what} on new {}{place} for {}", objects_sql(*objects).to_lowercase(), grantee_words(grantee))
}

fn grantee_words(grantee: &Grantee) -> String {
    match grantee {
        Grantee::Public => "PUBLIC".to_owned(),
        Grantee::Role(role) => format!("\"{role}\""),
    }
}

fn role_list(roles: &[RoleName]) -> String {
    roles.iter().map(|role| format!("\"{role}\"")).collect::<Vec<_>>().join(", ")
}

fn privilege_list(privileges: &BTreeSet<&'static str>) -> String {
    privileges.iter().copied().collect::<Vec<_>>().join(", ")
}
