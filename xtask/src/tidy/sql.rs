//! SQL is made in `core::sql` alone, where names and values are types. Everywhere else a statement with something put into it is
//! refused, whether or not what is put in happens to be safe today.
//!
//! This reads the text, not the syntax tree: it finds the macros that format, and looks at their text. Where such a text is
//! shown and never run, say why on the line itself or the one above: `// tidy-sql: the reason`. Beside this, the methods that put
//! something into a `Statement` are visible in `core::sql` alone.

use super::Finding;
use crate::workspace::{Text, Workspace};

const MACROS: &[&str] = &["format!", "format_args!", "write!", "writeln!"];

/// What statements begin with. Upper case only: sentences are not SQL.
const STATEMENTS: &[&str] = &[
    "SELECT ",
    "INSERT INTO ",
    "UPDATE ",
    "DELETE FROM ",
    "MERGE ",
    "TRUNCATE ",
    "COPY ",
    "CREATE ",
    "ALTER ",
    "DROP ",
    "GRANT ",
    "REVOKE ",
    "REASSIGN ",
    "COMMENT ON ",
    "SECURITY LABEL ",
    "SET ",
    "RESET ",
    "LOCK ",
    "DO ",
    "CALL ",
    "EXECUTE ",
    "PREPARE ",
    "DECLARE ",
    "LISTEN ",
    "NOTIFY ",
    "VACUUM ",
    "ANALYZE ",
    "REFRESH ",
    "IMPORT FOREIGN ",
    "BEGIN;",
    "START TRANSACTION",
    "WITH ",
    "VALUES ",
    "EXPLAIN ",
];

/// What a text may hold anywhere and is SQL then.
const PHRASES: &[&str] =
    &[" FROM pg_", " FROM information_schema", "; DROP ", "; SELECT ", "; ALTER ", "; SET ", "; GRANT ", "; CREATE "];

const EXCUSE: &str = "// tidy-sql: ";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.rust().filter(|file| is_checked(&file.path)).flat_map(check_text).collect()
}

/// Tests make what SQL they like.
fn is_checked(path: &str) -> bool {
    let is_test = path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("crates/pgisle-testkit/");
    path.starts_with("crates/") && !is_test && !path.starts_with("crates/pgisle-core/src/sql/")
}

fn check_text(file: &Text) -> Vec<Finding> {
    let text = without_tests(&file.text);
    let mut findings = Vec::new();
    for (name, at) in MACROS.iter().flat_map(|name| text.match_indices(name).map(move |(at, _)| (name, at))) {
        let before = &text[..at];
        let is_longer_name = before.ends_with(|before: char| before.is_alphanumeric() || before == '_');
        // A diagnostic's command is for people to paste.
        let is_shown = before.trim_end().ends_with(".command(");
        let Some(literal) = first_literal(&text[at + name.len()..]) else { continue };
        if !is_longer_name && !is_shown && is_sql(literal) && !is_excused(text, at) {
            let line = text[..at].lines().count().max(1);
            findings.push((line, format!("{}:{line}: SQL is made in core::sql only", file.path)));
        }
    }
    findings.sort();
    findings.into_iter().map(|(_, finding)| finding).collect()
}

/// The text before the file's own tests.
fn without_tests(text: &str) -> &str {
    let inline = text.match_indices("#[cfg(test)]\nmod ").find(|(at, found)| {
        let rest = &text[at + found.len()..];
        rest.lines().next().is_some_and(|line| line.ends_with('{'))
    });
    inline.map_or(text, |(at, _)| &text[..at])
}

/// The first string literal of a macro's arguments, without its quotes.
fn first_literal(arguments: &str) -> Option<&str> {
    let start = arguments.find('"')?;
    // A macro whose text is further away than this, or behind its end, has none of its own.
    if start > 200 || arguments[..start].contains(';') {
        return None;
    }
    let hashes = arguments[..start].len() - arguments[..start].trim_end_matches('#').len();
    let body = &arguments[start + 1..];
    if arguments[..start - hashes].ends_with('r') {
        return body.find(&format!("\"{}", "#".repeat(hashes))).map(|end| &body[..end]);
    }
    let mut is_escaped = false;
    let end = body.find(|character| {
        let ends = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        ends
    })?;
    Some(&body[..end])
}

fn is_sql(literal: &str) -> bool {
    let text = literal.trim_start_matches("\\n").trim_start();
    let takes_values = literal.replace("{{", "").contains('{');
    let upper_start = STATEMENTS.iter().any(|statement| text.starts_with(statement));
    takes_values && (upper_start || PHRASES.iter().any(|phrase| text.contains(phrase)))
}

fn is_excused(text: &str, at: usize) -> bool {
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let above = text[..line_start].lines().next_back().unwrap_or_default();
    [line, above].iter().any(|line| line.split_once(EXCUSE).is_some_and(|(_, reason)| reason.trim().len() > 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> usize {
        check_text(&Text { path: "crates/pgisle-engine/src/x.rs".to_owned(), text: text.to_owned() }).len()
    }

    #[test]
    fn made_up_statements_are_found() {
        for text in [
            r#"let sql = format!("DROP ROLE {name}");"#,
            r#"write!(sql, "ALTER ROLE \"{}\" NOLOGIN", name)?;"#,
            "format!(\n    r#\"\n      SELECT 1 FROM t WHERE x = '{x}'\"#)",
            r#"format!("{prefix} FROM pg_roles")"#,
            r#"client.batch_execute(&format!("SET ROLE {role}"))"#,
            "// tidy-sql: no\nformat!(\"GRANT {x}\")",
        ] {
            assert_eq!(findings(text), 1, "{text}");
        }
    }

    #[test]
    fn sentences_fixed_texts_tests_and_excuses_are_not() {
        for text in [
            r#"format!("role \"{name}\" cannot be dropped")"#,
            r#"format!("Selects {x}")"#,
            r#"client.query("SELECT 1 FROM pg_roles", &[])"#,
            r#"format!("SELECT '{{}}'::json")"#,
            "#[cfg(test)]\nmod tests {\n    format!(\"DROP ROLE {x}\")\n}",
            "// tidy-sql: it is a line of the hint, for a DBA to paste\nformat!(\"GRANT {x}\")",
            r#"diagnostic.command(format!("SELECT pg_terminate_backend({pid});"))"#,
            r#"format!("{x}"); let y = "DROP ROLE {}";"#,
        ] {
            assert_eq!(findings(text), 0, "{text}");
        }
    }

    #[test]
    fn only_the_sql_module_and_tests_are_left_out() {
        assert!(is_checked("crates/pgisle-engine/src/apply.rs") && is_checked("crates/pgisle-core/src/plan/mod.rs"));
        assert!(!is_checked("crates/pgisle-core/src/sql/mod.rs") && !is_checked("crates/pgisle-engine/tests/it/x.rs"));
    }
}
