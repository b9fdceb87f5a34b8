//! What is read of a database is what the server itself says, asked in another way: privileges by `aclexplode`, and each object by
//! its own catalog.

use std::collections::{BTreeMap, BTreeSet};

use pgisle_core::inventory::{AclItem, Contents, DefaultAclObjects, Grantee};
use pgisle_core::name::{RoleName, SchemaName};
use pgisle_engine::postgres::{Session, inspect_contents};
use pgisle_testkit::{Cluster, majors};

use super::{role, superuser};

/// Names that need quotes at each level, and whatever has a schema.
const MANY_KINDS: &str = r#"
    CREATE ROLE "o""d=d/ {n}, \ame *"; CREATE ROLE "123"; CREATE ROLE "Größe"; CREATE ROLE "it's"; CREATE ROLE maker;
    CREATE SCHEMA one AUTHORIZATION "o""d=d/ {n}, \ame *"; CREATE SCHEMA two AUTHORIZATION maker; CREATE SCHEMA "Three, {""}";
    GRANT USAGE ON SCHEMA one TO "123" WITH GRANT OPTION; GRANT ALL ON SCHEMA one TO "Größe", PUBLIC; GRANT USAGE ON SCHEMA two TO "it's";
    GRANT CREATE ON SCHEMA "Three, {""}" TO "o""d=d/ {n}, \ame *" WITH GRANT OPTION;
    SET ROLE "123"; GRANT USAGE ON SCHEMA one TO maker; RESET ROLE;
    ALTER DEFAULT PRIVILEGES FOR ROLE maker GRANT ALL ON TABLES TO "o""d=d/ {n}, \ame *" WITH GRANT OPTION;
    ALTER DEFAULT PRIVILEGES FOR ROLE maker IN SCHEMA "Three, {""}" GRANT EXECUTE ON FUNCTIONS TO "it's", "Größe";
    ALTER DEFAULT PRIVILEGES FOR ROLE "o""d=d/ {n}, \ame *" REVOKE USAGE ON TYPES FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES FOR ROLE "123" GRANT USAGE ON SCHEMAS TO reader;
    GRANT USAGE, CREATE ON SCHEMA "Three, {""}", public TO maker;
    GRANT USAGE ON SCHEMA two TO reader;
    SET ROLE maker;
    CREATE TABLE two.parts (id bigint GENERATED ALWAYS AS IDENTITY, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE two.parts_1 PARTITION OF two.parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE two.parts_2 PARTITION OF two.parts DEFAULT;
    CREATE TABLE two.base (note text, large text UNIQUE); CREATE TABLE two.child (more int) INHERITS (two.base);
    GRANT SELECT ON two.base, two.parts TO reader;
    CREATE SEQUENCE two.alone; CREATE SEQUENCE two.owned OWNED BY two.child.more;
    CREATE VIEW two.seen AS SELECT * FROM two.base; CREATE MATERIALIZED VIEW two.kept AS SELECT 1 AS one;
    CREATE TYPE two.mood AS ENUM ('good'); CREATE TYPE two.pair AS (a int, b two.mood[]); CREATE TYPE two.span AS RANGE (subtype = int);
    CREATE DOMAIN two.age AS int CHECK (VALUE > 0);
    CREATE FUNCTION two.f(regnamespace DEFAULT 'one') RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM two.base; END;
    CREATE FUNCTION two.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE PROCEDURE two.p() LANGUAGE sql AS '';
    CREATE TRIGGER t BEFORE INSERT ON two.base FOR EACH ROW EXECUTE FUNCTION two.t();
    CREATE AGGREGATE two.total(int) (SFUNC = int4pl, STYPE = int); CREATE OPERATOR two.### (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
    CREATE COLLATION two.c FROM "C"; CREATE STATISTICS two.s ON note, large FROM two.base; CREATE TEXT SEARCH CONFIGURATION two.x (COPY = simple);
    CREATE TABLE "Three, {""}"."T" (id int); CREATE TABLE public.plain AS SELECT 1 AS one;
    CREATE TEMPORARY TABLE passing (id serial);
    RESET ROLE;
    CREATE TYPE two.shell; CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing; CREATE FOREIGN TABLE two.far (id int) SERVER nowhere;
    CREATE TABLE one.moved (id serial PRIMARY KEY); ALTER TABLE one.moved SET SCHEMA two; ALTER TABLE two.moved OWNER TO "123";
    CREATE TABLE public.gone (id serial); DROP TABLE public.gone"#;

/// Each object by the catalog that it is in, one whose type stands for it counted once.
const OBJECTS: &str = "
    SELECT pg_get_userbyid(f.owner), count(*)
    FROM (
        SELECT 'pg_class'::regclass AS classid, oid, relowner AS owner, relnamespace AS namespace FROM pg_class
            WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
        UNION ALL SELECT 'pg_proc'::regclass, oid, proowner, pronamespace FROM pg_proc
        UNION ALL SELECT 'pg_type'::regclass, t.oid, typowner, typnamespace FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
            WHERE (typtype IN ('b', 'd', 'e', 'r') OR c.relkind = 'c') AND NOT EXISTS (SELECT FROM pg_type AS a WHERE a.typarray = t.oid)
        UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner, oid FROM pg_namespace WHERE nspname <> 'public'
    ) AS f JOIN pg_namespace AS n ON n.oid = f.namespace
    WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
        AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = f.classid AND d.objid = f.oid AND d.deptype = 'e')
    GROUP BY 1";

const SCHEMAS: &str = "
    SELECT nspname, pg_get_userbyid(nspowner), CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END, pg_get_userbyid(a.grantor),
        a.privilege_type, a.is_grantable
    FROM pg_namespace, aclexplode(COALESCE(nspacl, acldefault('n', nspowner))) AS a
    WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%'";

const DEFAULT_ACLS: &str = "
    SELECT concat_ws(' ', pg_get_userbyid(d.defaclrole), n.nspname, d.defaclobjtype), '',
        CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END, pg_get_userbyid(a.grantor), a.privilege_type, a.is_grantable
    FROM pg_default_acl AS d LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) AS a";

const HIDDEN: &str = "
    SELECT concat_ws(' ', pg_get_userbyid(c.relowner), n.nspname), count(*)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
        AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
        AND NOT (has_schema_privilege('reader', n.oid, 'USAGE') AND has_table_privilege('reader', c.oid, 'SELECT'))
    GROUP BY 1";

type Privileges = BTreeSet<(String, String, AclItem)>;

async fn privileges(client: &tokio_postgres::Client, sql: &str) -> Privileges {
    let privilege = |row: &tokio_postgres::Row| {
        let grantee: Option<String> = row.get(2);
        let grantee = grantee.map_or(Grantee::Public, |name| Grantee::Role(RoleName::observed(name)));
        let grantor = RoleName::observed(row.get::<_, String>(3));
        (row.get(0), row.get(1), AclItem { grantee, grantor, privilege: row.get(4), grantable: row.get(5) })
    };
    client.query(sql, &[]).await.unwrap().iter().map(privilege).collect()
}

async fn counts(client: &tokio_postgres::Client, sql: &str) -> BTreeMap<String, u64> {
    let count = |row: &tokio_postgres::Row| (row.get(0), row.get::<_, i64>(1).unsigned_abs());
    client.query(sql, &[]).await.unwrap().iter().map(count).collect()
}

fn letter(objects: DefaultAclObjects) -> &'static str {
    match objects {
        DefaultAclObjects::Tables => "r",
        DefaultAclObjects::Sequences => "S",
        DefaultAclObjects::Functions => "f",
        DefaultAclObjects::Types => "T",
        DefaultAclObjects::Schemas => "n",
        DefaultAclObjects::LargeObjects => "L",
    }
}

async fn assert_as_the_server_says(contents: &Contents, client: &tokio_postgres::Client) {
    let raw = |name: &RoleName| name.as_str().to_owned();
    let of_schemas: Privileges = contents
        .schemas
        .iter()
        .flat_map(|(name, schema)| schema.acl.iter().map(move |item| (name.as_str().to_owned(), raw(&schema.owner), item.clone())))
        .collect();
    assert_eq!(of_schemas, privileges(client, SCHEMAS).await);
    let of_defaults: Privileges = contents
        .default_acls
        .iter()
        .flat_map(|found| {
            let words = [Some(found.role.as_str()), found.schema.as_ref().map(SchemaName::as_str), Some(letter(found.objects))];
            let key = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
            found.acl.iter().map(move |item| (key.clone(), String::new(), item.clone()))
        })
        .collect();
    assert_eq!(of_defaults, privileges(client, DEFAULT_ACLS).await);
    let owned: BTreeMap<String, u64> = contents.objects_by_owner.iter().map(|(name, count)| (raw(name), *count)).collect();
    assert_eq!(owned, counts(client, OBJECTS).await);
    let hidden: BTreeMap<String, u64> = contents
        .hidden_relations
        .iter()
        .map(|found| (format!("{} {}", found.owner.as_str(), found.schema.as_str()), found.relations))
        .collect();
    assert_eq!(hidden, counts(client, HIDDEN).await);
}

#[tokio::test]
async fn what_is_read_is_what_the_server_says() {
    for major in majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let client = cluster.connect().await;
        let session = Session::connect(&superuser(&cluster)).await.unwrap();
        let readers = BTreeSet::from([role("reader"), role("not_there")]);
        client.batch_execute("CREATE ROLE reader").await.unwrap();
        let empty = inspect_contents(&session, &readers).await.unwrap();
        assert_as_the_server_says(&empty, &client).await;
        client.batch_execute(MANY_KINDS).await.unwrap();
        if cluster.installation().contrib {
            // Functions and types, views, composite types.
            let extensions =
                "CREATE EXTENSION hstore SCHEMA two; CREATE EXTENSION pg_stat_statements SCHEMA one; CREATE EXTENSION tablefunc";
            client.batch_execute(extensions).await.unwrap();
        }
        let contents = inspect_contents(&session, &readers).await.unwrap();
        assert_as_the_server_says(&contents, &client).await;
        let lonely = inspect_contents(&session, &BTreeSet::new()).await.unwrap();
        assert_eq!((lonely.objects_by_owner, lonely.hidden_relations), (contents.objects_by_owner, BTreeSet::new()));
    }
}
