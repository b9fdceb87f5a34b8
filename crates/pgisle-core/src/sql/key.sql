-- The columns by which a table's rows are told apart, the primary key's if there is one, and which of them are whole numbers.
WITH unique_index AS (
    SELECT i.indkey, i.indnkeyatts, i.indrelid
    FROM pg_catalog.pg_index AS i
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid
    INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2
        AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND NOT a.attnotnull
        )
    ORDER BY i.indisprimary DESC, i.indexrelid
    LIMIT 1
)
SELECT a.attname::pg_catalog.text, a.atttypid = ANY ('{int2, int4, int8}'::pg_catalog.regtype[])
FROM unique_index AS u,
    pg_catalog.unnest(u.indkey) WITH ORDINALITY AS k (attnum, place)
    INNER JOIN pg_catalog.pg_attribute AS a ON a.attnum = k.attnum
WHERE a.attrelid = u.indrelid AND k.place <= u.indnkeyatts
ORDER BY k.place
