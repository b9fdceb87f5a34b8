//! What a clone of the shared database is made by, and what is said to it until it holds one service and nothing else.
//!
//! Objects are named here as the server itself names them (`pg_identify_object`): qualified and quoted by it.

use super::{Statement, quote_identifier};
use crate::name::{DatabaseName, ExtensionName, RoleName};

/// Copies a database's files. The server has whoever wants to connect to the template wait, and then waits for those who are in it.
#[must_use]
pub fn clone_database(template: &DatabaseName, name: &DatabaseName) -> Statement {
    let create = Statement::new("CREATE DATABASE ").ident(name).sql(" TEMPLATE ").ident(template);
    create.sql(" STRATEGY FILE_COPY ALLOW_CONNECTIONS false")
}

/// Has the server give a statement up when nobody waits for its answer any more: what runs it may be killed, and others wait behind
/// it. Not every operating system lets the server know.
pub const WATCH_CLIENT: &str = "SET client_connection_check_interval = 500";

/// Has the server give a statement of this session up after so many milliseconds, whatever has become of who runs it.
#[must_use]
pub fn bound_statements(timeout_ms: u32) -> Statement {
    Statement::new("SET statement_timeout = ").number(i64::from(timeout_ms))
}

/// Has statements take as long as they take again.
pub const UNBOUND_STATEMENTS: &str = "SET statement_timeout = 0; RESET client_connection_check_interval";

/// Which of these roles (`$1`) the administrator may not act as; `$2` is what it takes, `MEMBER`, or `SET` from version 16 on.
pub const OUT_OF_REACH: &str = "SELECT DISTINCT o FROM pg_catalog.unnest($1::pg_catalog.text[]) AS o \
    WHERE NOT pg_catalog.pg_has_role(o::pg_catalog.name, $2::pg_catalog.text) ORDER BY 1";

/// Who is in a database (`$1`) beside one session (`$2`): server process, role; only the idle ones unless `$3`.
pub const OTHERS: &str = "SELECT a.pid, a.usename::pg_catalog.text FROM pg_catalog.pg_stat_activity AS a \
    WHERE a.datid = $1 AND a.pid <> $2 AND a.usename IS NOT NULL AND ($3 OR COALESCE(a.state, 'idle') = 'idle')";

/// Stops what a session is doing.
pub const CANCEL: &str = "SELECT pg_catalog.pg_cancel_backend($1)";

/// What the clone is rid of.
pub const UNCLAIMED: &str = include_str!("unclaimed.sql");

/// What is left in it.
pub const KEPT: &str = include_str!("kept.sql");

/// A digest of what relations are made of.
pub const SHAPE: &str = include_str!("shape.sql");

/// The columns of relations (`$1`) that may point to large objects: schema, table, column.
pub const POINTERS: &str = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, a.attname::pg_catalog.text \
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid \
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid \
    WHERE c.oid = ANY ($1::pg_catalog.oid[]) AND c.relkind IN ('r', 'm') AND a.attnum > 0 AND NOT a.attisdropped \
    AND (t.oid = 'pg_catalog.oid'::pg_catalog.regtype \
    OR (t.typname = 'lo' AND t.typtype = 'd' AND t.typbasetype = 'pg_catalog.oid'::pg_catalog.regtype)) ORDER BY 1, 2, 3";

/// The default privileges that somebody has set: role, schema (empty for all), kind of object, grantee (empty for PUBLIC).
pub const DEFAULT_PRIVILEGES: &str = "SELECT pg_catalog.pg_get_userbyid(d.defaclrole)::pg_catalog.text, \
    COALESCE(n.nspname::pg_catalog.text, ''), d.defaclobjtype::pg_catalog.text, \
    CASE e.grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(e.grantee) END::pg_catalog.text \
    FROM pg_catalog.pg_default_acl AS d LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace \
    CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS e WHERE e.grantee <> d.defaclrole GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";

/// The extensions, the latest first: what was made later may need what was made before.
pub const EXTENSIONS: &str =
    "SELECT e.extname::pg_catalog.text FROM pg_catalog.pg_extension AS e WHERE e.extname <> 'plpgsql' ORDER BY e.oid DESC";

/// Whether what needs an object goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It goes too.
    Cascade,
    /// The object stays.
    Restrict,
}

/// Drops objects of one type. None for a type that this does not know, or without objects.
#[must_use]
pub fn drop_objects(object_type: &str, identities: &[&str], reach: Reach) -> Option<Statement> {
    let words = words(object_type)?;
    let (first, _) = identities.split_first()?;
    // Those have a form that takes one only.
    let identities = if takes_several(words) { identities.join(", ") } else { (*first).to_owned() };
    let drop = Statement::new("DROP ").sql(words).sql(" IF EXISTS ").push(&identities);
    Some(drop.sql(match reach {
        Reach::Cascade => " CASCADE",
        Reach::Restrict => " RESTRICT",
    }))
}

/// Whether one DROP takes several objects of this type.
#[must_use]
pub fn drops_several(object_type: &str) -> bool {
    words(object_type).is_some_and(takes_several)
}

fn takes_several(words: &str) -> bool {
    !matches!(
        words,
        "CAST"
            | "OPERATOR CLASS"
            | "OPERATOR FAMILY"
            | "CONVERSION"
            | "EVENT TRIGGER"
            | "LANGUAGE"
            | "TEXT SEARCH CONFIGURATION"
            | "TEXT SEARCH DICTIONARY"
    )
}

/// Gives an object to a role.
#[must_use]
pub fn alter_owner(object_type: &str, identity: &str, owner: &RoleName) -> Option<Statement> {
    let alter = Statement::new("ALTER ").sql(words(object_type)?).sql(" ").push(identity);
    Some(alter.sql(" OWNER TO ").ident(owner))
}

/// Takes all privileges on an object from roles; an empty name is PUBLIC.
#[must_use]
pub fn revoke_all(object_type: &str, identity: &str, grantees: &[String]) -> Option<Statement> {
    let on = match object_type {
        "table" | "view" | "materialized view" | "foreign table" => "TABLE ",
        "sequence" => "SEQUENCE ",
        "function" | "procedure" | "aggregate" => "ROUTINE ",
        "type" => "TYPE ",
        "schema" => "SCHEMA ",
        "large object" => "LARGE OBJECT ",
        _ => return None,
    };
    if grantees.is_empty() {
        return None;
    }
    let revoke = Statement::new("REVOKE ALL ON ").sql(on).push(identity).sql(" FROM ").push(&roles(grantees));
    Some(revoke.sql(" CASCADE"))
}

/// Takes a default privilege back. `kind` is the letter of `pg_default_acl`.
#[must_use]
pub fn revoke_default(role: &RoleName, schema: &str, kind: &str, grantee: &str) -> Option<Statement> {
    let on = match kind {
        "r" => "TABLES",
        "S" => "SEQUENCES",
        "f" => "ROUTINES",
        "T" => "TYPES",
        "n" => "SCHEMAS",
        _ => return None,
    };
    let alter = Statement::new("ALTER DEFAULT PRIVILEGES FOR ROLE ").ident(role);
    let alter = if schema.is_empty() { alter } else { alter.sql(" IN SCHEMA ").push(&quote_identifier(schema)) };
    Some(alter.sql(" REVOKE ALL ON ").sql(on).sql(" FROM ").push(&roles(&[grantee.to_owned()])))
}

fn roles(names: &[String]) -> String {
    let quoted = names.iter().map(|name| if name.is_empty() { "PUBLIC".to_owned() } else { quote_identifier(name) });
    quoted.collect::<Vec<_>>().join(", ")
}

/// Drops an extension that nothing needs.
#[must_use]
pub fn drop_extension(extension: &ExtensionName) -> Statement {
    Statement::new("DROP EXTENSION IF EXISTS ").ident(extension).sql(" RESTRICT")
}

/// Drops large objects that none of these columns (schema, table, column) points to, so many at most; gives how many it dropped.
#[must_use]
pub fn unlink_unpointed(pointers: &[(String, String, String)], at_most: u32) -> Statement {
    let mut unlink = Statement::new(
        "SELECT pg_catalog.count(pg_catalog.lo_unlink(l.oid)) FROM (SELECT m.oid FROM pg_catalog.pg_largeobject_metadata AS m WHERE true",
    );
    for (schema, table, column) in pointers {
        unlink =
            unlink.sql(" AND NOT EXISTS (SELECT FROM ").push(&quote_identifier(schema)).sql(".").push(&quote_identifier(table));
        unlink = unlink.sql(" AS t WHERE t.").push(&quote_identifier(column)).sql("::pg_catalog.oid OPERATOR(pg_catalog.=) m.oid)");
    }
    unlink.sql(" LIMIT ").number(i64::from(at_most)).sql(") AS l")
}

/// The words of SQL for a type of object, as `pg_identify_object` calls it.
fn words(object_type: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 24] = [
        ("table", "TABLE"),
        ("view", "VIEW"),
        ("materialized view", "MATERIALIZED VIEW"),
        ("foreign table", "FOREIGN TABLE"),
        ("sequence", "SEQUENCE"),
        ("function", "FUNCTION"),
        ("procedure", "PROCEDURE"),
        ("aggregate", "AGGREGATE"),
        ("type", "TYPE"),
        ("cast", "CAST"),
        ("operator", "OPERATOR"),
        ("operator class", "OPERATOR CLASS"),
        ("operator family", "OPERATOR FAMILY"),
        ("collation", "COLLATION"),
        ("conversion", "CONVERSION"),
        ("text search configuration", "TEXT SEARCH CONFIGURATION"),
        ("text search dictionary", "TEXT SEARCH DICTIONARY"),
        ("statistics object", "STATISTICS"),
        ("server", "SERVER"),
        ("foreign-data wrapper", "FOREIGN DATA WRAPPER"),
        ("schema", "SCHEMA"),
        ("publication", "PUBLICATION"),
        ("event trigger", "EVENT TRIGGER"),
        ("large object", "LARGE OBJECT"),
    ];
    match object_type {
        "language" => Some("LANGUAGE"),
        known => WORDS.iter().find(|(name, _)| *name == known).map(|(_, words)| *words),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn objects_are_named_as_the_server_names_them() {
        let drop = drop_objects("table", &["public.users", "\"a b\".c"], Reach::Cascade).unwrap();
        assert_eq!(drop.expose(), r#"DROP TABLE IF EXISTS public.users, "a b".c CASCADE"#);
        let one = drop_objects("operator class", &["s.o USING btree", "s.p USING btree"], Reach::Restrict).unwrap();
        assert_eq!(one.expose(), "DROP OPERATOR CLASS IF EXISTS s.o USING btree RESTRICT");
        assert_eq!(drop_objects("database", &["x"], Reach::Restrict), None);
        assert_eq!(drop_objects("table", &[], Reach::Restrict), None);
        let owner = RoleName::observed("o\"");
        assert_eq!(alter_owner("type", "public.t", &owner).unwrap().expose(), r#"ALTER TYPE public.t OWNER TO "o""""#);
        let revoke = revoke_all("view", "public.v", &[String::new(), "a".to_owned()]).unwrap();
        assert_eq!(revoke.expose(), r#"REVOKE ALL ON TABLE public.v FROM PUBLIC, "a" CASCADE"#);
    }

    #[test]
    fn large_objects_that_a_column_points_to_stay() {
        let pointers = [("s".to_owned(), "t".to_owned(), "c\"".to_owned())];
        let unlink = unlink_unpointed(&pointers, 10);
        let expected = r#"WHERE true AND NOT EXISTS (SELECT FROM "s"."t" AS t WHERE t."c"""::pg_catalog.oid OPERATOR(pg_catalog.=) m.oid) LIMIT 10) AS l"#;
        assert!(unlink.expose().ends_with(expected), "{unlink}");
    }
}
