-- The extensions of this database, and what the server's machine has of them: core's ExtensionFacts.
SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', e.extname,
    'installed', e.extversion,
    'available', a.default_version,
    'libraries', (
        SELECT COALESCE(pg_catalog.json_agg(DISTINCT pg_catalog.jsonb_build_object('name', p.probin, 'is_there', NULL)), '[]')
        FROM pg_catalog.pg_depend AS d
        JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
        WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
            AND d.refobjid = e.oid AND d.deptype = 'e' AND p.probin IS NOT NULL
    )
) ORDER BY e.extname), '[]')::text
FROM pg_catalog.pg_extension AS e
LEFT JOIN pg_catalog.pg_available_extensions AS a ON a.name = e.extname
