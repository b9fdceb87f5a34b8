SELECT pg_catalog.json_build_object(
    'version_num', pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
    'version', pg_catalog.current_setting('server_version'),
    'in_recovery', pg_catalog.pg_is_in_recovery(),
    'max_connections', pg_catalog.current_setting('max_connections')::pg_catalog.int4,
    'superuser_reserved_connections', pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4,
    -- From PostgreSQL 16.
    'reserved_connections', COALESCE(pg_catalog.current_setting('reserved_connections', true), '0')::pg_catalog.int4,
    'wal_level', pg_catalog.current_setting('wal_level'),
    'default_collation', COALESCE((SELECT d.datcollate FROM pg_catalog.pg_database AS d WHERE d.datname = 'template0'), 'C'),
    'role', r.rolname,
    'superuser', r.rolsuper,
    'create_role', r.rolcreaterole,
    'create_db', r.rolcreatedb,
    'cloud_superuser', EXISTS (
        SELECT FROM pg_catalog.pg_roles AS c
        WHERE c.rolname IN ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', 'alloydbsuperuser', 'neon_superuser')
            AND pg_catalog.pg_has_role(r.oid, c.oid, 'MEMBER')),
    'reads_verifiers', pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'),
    'reads_settings', pg_catalog.has_table_privilege('pg_catalog.pg_db_role_setting', 'SELECT'),
    'reads_comments', pg_catalog.has_table_privilege('pg_catalog.pg_shdescription', 'SELECT'))::pg_catalog.text
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = CURRENT_USER
