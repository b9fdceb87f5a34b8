//! Reading all of a database's rows.

use super::{Statement, quote_identifier};

/// The tables and sequences of a database that a dump has the content of: those of extensions only where the extension says so.
pub const RELATIONS: &str = include_str!("content.sql");

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
}
