WITH config AS (
    SELECT u.relation, u.condition
    FROM pg_catalog.pg_extension AS e,
        ROWS FROM (pg_catalog.unnest(e.extconfig), pg_catalog.unnest(e.extcondition)) AS u (relation, condition)
)
SELECT
    n.nspname::pg_catalog.text,
    c.relname::pg_catalog.text,
    c.relkind = 'S',
    COALESCE(config.condition, ''),
    CASE WHEN c.relkind = 'S' THEN 0 ELSE pg_catalog.pg_relation_size(c.oid) END,
    COALESCE(
        (
            SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        ),
        '{}'
    )
FROM pg_catalog.pg_class AS c
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN config ON config.relation = c.oid
WHERE c.relkind IN ('r', 'S')
    AND c.relpersistence <> 't'
    AND n.nspname !~ '^pg_'
    AND n.nspname <> 'information_schema'
    AND (
        config.relation IS NOT NULL
        OR NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend AS d
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
        )
    )
ORDER BY 5 DESC, 1, 2
