-- What is inside of one database. $1 holds the names of the roles whose SELECT privileges are of interest. A connection asks this once
-- and then goes, so most of what it costs is the planning on cold caches: each catalog is named as seldom as can be.
WITH namespace AS MATERIALIZED (
    SELECT n.oid, n.nspname, n.nspowner, n.nspacl
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')
), object AS MATERIALIZED (
    -- What somebody made, and no extension. A type of its own is a relation (`c`), and is counted once.
    SELECT f.oid, f.owner, f.relkind, n.nspname, n.oid AS namespace
    FROM (
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS classid, c.oid, c.relowner AS owner, c.relkind, c.relnamespace AS namespace
        FROM pg_catalog.pg_class AS c
        WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, p.proowner, NULL, p.pronamespace
        FROM pg_catalog.pg_proc AS p
        WHERE p.oid >= 16384
        UNION ALL
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, t.typowner, NULL, t.typnamespace
        FROM pg_catalog.pg_type AS t
        WHERE t.oid >= 16384 AND t.typtype IN ('b', 'd', 'e', 'r') AND NOT (t.typelem <> 0 AND t.typcategory = 'A')
        UNION ALL
        SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, s.oid, s.nspowner, NULL, s.oid
        FROM namespace AS s
        WHERE s.oid >= 16384
    ) AS f
    JOIN namespace AS n ON n.oid = f.namespace
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = f.classid AND d.objid = f.oid AND d.deptype = 'e')
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
        FROM (SELECT w.owner, pg_catalog.count(*) AS objects FROM object AS w GROUP BY w.owner) AS o),
    'hidden_relations', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'reader', h.reader, 'owner', pg_catalog.pg_get_userbyid(h.owner), 'schema', h.nspname, 'relations', h.relations)), '[]')
        FROM (
            SELECT i.reader, r.owner, r.nspname, pg_catalog.count(*) AS relations
            FROM (
                -- A role that does not exist has no number: its privileges are NULL, and no row of it is left.
                SELECT u.reader, pg_catalog.to_regrole(pg_catalog.quote_ident(u.reader))::pg_catalog.oid AS oid
                FROM pg_catalog.unnest($1::pg_catalog.text[]) AS u (reader)) AS i
            CROSS JOIN object AS r
            WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f')
                AND NOT (pg_catalog.has_schema_privilege(i.oid, r.namespace, 'USAGE')
                    AND pg_catalog.has_table_privilege(i.oid, r.oid, 'SELECT'))
            GROUP BY i.reader, r.owner, r.nspname) AS h)
    )::pg_catalog.text
