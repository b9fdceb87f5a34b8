SELECT
    n.nspname::pg_catalog.text,
    c.relname::pg_catalog.text,
    COALESCE(
        (
            SELECT pg_catalog.array_agg(
                a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
                || CASE WHEN a.attgenerated = '' THEN '' ELSE ' generated' END
                ORDER BY a.attname)
            FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        ),
        '{}'
    )
FROM pg_catalog.pg_class AS c
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
    AND c.relpersistence <> 't'
    AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')
    AND n.nspname NOT IN ('information_schema', 'pgisle_split')
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend AS d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
    )
ORDER BY 1, 2
