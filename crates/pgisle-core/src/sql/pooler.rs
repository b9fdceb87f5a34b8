//! What PgBouncer's console is told. It takes no parameters, and names in double quotes.

use super::{Statement, quote_identifier};

/// Has it read its files again.
pub const RELOAD: &str = "RELOAD";

/// Lists its aliases.
pub const SHOW_DATABASES: &str = "SHOW DATABASES";

/// Lists its pools.
pub const SHOW_POOLS: &str = "SHOW POOLS";

/// Has clients wait between two transactions: of one alias, or all.
#[must_use]
pub fn pause(alias: Option<&str>) -> Statement {
    of_alias("PAUSE", alias)
}

/// Lets them go on.
#[must_use]
pub fn resume(alias: Option<&str>) -> Statement {
    of_alias("RESUME", alias)
}

fn of_alias(command: &'static str, alias: Option<&str>) -> Statement {
    let statement = Statement::new(command);
    match alias {
        Some(alias) => statement.sql(" ").push(&quote_identifier(alias)),
        None => statement,
    }
}
