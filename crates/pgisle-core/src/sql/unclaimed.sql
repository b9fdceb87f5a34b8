-- What a clone of the shared database is rid of: rank, object type, identity, owner; in this order.
-- $1 and $2 have the numbers of relations and functions that stay, $3 the names of types.
WITH member AS MATERIALIZED (
    SELECT d.classid, d.objid
    FROM pg_catalog.pg_depend AS d
    WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
), namespace AS MATERIALIZED (
    SELECT n.oid, n.nspname, n.nspowner
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')
), candidate(rank, classid, objid, owner) AS (
    SELECT 0, 'pg_catalog.pg_event_trigger'::pg_catalog.regclass::pg_catalog.oid, e.oid, e.evtowner
    FROM pg_catalog.pg_event_trigger AS e
    UNION ALL
    SELECT 0, 'pg_catalog.pg_publication'::pg_catalog.regclass::pg_catalog.oid, p.oid, p.pubowner
    FROM pg_catalog.pg_publication AS p
    UNION ALL
    SELECT CASE WHEN c.relkind IN ('v', 'm') THEN 1 WHEN c.relkind = 'S' THEN 3 ELSE 2 END,
        'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.relowner
    FROM pg_catalog.pg_class AS c
    JOIN namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.oid <> ALL ($1::pg_catalog.oid[])
    UNION ALL
    SELECT 5, 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid, p.oid, p.proowner
    FROM pg_catalog.pg_proc AS p
    JOIN namespace AS n ON n.oid = p.pronamespace
    WHERE p.oid <> ALL ($2::pg_catalog.oid[])
    UNION ALL
    SELECT 4, 'pg_catalog.pg_cast'::pg_catalog.regclass::pg_catalog.oid, c.oid, t.typowner
    FROM pg_catalog.pg_cast AS c
    JOIN pg_catalog.pg_type AS t ON t.oid = c.castsource
    WHERE c.oid >= 16384
    UNION ALL
    SELECT 4, 'pg_catalog.pg_opclass'::pg_catalog.regclass::pg_catalog.oid, o.oid, o.opcowner
    FROM pg_catalog.pg_opclass AS o
    JOIN namespace AS n ON n.oid = o.opcnamespace
    UNION ALL
    SELECT 4, 'pg_catalog.pg_opfamily'::pg_catalog.regclass::pg_catalog.oid, o.oid, o.opfowner
    FROM pg_catalog.pg_opfamily AS o
    JOIN namespace AS n ON n.oid = o.opfnamespace
    UNION ALL
    SELECT 4, 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid, o.oid, o.oprowner
    FROM pg_catalog.pg_operator AS o
    JOIN namespace AS n ON n.oid = o.oprnamespace
    UNION ALL
    SELECT 4, 'pg_catalog.pg_conversion'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.conowner
    FROM pg_catalog.pg_conversion AS c
    JOIN namespace AS n ON n.oid = c.connamespace
    UNION ALL
    SELECT 4, 'pg_catalog.pg_ts_config'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.cfgowner
    FROM pg_catalog.pg_ts_config AS c
    JOIN namespace AS n ON n.oid = c.cfgnamespace
    UNION ALL
    SELECT 5, 'pg_catalog.pg_ts_dict'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.dictowner
    FROM pg_catalog.pg_ts_dict AS c
    JOIN namespace AS n ON n.oid = c.dictnamespace
    UNION ALL
    SELECT 6, 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid, t.oid, t.typowner
    FROM pg_catalog.pg_type AS t
    JOIN namespace AS n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
    WHERE (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c') OR (t.typtype = 'b' AND t.typelem = 0))
        AND pg_catalog.format('%s.%s', n.nspname, t.typname) <> ALL ($3::pg_catalog.text[])
    UNION ALL
    SELECT 7, 'pg_catalog.pg_collation'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.collowner
    FROM pg_catalog.pg_collation AS c
    JOIN namespace AS n ON n.oid = c.collnamespace
    UNION ALL
    SELECT 7, 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass::pg_catalog.oid, s.oid, s.stxowner
    FROM pg_catalog.pg_statistic_ext AS s
    WHERE s.stxrelid <> ALL ($1::pg_catalog.oid[])
    UNION ALL
    -- With its user mappings, which have passwords in them.
    SELECT 3, 'pg_catalog.pg_foreign_server'::pg_catalog.regclass::pg_catalog.oid, s.oid, s.srvowner
    FROM pg_catalog.pg_foreign_server AS s
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_foreign_table AS f WHERE f.ftserver = s.oid AND f.ftrelid = ANY ($1::pg_catalog.oid[]))
    UNION ALL
    SELECT 8, 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass::pg_catalog.oid, w.oid, w.fdwowner
    FROM pg_catalog.pg_foreign_data_wrapper AS w
    UNION ALL
    SELECT 8, 'pg_catalog.pg_language'::pg_catalog.regclass::pg_catalog.oid, l.oid, l.lanowner
    FROM pg_catalog.pg_language AS l
    WHERE l.oid >= 16384
    UNION ALL
    SELECT 9, 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid, n.oid, n.nspowner
    FROM namespace AS n
    WHERE n.nspname <> 'public'
)
SELECT c.rank, o.type, o.identity, pg_catalog.pg_get_userbyid(c.owner)::pg_catalog.text
FROM candidate AS c
CROSS JOIN LATERAL pg_catalog.pg_identify_object(c.classid, c.objid, 0) AS o
WHERE o.identity IS NOT NULL
    AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = c.classid AND m.objid = c.objid)
ORDER BY c.rank, 4, 2, 3
