-- What the server allows and who is writing.
SELECT pg_catalog.json_build_object(
    'bytes', pg_catalog.pg_database_size(pg_catalog.current_database()),
    'can_be_template', (
        SELECT a.rolsuper OR d.datistemplate OR pg_catalog.pg_has_role(d.datdba, 'USAGE')
        FROM pg_catalog.pg_roles AS a, pg_catalog.pg_database AS d
        WHERE a.rolname = current_user AND d.datname = pg_catalog.current_database()),
    'replication', pg_catalog.json_build_object(
        'version_num', pg_catalog.current_setting('server_version_num')::pg_catalog.int8,
        'wal_level', pg_catalog.current_setting('wal_level'),
        'slots_free', GREATEST(pg_catalog.current_setting('max_replication_slots')::pg_catalog.int8
            - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots), 0),
        'may_replicate', (
            SELECT a.rolsuper OR a.rolreplication FROM pg_catalog.pg_roles AS a WHERE a.rolname = current_user)),
    'sees_others', (
        SELECT a.rolsuper OR EXISTS (
            SELECT FROM pg_catalog.pg_roles AS p
            WHERE p.rolname = 'pg_read_all_stats' AND pg_catalog.pg_has_role(p.oid, 'USAGE'))
        FROM pg_catalog.pg_roles AS a WHERE a.rolname = current_user),
    'statements_schema', (
        SELECT n.nspname
        FROM pg_catalog.pg_extension AS e
        JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_stat_statements'),
    'writers', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'backend_pid', a.pid,
            'database', COALESCE(a.datname, ''),
            'role', COALESCE(a.usename, ''),
            'application_name', COALESCE(a.application_name, ''),
            'age_s', GREATEST(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start), 0)::pg_catalog.int8)
            ORDER BY a.xact_start), '[]')
        FROM pg_catalog.pg_stat_activity AS a
        WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid())
)::pg_catalog.text
