-- A digest of everything that the relations in $1 are made of, but for keys that refer to others, and for the fence.
SELECT pg_catalog.md5(COALESCE(pg_catalog.string_agg(s.part, ',' ORDER BY s.part), ''))
FROM (
    SELECT 'relation ' || c.oid AS part FROM pg_catalog.pg_class AS c WHERE c.oid = ANY ($1::pg_catalog.oid[])
    UNION ALL
    SELECT 'column ' || a.attrelid || ' ' || a.attnum || ' ' || a.atttypid || ' ' || a.attcollation
    FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'default ' || d.oid FROM pg_catalog.pg_attrdef AS d WHERE d.adrelid = ANY ($1::pg_catalog.oid[])
    UNION ALL
    SELECT 'index ' || i.indexrelid FROM pg_catalog.pg_index AS i WHERE i.indrelid = ANY ($1::pg_catalog.oid[])
    UNION ALL
    SELECT 'constraint ' || c.oid
    FROM pg_catalog.pg_constraint AS c
    WHERE c.conrelid = ANY ($1::pg_catalog.oid[]) AND (c.contype <> 'f' OR c.confrelid = ANY ($1::pg_catalog.oid[]))
    UNION ALL
    SELECT 'trigger ' || t.oid
    FROM pg_catalog.pg_trigger AS t
    WHERE t.tgrelid = ANY ($1::pg_catalog.oid[]) AND NOT t.tgisinternal AND t.tgname <> 'pgisle_split_fence'
    UNION ALL
    SELECT 'policy ' || p.oid FROM pg_catalog.pg_policy AS p WHERE p.polrelid = ANY ($1::pg_catalog.oid[])
    UNION ALL
    SELECT 'rule ' || r.oid FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = ANY ($1::pg_catalog.oid[])
    UNION ALL
    SELECT 'statistics ' || s.oid FROM pg_catalog.pg_statistic_ext AS s WHERE s.stxrelid = ANY ($1::pg_catalog.oid[])
    UNION ALL
    SELECT 'parent ' || i.inhrelid || ' ' || i.inhparent FROM pg_catalog.pg_inherits AS i
    WHERE i.inhrelid = ANY ($1::pg_catalog.oid[]) OR i.inhparent = ANY ($1::pg_catalog.oid[])
    UNION ALL
    SELECT 'serial ' || d.objid || ' ' || d.refobjid || ' ' || d.refobjsubid
    FROM pg_catalog.pg_depend AS d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.objid = ANY ($1::pg_catalog.oid[]) AND d.refobjid = ANY ($1::pg_catalog.oid[]) AND d.deptype IN ('a', 'i')
) AS s
