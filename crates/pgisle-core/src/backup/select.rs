//! What of a dump is restored, by whom, and what is left out.
//!
//! A restore runs as the service's owner role, makes the extensions itself and sets up the database as the file has it. So a dump's
//! own word on owners, extensions, schema public, roles and the database does not count; privileges are granted one by one at the
//! end, because they may name roles that do not exist here.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::Entry;
use super::words::{Word, words};

/// What is to be done with a statement of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Run it.
    Run,
    /// Run it, and go on when this server does not know the setting.
    Setting,
    /// A privilege: run it at the end.
    Privilege,
    /// The restore has done it, or makes it needless.
    Needless,
    /// The administrator makes this extension before anything else.
    Extension {
        /// Its name.
        name: String,
        /// The schema that it goes to.
        schema: Option<String>,
    },
    /// It is not the service's to do. Tell what is left out.
    LeftOut(String),
}

/// Kinds of things that reach beyond the service's database, or that its owner role may not make.
const BEYOND: &[&str] = &[
    "EVENT TRIGGER",
    "PUBLICATION",
    "PUBLICATION TABLE",
    "PUBLICATION TABLES IN SCHEMA",
    "SUBSCRIPTION",
    "SUBSCRIPTION TABLE",
    "FOREIGN DATA WRAPPER",
];

/// What [`select`] makes of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The entries to restore, by their numbers, in order.
    pub restored: Vec<i64>,
    /// Privileges, to be granted at the end: SQL, a text an entry.
    pub privileges: Vec<String>,
    /// The extensions, with their schemas.
    pub extensions: BTreeMap<String, Option<String>>,
    /// What is left out and would be missed.
    pub left_out: Vec<String>,
    /// The columns of each table's data, in order, by schema and table.
    pub columns: BTreeMap<(String, String), Vec<String>>,
}

/// Chooses among the entries of an archive. `made` are schemas that are there already.
#[must_use]
pub fn select(entries: &[Entry], made: &BTreeSet<String>) -> Selection {
    let mut selection = Selection::default();
    for entry in entries {
        let Entry { dump_id, kind, tag, definition, copy, schema, .. } = entry;
        match kind.as_str() {
            "EXTENSION" => {
                if let Disposition::Extension { name, schema } = disposition(definition) {
                    selection.extensions.insert(name, schema);
                }
            }
            "DATABASE" | "DATABASE PROPERTIES" => {}
            "SCHEMA" if tag == "public" || made.contains(tag) => {}
            "COMMENT" | "ACL" | "SECURITY LABEL" if is_of(tag, &["EXTENSION", "DATABASE"]) || tag == "SCHEMA public" => {}
            "COMMENT" | "SECURITY LABEL" if is_of(tag, BEYOND) => {}
            "ACL" | "DEFAULT ACL" => selection.privileges.push(definition.clone()),
            kind if BEYOND.contains(&kind) => selection.left_out.push(format!("{} \"{tag}\"", kind.to_lowercase())),
            kind => {
                selection.restored.push(*dump_id);
                if kind == "TABLE DATA"
                    && let Some((_, columns)) = copied_columns(copy)
                {
                    selection.columns.insert((schema.clone(), tag.clone()), columns);
                }
            }
        }
    }
    selection
}

fn is_of(tag: &str, kinds: &[&str]) -> bool {
    kinds.iter().any(|kind| tag.strip_prefix(kind).is_some_and(|rest| rest.starts_with(' ')))
}

/// The table of `COPY schema.table (a, "B") FROM stdin`, by schema and name, and its columns in the order of the data.
#[must_use]
pub fn copied_columns(copy: &str) -> Option<((String, String), Vec<String>)> {
    let words = words(copy, usize::MAX);
    let [first, schema, dot, table, rest @ ..] = words.as_slice() else { return None };
    if !first.is("COPY") || *dot != Word::Sign('.') {
        return None;
    }
    let list = match rest {
        [Word::Sign('('), list @ ..] => list.iter().take_while(|word| **word != Word::Sign(')')).filter_map(Word::name).collect(),
        _ => Vec::new(),
    };
    Some(((schema.name()?, table.name()?), list))
}

/// Says what is to be done with a statement.
#[must_use]
pub fn disposition(statement: &str) -> Disposition {
    let all = words(statement, usize::MAX);
    let keys: Vec<&str> = all
        .iter()
        .take(6)
        .map(|word| match word {
            Word::Bare(word) => word.as_str(),
            Word::Quoted(_) | Word::Literal | Word::Sign(_) => "",
        })
        .collect();
    match keys[..] {
        ["SET", "ROLE" | "SESSION_AUTHORIZATION", ..]
        | ["SET", "SESSION" | "LOCAL", "ROLE" | "AUTHORIZATION" | "SESSION_AUTHORIZATION", ..]
        | ["RESET", "ROLE" | "SESSION_AUTHORIZATION" | "ALL", ..]
        | ["RESET", "SESSION", "AUTHORIZATION", ..]
        | ["DISCARD", ..] => Disposition::Needless,
        ["SET", ..] => Disposition::Setting,
        ["CREATE", "EXTENSION", ..] => extension(&all),
        ["COMMENT", "ON", "EXTENSION" | "DATABASE", ..] | ["ALTER" | "DROP", "EXTENSION", ..] => Disposition::Needless,
        ["CREATE" | "ALTER" | "DROP" | "COMMENT", ..] if is_schema_public(&all) => Disposition::Needless,
        ["GRANT" | "REVOKE", ..] if !all.iter().any(|word| word.is("ON")) => left_out("membership of a role"),
        ["GRANT" | "REVOKE", ..] if is_schema_public(&all) || is_on_database(&all) => Disposition::Needless,
        ["GRANT" | "REVOKE", ..] | ["ALTER", "DEFAULT", "PRIVILEGES", ..] => Disposition::Privilege,
        ["CREATE" | "ALTER" | "DROP", "DATABASE", ..] => Disposition::Needless,
        ["CREATE" | "ALTER" | "DROP" | "COMMENT", ..] if let Some(what) = beyond(&all) => left_out(what),
        ["ALTER", ..] if sets_owner(&all) => Disposition::Needless,
        // pg_dump makes it when it is missing; template0 has it.
        ["CREATE", "PROCEDURAL" | "LANGUAGE", ..] | ["CREATE", "OR", "REPLACE", "PROCEDURAL" | "LANGUAGE", ..]
            if all.iter().any(|word| word.is("PLPGSQL")) =>
        {
            Disposition::Needless
        }
        _ => Disposition::Run,
    }
}

fn left_out(what: &str) -> Disposition {
    Disposition::LeftOut(what.to_owned())
}

fn extension(words: &[Word]) -> Disposition {
    let mut rest = &words[2..];
    if let [first, second, third, ..] = rest
        && first.is("IF")
        && second.is("NOT")
        && third.is("EXISTS")
    {
        rest = &rest[3..];
    }
    let schema = rest.windows(2).find(|pair| pair[0].is("SCHEMA")).and_then(|pair| pair[1].name());
    match rest.first().and_then(Word::name) {
        Some(name) => Disposition::Extension { name, schema },
        None => Disposition::Run,
    }
}

/// `… SCHEMA public`, for statements that make, change or comment on it, and for its privileges.
fn is_schema_public(words: &[Word]) -> bool {
    let place = words.iter().position(|word| word.is("SCHEMA"));
    let is_head = |place: usize| {
        place == 1 || words[..place].last().is_some_and(|word| word.is("ON")) && !words.iter().any(|word| word.is("IN"))
    };
    place.is_some_and(|place| {
        let name = words[place + 1..].iter().find(|word| !["IF", "NOT", "EXISTS"].iter().any(|keyword| word.is(keyword)));
        is_head(place) && name.and_then(Word::name).as_deref() == Some("public")
    })
}

fn is_on_database(words: &[Word]) -> bool {
    words.windows(2).any(|pair| pair[0].is("ON") && pair[1].is("DATABASE"))
}

fn beyond(words: &[Word]) -> Option<&'static str> {
    let after = if words.first().is_some_and(|word| word.is("COMMENT")) { 2 } else { 1 };
    let is = |place: usize, keyword: &str| words.get(place).is_some_and(|word| word.is(keyword));
    match words.get(after)? {
        word if ["ROLE", "USER", "GROUP"].iter().any(|keyword| word.is(keyword)) && !is(after + 1, "MAPPING") => Some("role"),
        word if word.is("TABLESPACE") => Some("tablespace"),
        word if word.is("PUBLICATION") => Some("publication"),
        word if word.is("SUBSCRIPTION") => Some("subscription"),
        word if word.is("EVENT") && is(after + 1, "TRIGGER") => Some("event trigger"),
        word if word.is("FOREIGN") && is(after + 1, "DATA") => Some("foreign data wrapper"),
        _ => None,
    }
}

/// `ALTER … OWNER TO name` and nothing behind it.
fn sets_owner(words: &[Word]) -> bool {
    let words = words.strip_suffix(&[Word::Sign(';')]).unwrap_or(words);
    matches!(words, [.., owner, to, _] if owner.is("OWNER") && to.is("TO"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart() {
        use Disposition::{Needless, Privilege, Run, Setting};
        let extension =
            |name: &str, schema: Option<&str>| Disposition::Extension { name: name.to_owned(), schema: schema.map(str::to_owned) };
        for (statement, expected) in [
            ("SET statement_timeout = 0", Setting),
            ("SET default_table_access_method = heap", Setting),
            ("SET SESSION AUTHORIZATION 'postgres'", Needless),
            ("SET SESSION AUTHORIZATION DEFAULT", Needless),
            ("set local role x", Needless),
            ("RESET SESSION AUTHORIZATION", Needless),
            ("SELECT pg_catalog.set_config('search_path', '', false)", Run),
            ("CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA public", extension("uuid-ossp", Some("public"))),
            ("CREATE EXTENSION Hstore", extension("hstore", None)),
            ("COMMENT ON EXTENSION \"uuid-ossp\" IS 'x'", Needless),
            ("CREATE SCHEMA public", Needless),
            ("CREATE SCHEMA IF NOT EXISTS \"public\"", Needless),
            ("CREATE SCHEMA publicity", Run),
            ("COMMENT ON SCHEMA public IS 'standard public schema'", Needless),
            ("ALTER SCHEMA public OWNER TO someone", Needless),
            ("ALTER TABLE public.users OWNER TO link_user", Needless),
            ("ALTER TABLE public.users ADD COLUMN owner text", Run),
            ("ALTER FUNCTION public.f(a integer, b text) OWNER TO \"Odd\"", Needless),
            ("ALTER TABLE ONLY public.users ALTER COLUMN id SET DEFAULT nextval('public.s'::regclass)", Run),
            ("GRANT SELECT ON TABLE public.users TO reader", Privilege),
            ("GRANT ALL ON SCHEMA public TO PUBLIC", Needless),
            ("REVOKE USAGE ON SCHEMA public FROM PUBLIC", Needless),
            ("GRANT USAGE ON SCHEMA other TO reader", Privilege),
            ("ALTER DEFAULT PRIVILEGES FOR ROLE o IN SCHEMA public GRANT SELECT ON TABLES TO r", Privilege),
            ("GRANT CONNECT ON DATABASE x TO reader", Needless),
            ("GRANT admin TO reader", left_out("membership of a role")),
            ("CREATE ROLE x SUPERUSER", left_out("role")),
            ("ALTER USER x PASSWORD 'y'", left_out("role")),
            ("CREATE USER MAPPING FOR x SERVER y", Run),
            ("CREATE EVENT TRIGGER x ON ddl_command_end EXECUTE FUNCTION f()", left_out("event trigger")),
            ("CREATE PUBLICATION p FOR ALL TABLES", left_out("publication")),
            ("ALTER PUBLICATION p OWNER TO x", left_out("publication")),
            ("CREATE DATABASE x", Needless),
            ("CREATE TABLE public.role (role text)", Run),
            ("CREATE OR REPLACE PROCEDURAL LANGUAGE plpgsql", Needless),
            ("INSERT INTO t VALUES ('GRANT', 'OWNER TO x')", Run),
        ] {
            assert_eq!(disposition(statement), expected, "{statement}");
        }
    }

    #[test]
    fn entries_are_chosen() {
        let entry = |dump_id, kind: &str, tag: &str, definition: &str, copy: &str| Entry {
            dump_id,
            catalog: (0, 0),
            kind: kind.to_owned(),
            tag: tag.to_owned(),
            definition: definition.to_owned(),
            copy: copy.to_owned(),
            schema: "public".to_owned(),
            owner: "o".to_owned(),
            has_data: kind == "TABLE DATA",
            is_post_data: false,
            dependencies: Vec::new(),
        };
        let entries = [
            entry(1, "ENCODING", "ENCODING", "SET client_encoding = 'UTF8';\n", ""),
            entry(2, "EXTENSION", "hstore", "CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA ext;\n", ""),
            entry(3, "COMMENT", "EXTENSION hstore", "COMMENT ON EXTENSION hstore IS '';\n", ""),
            entry(4, "SCHEMA", "public", "", ""),
            entry(5, "SCHEMA", "ext", "CREATE SCHEMA ext;\n", ""),
            entry(6, "COMMENT", "SCHEMA ext", "COMMENT ON SCHEMA ext IS 'x';\n", ""),
            entry(7, "TABLE", "t", "CREATE TABLE public.t (a int);\n", ""),
            entry(8, "TABLE DATA", "t", "", "COPY public.t (b, \"A,b\") FROM stdin;\n"),
            entry(9, "ACL", "SCHEMA public", "GRANT ALL ON SCHEMA public TO x;\n", ""),
            entry(10, "ACL", "TABLE t", "GRANT ALL ON TABLE public.t TO x;\n", ""),
            entry(11, "EVENT TRIGGER", "e", "CREATE EVENT TRIGGER e …", ""),
            entry(12, "COMMENT", "EVENT TRIGGER e", "COMMENT ON EVENT TRIGGER e IS '';\n", ""),
            entry(13, "PUBLICATION TABLE", "p t", "ALTER PUBLICATION p ADD TABLE ONLY public.t;\n", ""),
        ];
        let selection = select(&entries, &BTreeSet::from(["ext".to_owned()]));
        assert_eq!(selection.restored, [1, 6, 7, 8]);
        assert_eq!(selection.privileges, ["GRANT ALL ON TABLE public.t TO x;\n"]);
        assert_eq!(selection.extensions, BTreeMap::from([("hstore".to_owned(), Some("ext".to_owned()))]));
        assert_eq!(selection.left_out, ["event trigger \"e\"", "publication table \"p t\""]);
        assert_eq!(selection.columns[&("public".to_owned(), "t".to_owned())], ["b", "A,b"]);
    }
}
