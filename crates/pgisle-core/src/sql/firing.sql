WITH wanted AS (
    SELECT c.oid, n.nspname, c.relname
    FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS w (schema, name)
    INNER JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema
    INNER JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name
)
SELECT w.nspname::pg_catalog.text, w.relname::pg_catalog.text, t.tgname::pg_catalog.text, false, t.tgenabled::pg_catalog.text
FROM wanted AS w
INNER JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = w.oid
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgname <> 'pgisle_split_fence'
UNION ALL
SELECT w.nspname::pg_catalog.text, w.relname::pg_catalog.text, r.rulename::pg_catalog.text, true, r.ev_enabled::pg_catalog.text
FROM wanted AS w
INNER JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = w.oid
WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
ORDER BY 1, 2, 4, 3
