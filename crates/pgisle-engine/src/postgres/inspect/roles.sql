SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', r.rolname,
    'login', r.rolcanlogin,
    'superuser', r.rolsuper,
    'inherit', r.rolinherit,
    'create_role', r.rolcreaterole,
    'create_db', r.rolcreatedb,
    'replication', r.rolreplication,
    'bypass_rls', r.rolbypassrls,
    'connection_limit', r.rolconnlimit,
    'valid_until', r.rolvaliduntil::pg_catalog.text,
    'settings', COALESCE(r.rolconfig, '{}'))), '[]')::pg_catalog.text
FROM pg_catalog.pg_roles AS r
