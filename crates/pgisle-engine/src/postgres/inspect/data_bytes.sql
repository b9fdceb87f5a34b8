-- How much the ordinary tables of one database hold, without the system's and without what belongs to an extension.
WITH relation AS MATERIALIZED (
    SELECT c.oid, c.reltoastrelid, c.relpages
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend AS d
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
), busy AS MATERIALIZED (
    -- To measure one of these would be to wait for whoever holds it.
    SELECT DISTINCT l.relation
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
)
SELECT ((
        SELECT COALESCE(pg_catalog.sum(
            CASE WHEN b.relation IS NULL
                THEN COALESCE(pg_catalog.pg_relation_size(r.oid), 0)
                    + COALESCE(pg_catalog.pg_relation_size(NULLIF(r.reltoastrelid, 0)::pg_catalog.regclass), 0)
                -- At least a page: better to ask once too often than to lose data.
                ELSE GREATEST(r.relpages, 1)::pg_catalog.int8 * 8192
            END), 0)
        FROM relation AS r
        LEFT JOIN busy AS b ON b.relation = r.oid)
        + CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)
            THEN GREATEST(pg_catalog.pg_relation_size('pg_catalog.pg_largeobject'), 8192)
            ELSE 0
        END)::pg_catalog.int8::pg_catalog.text
