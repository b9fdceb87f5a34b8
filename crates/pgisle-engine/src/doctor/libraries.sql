-- The libraries that functions of this database are in and that are not on the server's machine; superusers may ask. What a search along
-- another dynamic_library_path would find is not known.
SELECT COALESCE(pg_catalog.json_agg(l.probin), '[]')::text
FROM (
    SELECT DISTINCT p.probin
    FROM pg_catalog.pg_proc AS p
    WHERE p.probin LIKE '/%' OR (p.probin LIKE '$libdir/%' AND pg_catalog.current_setting('dynamic_library_path') = '$libdir')
) AS l
CROSS JOIN (SELECT c.setting FROM pg_catalog.pg_config() AS c WHERE c.name = 'PKGLIBDIR') AS folder
WHERE NOT EXISTS (
    SELECT
    FROM pg_catalog.unnest(ARRAY['', '.so', '.dylib', '.dll']) AS suffix
    -- Of a row, IS NOT NULL would ask for all of its columns.
    WHERE (pg_catalog.pg_stat_file(pg_catalog.replace(l.probin, '$libdir', folder.setting) || suffix, true)).size IS NOT NULL
)
