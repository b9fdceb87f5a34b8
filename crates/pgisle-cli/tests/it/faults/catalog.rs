//! Everything that an apply can change on a cluster, as text: two runs that end alike leave the same.

use std::fmt::Write as _;

use pgisle_testkit::Cluster;

/// Salted afresh in every run: what the markers say of the verifiers.
const COMMENT: &str = r#"regexp_replace(coalesce(shobj_description(o.oid, '%'), ''), '"credential":"[^"]*"', '"credential":"*"')"#;

/// The shared catalogs. What PostgreSQL brings itself has a number below 16384, but for the maintenance databases.
const SHARED: &str = r"
SELECT 'role ' || (to_jsonb(o) - 'oid' - 'rolpassword')::text || ' ' || coalesce(substr(o.rolpassword, 1, 19), 'no password')
    || ' ' || COMMENT(pg_authid) FROM pg_authid o WHERE o.oid >= 16384
UNION ALL SELECT 'database ' || (to_jsonb(o) - 'oid' - 'datdba' - 'datacl' - 'datfrozenxid' - 'datminmxid' - 'datlastsysoid')::text
    || ' owner ' || o.datdba::regrole || ' ' || coalesce((SELECT array_agg(a::text ORDER BY a::text)::text FROM unnest(o.datacl) a), '')
    || ' ' || COMMENT(pg_database) FROM pg_database o
UNION ALL SELECT 'membership ' || o.roleid::regrole || ' of ' || o.member::regrole || ' by ' || o.grantor::regrole || ' '
    || (to_jsonb(o) - 'oid' - 'roleid' - 'member' - 'grantor')::text FROM pg_auth_members o WHERE o.member >= 16384
UNION ALL SELECT 'settings of ' || o.setrole::regrole || ' in ' || coalesce((SELECT d.datname FROM pg_database d WHERE d.oid = o.setdatabase), 'all') || ' '
    || (SELECT array_agg(c ORDER BY c)::text FROM unnest(o.setconfig) c) FROM pg_db_role_setting o
ORDER BY 1";

/// One database's own catalogs.
const INSIDE: &str = r"
SELECT 'schema ' || o.nspname || ' of ' || o.nspowner::regrole || ' '
    || coalesce((SELECT array_agg(a::text ORDER BY a::text)::text FROM unnest(o.nspacl) a), '')
    FROM pg_namespace o WHERE o.nspname !~ '^pg_(toast|temp)'
UNION ALL SELECT 'extension ' || o.extname || ' ' || o.extversion || ' in ' || o.extnamespace::regnamespace FROM pg_extension o
UNION ALL SELECT 'defaults ' || o.defaclrole::regrole || ' ' || coalesce(nullif(o.defaclnamespace, 0)::regnamespace::text, 'all') || ' '
    || o.defaclobjtype::text || ' ' || (SELECT array_agg(a::text ORDER BY a::text)::text FROM unnest(o.defaclacl) a) FROM pg_default_acl o
UNION ALL SELECT 'relation ' || o.relnamespace::regnamespace || '.' || o.relname || ' of ' || o.relowner::regrole || ' '
    || coalesce((SELECT array_agg(a::text ORDER BY a::text)::text FROM unnest(o.relacl) a), '')
    FROM pg_class o WHERE o.oid >= 16384 AND o.relnamespace::regnamespace::text !~ '^pg_toast'
UNION ALL SELECT 'function ' || o.oid::regprocedure || ' of ' || o.proowner::regrole || ' '
    || coalesce((SELECT array_agg(a::text ORDER BY a::text)::text FROM unnest(o.proacl) a), '') FROM pg_proc o WHERE o.oid >= 16384
ORDER BY 1";

/// The catalogs of a cluster without numbers, salts and times.
pub(super) async fn dump(cluster: &Cluster) -> String {
    let shared = ["pg_authid", "pg_database"]
        .iter()
        .fold(SHARED.to_owned(), |sql, catalog| sql.replace(&format!("COMMENT({catalog})"), &COMMENT.replace('%', catalog)));
    let mut text = cluster.psql(&shared).await;
    let open = cluster.psql("SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1").await;
    for database in open.lines() {
        write!(text, "\n-- {database}\n{}", cluster.psql_in(database, INSIDE).await).unwrap();
    }
    text
}
