//! What `verify` tries: an attacker's statements, what must work at home, and the canary.
//!
//! Every name is qualified, since the session that runs them is a service's, and each runs as is: nothing here is shown for
//! anyone to paste.

use super::Statement;
use crate::name::{DatabaseName, ExtensionName, RoleName, SchemaName};

/// The comment by which a canary is known as pgisle's.
pub(crate) const CANARY_COMMENT: &str = "pgisle verify: a canary, dropped at the end of the run";

/// Makes the table that a probe tries its hand at.
pub(crate) fn create_table() -> Statement {
    Statement::new("CREATE TABLE public.pgisle_probe (id bigint GENERATED ALWAYS AS IDENTITY, word text)")
}

/// What a service does with a table of its own.
pub(crate) fn use_table() -> Vec<Statement> {
    vec![
        Statement::new("INSERT INTO public.pgisle_probe (word) VALUES ('one'), ('two')"),
        Statement::new("UPDATE public.pgisle_probe SET word = 'three' WHERE word = 'two'"),
        Statement::new("SELECT pg_catalog.count(*) FROM public.pgisle_probe"),
        Statement::new("DROP TABLE public.pgisle_probe"),
    ]
}

pub(crate) fn create_temporary_table() -> Statement {
    Statement::new("CREATE TEMPORARY TABLE pgisle_probe_temp (id bigint)")
}

/// Answers whether the session acts as a role.
pub(crate) fn acts_as(role: &RoleName) -> Statement {
    Statement::new("SELECT pg_catalog.current_setting('role') = ").literal(role.as_str())
}

/// Answers whether the probe's table belongs to a role.
pub(crate) fn table_belongs_to(role: &RoleName) -> Statement {
    Statement::new("SELECT pg_catalog.pg_get_userbyid(relowner) = ")
        .literal(role.as_str())
        .sql(" FROM pg_catalog.pg_class WHERE oid = 'public.pgisle_probe'::pg_catalog.regclass")
}

/// Answers whether a role reads the probe's table.
pub(crate) fn table_is_read_by(role: &RoleName) -> Statement {
    Statement::new(
        "SELECT pg_catalog.has_table_privilege(m.oid, 'public.pgisle_probe', 'SELECT') \
         AND pg_catalog.has_schema_privilege(m.oid, 'public', 'USAGE') FROM pg_catalog.pg_roles AS m WHERE m.rolname = ",
    )
    .literal(role.as_str())
}

/// Answers whether a role reads and writes the probe's table.
pub(crate) fn table_is_written_by(role: &RoleName) -> Statement {
    Statement::new(
        "SELECT pg_catalog.has_table_privilege(m.oid, 'public.pgisle_probe', 'SELECT') \
         AND pg_catalog.has_table_privilege(m.oid, 'public.pgisle_probe', 'INSERT') \
         AND pg_catalog.has_table_privilege(m.oid, 'public.pgisle_probe', 'UPDATE') \
         AND pg_catalog.has_table_privilege(m.oid, 'public.pgisle_probe', 'DELETE') \
         FROM pg_catalog.pg_roles AS m WHERE m.rolname = ",
    )
    .literal(role.as_str())
}

/// Uses what an extension is there for, and answers whether that went well.
pub(crate) fn use_extension(name: &ExtensionName, schema: &SchemaName) -> Statement {
    let select = |text| Statement::new(text).ident(schema);
    match name.as_str() {
        "uuid-ossp" => select("SELECT ").sql(".uuid_generate_v4() IS NOT NULL"),
        "vector" => select("SELECT '[1,2]'::").sql(".vector OPERATOR(").ident(schema).sql(".<->) '[1,2]' = 0"),
        "pgcrypto" => select("SELECT ").sql(".digest('a', 'sha256') IS NOT NULL"),
        "citext" => select("SELECT 'A'::").sql(".citext OPERATOR(").ident(schema).sql(".=) 'a'"),
        "hstore" => select("SELECT ('a=>1'::").sql(".hstore OPERATOR(").ident(schema).sql(".->) 'a') = '1'"),
        "pg_trgm" => select("SELECT ").sql(".similarity('a', 'a') = 1"),
        // What it offers is unknown here; that its schema can be used is not.
        _ => Statement::new("SELECT pg_catalog.has_schema_privilege(").literal(schema.as_str()).sql(", 'USAGE')"),
    }
}

pub(crate) fn set_role(role: &RoleName) -> Statement {
    Statement::new("SET LOCAL ROLE ").ident(role)
}

pub(crate) fn lift_role_limit(role: &RoleName) -> Statement {
    Statement::new("ALTER ROLE ").ident(role).sql(" CONNECTION LIMIT -1")
}

pub(crate) fn lift_database_limit(database: &DatabaseName) -> Statement {
    Statement::new("ALTER DATABASE ").ident(database).sql(" CONNECTION LIMIT -1")
}

pub(crate) fn take_database(database: &DatabaseName, role: &RoleName) -> Statement {
    Statement::new("ALTER DATABASE ").ident(database).sql(" OWNER TO ").ident(role)
}

/// Grants CONNECT, to PUBLIC where there is no role; notes first how the database's privileges were, for
/// [`privileges_unchanged`].
pub(crate) fn grant_connect(database: &DatabaseName, role: Option<&RoleName>) -> Vec<Statement> {
    let note = Statement::new("SELECT pg_catalog.set_config('pgisle.privileges', COALESCE(datacl::pg_catalog.text, ''), true) ")
        .sql("FROM pg_catalog.pg_database WHERE datname = ")
        .literal(database.as_str());
    let grant = Statement::new("GRANT CONNECT ON DATABASE ").ident(database).sql(" TO ");
    vec![
        note,
        match role {
            Some(role) => grant.ident(role),
            None => grant.sql("PUBLIC"),
        },
    ]
}

/// Answers whether the database's privileges are as they were noted. A GRANT by who may not grant is a mere warning, so that it
/// did not fail says nothing; and what was granted before it must not be taken for its work.
pub(crate) fn privileges_unchanged(database: &DatabaseName) -> Statement {
    Statement::new(
        "SELECT COALESCE(datacl::pg_catalog.text, '') = pg_catalog.current_setting('pgisle.privileges') \
         FROM pg_catalog.pg_database WHERE datname = ",
    )
    .literal(database.as_str())
}

pub(crate) fn grant_role(role: &RoleName, member: &RoleName) -> Statement {
    Statement::new("GRANT ").ident(role).sql(" TO ").ident(member)
}

/// Gives a role an attribute, such as `SUPERUSER`.
pub(crate) fn give_attribute(role: &RoleName, attribute: &'static str) -> Statement {
    Statement::new("ALTER ROLE ").ident(role).sql(" ").sql(attribute)
}

pub(crate) fn create_role() -> Statement {
    Statement::new("CREATE ROLE pgisle_probe_role")
}

/// The template does not exist, which the server looks at after the privilege.
pub(crate) fn create_database() -> Statement {
    Statement::new("CREATE DATABASE pgisle_probe_database TEMPLATE pgisle_no_such_template")
}

/// Temporary, so that it goes with the session, and without reserving any WAL.
pub(crate) fn create_replication_slot() -> Statement {
    Statement::new(
        "SELECT pg_catalog.pg_create_physical_replication_slot('pgisle_probe_' || pg_catalog.pg_backend_pid(), false, true)",
    )
}

pub(crate) fn read_verifiers() -> Statement {
    Statement::new("SELECT pg_catalog.count(rolpassword) FROM pg_catalog.pg_authid")
}

pub(crate) fn create_extension(name: &'static str) -> Statement {
    Statement::new("CREATE EXTENSION ").sql(name).sql(" SCHEMA public")
}

pub(crate) fn create_internal_function() -> Statement {
    Statement::new("CREATE FUNCTION pg_temp.pgisle_probe() RETURNS integer LANGUAGE internal AS 'pg_backend_pid'")
}

/// The program does nothing but take what it is given.
pub(crate) fn run_program() -> Statement {
    Statement::new("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'")
}

/// The folder does not exist, which the server finds out behind the privilege check.
pub(crate) fn write_file() -> Statement {
    Statement::new("COPY (SELECT 1) TO '/nonexistent-pgisle-probe/file'")
}

pub(crate) fn copy_file() -> Vec<Statement> {
    vec![
        Statement::new("CREATE TEMPORARY TABLE pgisle_probe_file (line text)"),
        Statement::new("COPY pg_temp.pgisle_probe_file FROM '/nonexistent-pgisle-probe/file'"),
    ]
}

pub(crate) fn read_file() -> Statement {
    Statement::new("SELECT pg_catalog.pg_read_file('PG_VERSION')")
}

pub(crate) fn list_files() -> Statement {
    Statement::new("SELECT pg_catalog.count(*) FROM pg_catalog.pg_ls_dir('.')")
}

pub(crate) fn import_file() -> Statement {
    Statement::new("SELECT pg_catalog.lo_import('/nonexistent-pgisle-probe/file')")
}

/// Answers whether there is nothing that the session could read here, extensions' own tables left out.
pub(crate) fn nothing_to_read() -> Statement {
    Statement::new(
        "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' \
         AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_') \
         AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
         AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
         AND d.objid = c.oid AND d.deptype = 'e'))",
    )
}

/// Ends a session.
pub(crate) fn terminate(backend_pid: i32) -> Statement {
    Statement::new("SELECT pg_catalog.pg_terminate_backend(").number(i64::from(backend_pid)).sql(")")
}

/// Plants a canary, in one transaction, which fails rather than wait for a lock that someone else holds.
pub(crate) fn plant_canary(owner: &RoleName, word: &str) -> Vec<Statement> {
    vec![
        Statement::new("BEGIN"),
        Statement::new("SET LOCAL lock_timeout = '2s'"),
        set_role(owner),
        Statement::new("CREATE TABLE public.pgisle_canary (word text)"),
        Statement::new("COMMENT ON TABLE public.pgisle_canary IS ").literal(CANARY_COMMENT),
        Statement::new("INSERT INTO public.pgisle_canary VALUES (").literal(word).sql(")"),
        Statement::new("COMMIT"),
    ]
}

/// Answers `t` when a canary is there.
pub(crate) fn find_canary() -> Statement {
    Statement::new("SELECT COALESCE(pg_catalog.obj_description(pg_catalog.to_regclass('public.pgisle_canary'), 'pg_class') = ")
        .literal(CANARY_COMMENT)
        .sql(", false)")
}

pub(crate) fn read_canary() -> Statement {
    Statement::new("SELECT word FROM public.pgisle_canary")
}

/// Answers whether the canary is there to be read.
pub(crate) fn canary_is_read() -> Statement {
    Statement::new("SELECT pg_catalog.count(*) = 1 FROM public.pgisle_canary")
}

pub(crate) fn write_canary() -> Statement {
    Statement::new("DELETE FROM public.pgisle_canary")
}

/// Removes the canary, in one transaction.
pub(crate) fn remove_canary(owner: &RoleName) -> Vec<Statement> {
    vec![
        Statement::new("BEGIN"),
        Statement::new("SET LOCAL lock_timeout = '2s'"),
        set_role(owner),
        Statement::new("DROP TABLE IF EXISTS public.pgisle_canary"),
        Statement::new("COMMIT"),
    ]
}
