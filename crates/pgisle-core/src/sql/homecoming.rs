//! What a rollback and a finalize say: changes come back into tables that have triggers, and what is left behind is put aside.

use super::split::qualified;
use super::{Statement, quote_identifier};
use crate::name::RoleName;
use crate::split::Aside;
use crate::split::observed::RelationKind;

/// What would fire when a table is written to: schema, table, name, `trigger` or `rule`, and how it is enabled (`O`, `A` or `R`).
/// The tables are two lists of the same length, `$1` of schemas and `$2` of names.
pub const FIRING: &str = include_str!("firing.sql");

/// The columns of all tables that belong to no extension: schema, table, and the columns' names with their types.
pub const COLUMNS: &str = include_str!("columns.sql");

/// Something that fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// The table's schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// Its own name.
    pub name: String,
    /// Whether it is a rule rather than a trigger.
    pub is_rule: bool,
    /// `O`, `A` or `R`, as `pg_trigger` has it.
    pub enabled: String,
}

impl Firing {
    /// Keeps it from firing.
    #[must_use]
    pub fn disable(&self) -> Statement {
        self.alter("DISABLE ")
    }

    /// Lets it fire as it did.
    #[must_use]
    pub fn enable(&self) -> Statement {
        self.alter(match self.enabled.as_str() {
            "A" => "ENABLE ALWAYS ",
            "R" => "ENABLE REPLICA ",
            _ => "ENABLE ",
        })
    }

    fn alter(&self, how: &'static str) -> Statement {
        let alter = Statement::new("ALTER TABLE ONLY ").table(&self.schema, &self.table).sql(" ").sql(how);
        alter.sql(if self.is_rule { "RULE " } else { "TRIGGER " }).push(&quote_identifier(&self.name))
    }
}

/// Ends acting as another role.
#[must_use]
pub fn act_as_oneself() -> Statement {
    Statement::new("RESET ROLE")
}

/// Empties tables, with their partitions, for other rows to come. What refers to them must be among them.
#[must_use]
pub fn empty_tables<'a>(tables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Statement {
    let names: Vec<String> = tables.into_iter().map(|(schema, name)| qualified(schema, name)).collect();
    Statement::new("TRUNCATE ").push(&names.join(", "))
}

/// Looks at no foreign key and fires nothing for the rest of the transaction, where the administrator may say so.
pub const LIKE_A_REPLICA: &str = "SET LOCAL session_replication_role = replica";

/// Whether a table has a constraint: `$1` is its schema, `$2` its name, `$3` the constraint.
pub const HAS_CONSTRAINT: &str = "SELECT true FROM pg_catalog.pg_constraint AS c \
    JOIN pg_catalog.pg_class AS t ON t.oid = c.conrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace \
    WHERE n.nspname = $1::pg_catalog.text AND t.relname = $2::pg_catalog.text AND c.conname = $3::pg_catalog.text";

/// Who has privileges on a relation, beside its owner; NULL is everyone. `$1` is its schema, `$2` its name.
pub const GRANTEES: &str = "SELECT DISTINCT r.rolname::pg_catalog.text FROM pg_catalog.pg_class AS c \
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS a LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee \
    WHERE n.nspname = $1::pg_catalog.text AND c.relname = $2::pg_catalog.text ORDER BY 1";

/// Takes all privileges on a table, view or sequence away: from everyone, its owner and others.
#[must_use]
pub fn close_relation(schema: &str, name: &str, owner: &RoleName, grantees: &[RoleName]) -> Statement {
    let revoke = Statement::new("REVOKE ALL ON TABLE ").table(schema, name).sql(" FROM PUBLIC, ").ident(owner);
    let others = grantees.iter().filter(|role| *role != owner);
    others.fold(revoke, |revoke, role| revoke.sql(", ").ident(role)).sql(" CASCADE")
}

/// Lets the administrator read what is put aside.
#[must_use]
pub fn let_read(schema: &str, name: &str, role: &RoleName) -> Statement {
    Statement::new("GRANT SELECT ON TABLE ").table(schema, name).sql(" TO ").ident(role)
}

/// Drops what was put aside, all of one kind together; refused while others depend on it.
#[must_use]
pub fn drop_aside<'a>(kind: RelationKind, relations: impl IntoIterator<Item = &'a Aside>) -> Statement {
    let names: Vec<String> = relations.into_iter().map(|one| qualified(&one.schema, &one.aside)).collect();
    let drop = Statement::new(match kind {
        RelationKind::Table | RelationKind::Partitioned => "DROP TABLE IF EXISTS ",
        RelationKind::View => "DROP VIEW IF EXISTS ",
        RelationKind::Materialized => "DROP MATERIALIZED VIEW IF EXISTS ",
        RelationKind::Sequence => "DROP SEQUENCE IF EXISTS ",
        RelationKind::Foreign => "DROP FOREIGN TABLE IF EXISTS ",
    });
    drop.push(&names.join(", ")).sql(" RESTRICT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fires_is_enabled_as_it_was() {
        let trigger = |enabled: &str| Firing {
            schema: "s".to_owned(),
            table: "t\"".to_owned(),
            name: "it's".to_owned(),
            is_rule: false,
            enabled: enabled.to_owned(),
        };
        assert_eq!(trigger("O").disable().expose(), r#"ALTER TABLE ONLY "s"."t""" DISABLE TRIGGER "it's""#);
        assert_eq!(trigger("O").enable().expose(), r#"ALTER TABLE ONLY "s"."t""" ENABLE TRIGGER "it's""#);
        assert_eq!(trigger("A").enable().expose(), r#"ALTER TABLE ONLY "s"."t""" ENABLE ALWAYS TRIGGER "it's""#);
        let rule = Firing { is_rule: true, ..trigger("R") };
        assert_eq!(rule.enable().expose(), r#"ALTER TABLE ONLY "s"."t""" ENABLE REPLICA RULE "it's""#);
    }
}
