//! Reading all of a database's rows.

use super::{Statement, quote_identifier};

/// The tables and sequences of a database that a dump has the content of: those of extensions only where the extension says so.
pub const RELATIONS: &str = include_str!("content.sql");

/// The columns of a table's key, and whether each is a whole number. Takes its schema and name.
pub const KEY: &str = include_str!("key.sql");

/// A table to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableToRead<'a> {
    /// Its schema.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The columns, in the order in which they are to come.
    pub columns: &'a [String],
    /// For a table of an extension: which rows are the user's, as the extension has said (`pg_extension_config_dump`).
    pub condition: &'a str,
}

/// Sends a table's own rows as `pg_dump` does.
#[must_use]
pub fn copy_out(table: &TableToRead<'_>) -> Statement {
    let TableToRead { schema, name, columns, condition } = table;
    let table = format!("{}.{}", quote_identifier(schema), quote_identifier(name));
    let list = columns.iter().map(|column| quote_identifier(column)).collect::<Vec<_>>().join(", ");
    if condition.is_empty() {
        let list = if list.is_empty() { list } else { format!(" ({list})") };
        return Statement::new("COPY ").push(&table).push(&list).sql(" TO STDOUT");
    }
    // The condition is part of the extension, whose script a superuser ran.
    let select = Statement::new("COPY (SELECT ").push(&list).sql(" FROM ONLY ").push(&table).sql(" ");
    select.push(condition).sql(") TO STDOUT")
}

/// Sends the key and a digest of each row of a table's own, in the order of the key: numbers as numbers, and everything else by the
/// bytes of its text, which unlike a collation are the same in each database. For [`crate::split::KeyedRow`].
#[must_use]
pub fn keyed_digests(schema: &str, name: &str, key: &[(String, bool)], columns: &[String]) -> Statement {
    let quoted = |column: &String| quote_identifier(column);
    let mut select = Statement::new("COPY (SELECT ");
    for (column, is_number) in key {
        let column = quoted(column);
        select = match is_number {
            true => select.push(&column),
            false => select
                .sql("pg_catalog.encode(pg_catalog.convert_to(CAST(")
                .push(&column)
                .sql(" AS pg_catalog.text), 'UTF8'), 'hex') COLLATE pg_catalog.\"C\""),
        };
        select = select.sql(", ");
    }
    let row = columns.iter().map(quoted).collect::<Vec<_>>().join(", ");
    let select = select.sql("pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CAST(ROW(").push(&row);
    let select = select.sql(") AS pg_catalog.text), 'UTF8')), 'hex') FROM ONLY ").table(schema, name).sql(" ORDER BY ");
    let places = (1..=key.len()).map(|place| place.to_string()).collect::<Vec<_>>().join(", ");
    select.push(&places).sql(") TO STDOUT")
}

/// Where a sequence stands: `last_value`, then `is_called`.
#[must_use]
pub fn sequence_state(schema: &str, name: &str) -> Statement {
    let from = Statement::new("SELECT last_value || ' ' || is_called FROM ");
    from.push(&quote_identifier(schema)).sql(".").push(&quote_identifier(name))
}

/// Has the transaction see what another one sees.
#[must_use]
pub fn set_snapshot(snapshot: &str) -> Statement {
    Statement::new("SET TRANSACTION SNAPSHOT ").literal(snapshot)
}

/// Acts as another role for the rest of the transaction.
#[must_use]
pub fn act_as(role: &crate::name::RoleName) -> Statement {
    Statement::new("SET LOCAL ROLE ").ident(role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_copied_as_pg_dump_copies_them() {
        let columns = ["a".to_owned(), "B\"c".to_owned()];
        let table = TableToRead { schema: "odd \"s", name: "t", columns: &columns, condition: "" };
        assert_eq!(copy_out(&table).expose(), r#"COPY "odd ""s"."t" ("a", "B""c") TO STDOUT"#);
        let none = TableToRead { columns: &[], ..table.clone() };
        assert_eq!(copy_out(&none).expose(), r#"COPY "odd ""s"."t" TO STDOUT"#);
        let some = TableToRead { condition: "WHERE NOT built_in", ..table };
        let expected = r#"COPY (SELECT "a", "B""c" FROM ONLY "odd ""s"."t" WHERE NOT built_in) TO STDOUT"#;
        assert_eq!(copy_out(&some).expose(), expected);
    }

    #[test]
    fn keys_come_in_an_order_that_is_the_same_everywhere() {
        let key = [("id".to_owned(), true), ("B\"c".to_owned(), false)];
        let columns = ["id".to_owned(), "B\"c".to_owned(), "body".to_owned()];
        let expected = r#"COPY (SELECT "id", pg_catalog.encode(pg_catalog.convert_to(CAST("B""c" AS pg_catalog.text), 'UTF8'), 'hex') COLLATE pg_catalog."C", pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CAST(ROW("id", "B""c", "body") AS pg_catalog.text), 'UTF8')), 'hex') FROM ONLY "s"."t" ORDER BY 1, 2) TO STDOUT"#;
        assert_eq!(keyed_digests("s", "t", &key, &columns).expose(), expected);
    }
}
