-- What is left in a clone that has been rid of the rest: object type, identity, owner, whether that can be changed by itself, and
-- the roles that were granted something, PUBLIC as an empty name.
WITH member AS MATERIALIZED (
    SELECT d.classid, d.objid
    FROM pg_catalog.pg_depend AS d
    WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
), namespace AS MATERIALIZED (
    SELECT n.oid, n.nspname, n.nspowner, n.nspacl
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')
), kept(rank, classid, objid, owner, is_free, acl) AS (
    SELECT 0, 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid, n.oid, n.nspowner, n.nspname <> 'public', n.nspacl
    FROM namespace AS n
    UNION ALL
    SELECT 1, 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.relowner,
        NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend AS d
            WHERE c.relkind = 'S' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')),
        COALESCE(c.relacl, '{}') || (
            SELECT COALESCE(pg_catalog.array_agg(i), '{}')
            FROM pg_catalog.pg_attribute AS a, pg_catalog.unnest(a.attacl) AS i WHERE a.attrelid = c.oid)
    FROM pg_catalog.pg_class AS c
    JOIN namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT 2, 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid, p.oid, p.proowner, true, p.proacl
    FROM pg_catalog.pg_proc AS p
    JOIN namespace AS n ON n.oid = p.pronamespace
    UNION ALL
    SELECT 2, 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid, t.oid, t.typowner, true, t.typacl
    FROM pg_catalog.pg_type AS t
    JOIN namespace AS n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
    WHERE t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c') OR (t.typtype = 'b' AND t.typelem = 0)
    UNION ALL
    SELECT 2, 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid, o.oid, o.oprowner, true, NULL
    FROM pg_catalog.pg_operator AS o
    JOIN namespace AS n ON n.oid = o.oprnamespace
    UNION ALL
    SELECT 2, 'pg_catalog.pg_opclass'::pg_catalog.regclass::pg_catalog.oid, o.oid, o.opcowner, true, NULL
    FROM pg_catalog.pg_opclass AS o
    JOIN namespace AS n ON n.oid = o.opcnamespace
    UNION ALL
    SELECT 2, 'pg_catalog.pg_opfamily'::pg_catalog.regclass::pg_catalog.oid, o.oid, o.opfowner, true, NULL
    FROM pg_catalog.pg_opfamily AS o
    JOIN namespace AS n ON n.oid = o.opfnamespace
    UNION ALL
    SELECT 2, 'pg_catalog.pg_collation'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.collowner, true, NULL
    FROM pg_catalog.pg_collation AS c
    JOIN namespace AS n ON n.oid = c.collnamespace
    UNION ALL
    SELECT 2, 'pg_catalog.pg_ts_config'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.cfgowner, true, NULL
    FROM pg_catalog.pg_ts_config AS c
    JOIN namespace AS n ON n.oid = c.cfgnamespace
    UNION ALL
    SELECT 2, 'pg_catalog.pg_ts_dict'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.dictowner, true, NULL
    FROM pg_catalog.pg_ts_dict AS c
    JOIN namespace AS n ON n.oid = c.dictnamespace
    UNION ALL
    SELECT 2, 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass::pg_catalog.oid, s.oid, s.stxowner, true, NULL
    FROM pg_catalog.pg_statistic_ext AS s
    UNION ALL
    SELECT 3, 'pg_catalog.pg_largeobject'::pg_catalog.regclass::pg_catalog.oid, l.oid, l.lomowner, true, l.lomacl
    FROM pg_catalog.pg_largeobject_metadata AS l
)
SELECT o.type, o.identity, pg_catalog.pg_get_userbyid(k.owner)::pg_catalog.text, k.is_free, (
    SELECT COALESCE(pg_catalog.array_agg(DISTINCT CASE e.grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(e.grantee) END::pg_catalog.text), '{}')
    -- An array without elements is no list of privileges.
    FROM pg_catalog.aclexplode(NULLIF(k.acl, '{}')) AS e
    WHERE e.grantee <> k.owner)
FROM kept AS k
CROSS JOIN LATERAL pg_catalog.pg_identify_object(k.classid, k.objid, 0) AS o
WHERE NOT EXISTS (SELECT FROM member AS m WHERE m.classid = k.classid AND m.objid = k.objid)
ORDER BY k.rank, 1, 2
