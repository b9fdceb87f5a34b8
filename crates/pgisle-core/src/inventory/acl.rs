//! Privileges as the server writes them, `{owner=UC/owner,=U/owner}`: an array (`array_out`) of items (`aclitemout`).

use std::collections::BTreeSet;

use super::{AclItem, Grantee};
use crate::name::RoleName;

/// Letters and what they stand for: `acl.h`, and `convert_aclright_to_string` in `acl.c`.
const PRIVILEGES: [(char, &str); 15] = [
    ('a', "INSERT"),
    ('r', "SELECT"),
    ('w', "UPDATE"),
    ('d', "DELETE"),
    ('D', "TRUNCATE"),
    ('x', "REFERENCES"),
    ('t', "TRIGGER"),
    ('X', "EXECUTE"),
    ('U', "USAGE"),
    ('C', "CREATE"),
    ('T', "TEMPORARY"),
    ('c', "CONNECT"),
    ('s', "SET"),
    ('A', "ALTER SYSTEM"),
    ('m', "MAINTAIN"),
];

/// Why a text is no list of privileges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no list of privileges")]
pub struct AclError(String);

/// Reads such a list; the same as `aclexplode` gives.
///
/// # Errors
/// The text has another form, or a privilege that no PostgreSQL up to 18 has.
pub fn parse_acl(text: &str) -> Result<BTreeSet<AclItem>, AclError> {
    let parsed = elements(text).and_then(|elements| {
        let items: Option<Vec<_>> = elements.iter().map(|element| items(element)).collect();
        Some(items?.into_iter().flatten().collect())
    });
    parsed.ok_or_else(|| AclError(text.to_owned()))
}

/// The texts of an array of one dimension, as `array_out` writes it.
fn elements(text: &str) -> Option<Vec<String>> {
    let mut chars = text.strip_prefix('{')?.strip_suffix('}')?.chars().peekable();
    let mut elements = Vec::new();
    while chars.peek().is_some() {
        let mut element = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => element.push(chars.next()?),
                    other => element.push(other),
                }
            }
        } else {
            while let Some(next) = chars.next_if(|&next| next != ',') {
                element.push(next);
            }
        }
        elements.push(element);
        match chars.next() {
            None => break,
            // Behind a comma there is another one.
            Some(',') if chars.peek().is_some() => {}
            Some(_) => return None,
        }
    }
    Some(elements)
}

/// One grantee's privileges from one grantor: `grantee=UC*/grantor`, a star behind what may be granted on.
fn items(text: &str) -> Option<Vec<AclItem>> {
    let (grantee, rest) = role(text, '=')?;
    let (privileges, grantor) = rest.strip_prefix('=')?.split_once('/')?;
    let (grantor, "") = role(grantor, '/')? else { return None };
    let grantor = RoleName::observed(grantor?);
    let grantee = grantee.map_or(Grantee::Public, |name| Grantee::Role(RoleName::observed(name)));
    let mut letters = privileges.chars().peekable();
    let mut items = Vec::new();
    while let Some(letter) = letters.next() {
        let (_, privilege) = PRIVILEGES.iter().find(|(known, _)| *known == letter)?;
        items.push(AclItem {
            grantee: grantee.clone(),
            grantor: grantor.clone(),
            privilege: (*privilege).to_owned(),
            grantable: letters.next_if_eq(&'*').is_some(),
        });
    }
    Some(items)
}

/// A role's name up to `end`, and what follows; none for PUBLIC, which has no name. Names of more than letters, digits and
/// underscores are quoted (`putid`).
fn role(text: &str, end: char) -> Option<(Option<String>, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let (name, rest) = text.split_at(text.find(end).unwrap_or(text.len()));
        // Older servers leave letters of other alphabets unquoted.
        let is_safe = name.chars().all(|char| char == '_' || char.is_ascii_alphanumeric() || !char.is_ascii());
        return is_safe.then(|| (Some(name.to_owned()).filter(|name| !name.is_empty()), rest));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((Some(name), after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(grantee: Option<&str>, grantor: &str, privilege: &str, grantable: bool) -> AclItem {
        let grantee = grantee.map_or(Grantee::Public, |name| Grantee::Role(RoleName::observed(name)));
        AclItem { grantee, grantor: RoleName::observed(grantor), privilege: privilege.to_owned(), grantable }
    }

    #[test]
    fn items_are_read() {
        let found = parse_acl(r"{pg_database_owner=UC/pg_database_owner,=U/pg_database_owner,app=c*T/postgres}");
        let owner = "pg_database_owner";
        let expected = [
            item(Some(owner), owner, "USAGE", false),
            item(Some(owner), owner, "CREATE", false),
            item(None, owner, "USAGE", false),
            item(Some("app"), "postgres", "CONNECT", true),
            item(Some("app"), "postgres", "TEMPORARY", false),
        ];
        assert_eq!(found, Ok(BTreeSet::from(expected)));
        assert_eq!(parse_acl("{}"), Ok(BTreeSet::new()));
    }

    #[test]
    fn names_that_need_quotes_are_read() {
        // As PostgreSQL 17 writes them: the item's quotes, and the array's around them.
        let found = parse_acl(r#"{"\"o\"\"d=d/ {n}, \\ame\"=r/\"we ird\""}"#);
        assert_eq!(found, Ok(BTreeSet::from([item(Some(r#"o"d=d/ {n}, \ame"#), "we ird", "SELECT", false)])));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "",
            "{",
            "a=U/b",
            "{a=U/b",
            "{a=U}",
            "{a=?/b}",
            "{a=*/b}",
            "{a=U/}",
            "{a=U/b,}",
            "{aU/b}",
            r#"{"a=U/b}"#,
            r#"{"a"=U/b}"#,
            r#"{"\"a=U/b"}"#,
            "{{a=U/b}}",
        ] {
            assert_eq!(parse_acl(text), Err(AclError(text.to_owned())), "{text}");
        }
    }

    /// Grantee, privileges (with grant option or without), grantor.
    type Item = (Option<String>, Vec<(usize, bool)>, String);

    /// `putid`, and `array_out`.
    fn write(items: &[Item]) -> String {
        let name = |name: &str| {
            let is_safe = name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
            if is_safe { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
        };
        let element = |(grantee, privileges, grantor): &Item| {
            let mut text = grantee.as_deref().map(name).unwrap_or_default();
            text.push('=');
            for &(privilege, grantable) in privileges {
                text.push(PRIVILEGES[privilege].0);
                text.extend(grantable.then_some('*'));
            }
            text.push('/');
            text.push_str(&name(grantor));
            let needs_quotes = text.chars().any(|char| "{}\",\\".contains(char) || char.is_whitespace());
            if needs_quotes { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) } else { text }
        };
        format!("{{{}}}", items.iter().map(element).collect::<Vec<_>>().join(","))
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            items in prop::collection::vec(
                (prop::option::of("\\PC{1,9}|[a\"\\\\{},=/ *]{1,9}"), prop::collection::vec((0..PRIVILEGES.len(), any::<bool>()), 0..5), "\\PC{1,9}|[a\"\\\\{},=/ *]{1,9}"),
                0..4,
            )
        ) {
            let expected = items.iter().flat_map(|(grantee, privileges, grantor)| {
                privileges.iter().map(move |&(privilege, grantable)| item(grantee.as_deref(), grantor, PRIVILEGES[privilege].1, grantable))
            });
            prop_assert_eq!(parse_acl(&write(&items)), Ok(expected.collect()));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,40}|[a={}\"/,*\\\\U]{0,20}") {
            let _either = parse_acl(&text);
        }
    }
}
