-- What is inside of one database. $1 holds the names of the roles whose SELECT privileges are of interest.
WITH member AS MATERIALIZED (
    -- What belongs to an extension.
    SELECT d.classid, d.objid
    FROM pg_catalog.pg_depend AS d
    WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
), namespace AS MATERIALIZED (
    SELECT n.oid, n.nspname, n.nspowner, n.nspacl
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')
), relation AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relkind, c.relowner, c.reltoastrelid, c.relpages, n.nspname, n.oid AS namespace
    FROM pg_catalog.pg_class AS c
    JOIN namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
        AND NOT EXISTS (
            SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND m.objid = c.oid)
), owned AS (
    -- A type of its own (`c`) is counted once, here.
    SELECT r.relowner AS owner FROM relation AS r
    UNION ALL
    SELECT p.proowner
    FROM pg_catalog.pg_proc AS p
    JOIN namespace AS n ON n.oid = p.pronamespace
    WHERE p.oid >= 16384
        AND NOT EXISTS (
            SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND m.objid = p.oid)
    UNION ALL
    SELECT t.typowner
    FROM pg_catalog.pg_type AS t
    JOIN namespace AS n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('b', 'd', 'e', 'r') AND NOT (t.typelem <> 0 AND t.typcategory = 'A')
        AND NOT EXISTS (
            SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND m.objid = t.oid)
    UNION ALL
    SELECT n.nspowner
    FROM namespace AS n
    WHERE n.oid >= 16384
        AND NOT EXISTS (
            SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND m.objid = n.oid)
), busy AS MATERIALIZED (
    -- To measure one of these would be to wait for whoever holds it.
    SELECT l.relation
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
)
SELECT pg_catalog.json_build_object(
    'schemas', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', n.nspname,
            'owner', pg_catalog.pg_get_userbyid(n.nspowner),
            'acl', (
                SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(
                    CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
                    pg_catalog.pg_get_userbyid(a.grantor), a.privilege_type, a.is_grantable)), '[]')
                FROM pg_catalog.aclexplode(COALESCE(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) AS a))), '[]')
        FROM namespace AS n),
    'extensions', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', e.extname,
            'version', e.extversion,
            'schema', n.nspname)), '[]')
        FROM pg_catalog.pg_extension AS e
        JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace),
    'default_acls', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'role', pg_catalog.pg_get_userbyid(d.defaclrole),
            'schema', n.nspname,
            'objects', d.defaclobjtype,
            'acl', (
                SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(
                    CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
                    pg_catalog.pg_get_userbyid(a.grantor), a.privilege_type, a.is_grantable)), '[]')
                FROM pg_catalog.aclexplode(d.defaclacl) AS a))), '[]')
        FROM pg_catalog.pg_default_acl AS d
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace),
    'objects_by_owner', (
        SELECT COALESCE(pg_catalog.json_object_agg(pg_catalog.pg_get_userbyid(o.owner), o.objects), '{}')
        FROM (SELECT w.owner, pg_catalog.count(*) AS objects FROM owned AS w GROUP BY w.owner) AS o),
    'hidden_relations', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'reader', h.rolname, 'owner', pg_catalog.pg_get_userbyid(h.relowner), 'schema', h.nspname, 'relations', h.relations)), '[]')
        FROM (
            SELECT i.rolname, r.relowner, r.nspname, pg_catalog.count(*) AS relations
            FROM pg_catalog.pg_roles AS i
            CROSS JOIN relation AS r
            WHERE i.rolname = ANY ($1) AND r.relkind IN ('r', 'p', 'v', 'm', 'f')
                AND NOT (pg_catalog.has_schema_privilege(i.oid, r.namespace, 'USAGE')
                    AND pg_catalog.has_table_privilege(i.oid, r.oid, 'SELECT'))
            GROUP BY i.rolname, r.relowner, r.nspname) AS h),
    'data_bytes', (
        SELECT COALESCE(pg_catalog.sum(
            CASE WHEN b.relation IS NULL
                THEN COALESCE(pg_catalog.pg_relation_size(r.oid), 0)
                    + COALESCE(pg_catalog.pg_relation_size(NULLIF(r.reltoastrelid, 0)::pg_catalog.regclass), 0)
                -- At least a page: better to ask once too often than to lose data.
                ELSE GREATEST(r.relpages, 1)::pg_catalog.int8 * 8192
            END), 0)
        FROM relation AS r
        LEFT JOIN (SELECT DISTINCT y.relation FROM busy AS y) AS b ON b.relation = r.oid
        WHERE r.relkind = 'r')
        + CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)
            THEN GREATEST(pg_catalog.pg_relation_size('pg_catalog.pg_largeobject'), 8192)
            ELSE 0
        END)::pg_catalog.text
