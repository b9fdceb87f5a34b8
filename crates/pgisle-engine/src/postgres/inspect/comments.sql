SELECT pg_catalog.json_build_object(
    'roles', COALESCE((
        SELECT pg_catalog.json_object_agg(r.rolname, c.description)
        FROM pg_catalog.pg_shdescription AS c
        JOIN pg_catalog.pg_roles AS r ON r.oid = c.objoid
        WHERE c.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass), '{}'),
    'databases', COALESCE((
        SELECT pg_catalog.json_object_agg(d.datname, c.description)
        FROM pg_catalog.pg_shdescription AS c
        JOIN pg_catalog.pg_database AS d ON d.oid = c.objoid
        WHERE c.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass), '{}'))::pg_catalog.text
