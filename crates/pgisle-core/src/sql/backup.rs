//! What a backup asks a database.

use super::{Statement, quote_identifier};
use crate::name::{ParameterName, RoleName};

/// Acts as another role for the rest of the transaction.
#[must_use]
pub fn set_local_role(role: &RoleName) -> Statement {
    Statement::new("SET LOCAL ROLE ").ident(role)
}

/// Sets a parameter of the whole server, for good.
#[must_use]
pub fn alter_system(name: &ParameterName, value: &str) -> Statement {
    Statement::new("ALTER SYSTEM SET ").ident(name).sql(" = ").literal(value)
}

/// Counts a table's own rows, as the transaction sees them.
#[must_use]
pub fn count_rows(schema: &str, table: &str) -> Statement {
    let from = Statement::new("SELECT pg_catalog.count(*) FROM ONLY ");
    from.push(&quote_identifier(schema)).sql(".").push(&quote_identifier(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_names() {
        let statement = count_rows("Odd \"name", "t; DROP TABLE x");
        assert_eq!(statement.expose(), r#"SELECT pg_catalog.count(*) FROM ONLY "Odd ""name"."t; DROP TABLE x""#);
    }
}
