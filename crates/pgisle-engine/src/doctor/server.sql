-- What a checkup asks of the server, as one document: core's ServerFacts. It changes nothing.
WITH log AS (
    SELECT CASE
        WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
        ELSE pg_catalog.pg_current_wal_lsn()
    END AS lsn
),
session AS (
    SELECT a.pid, a.datid, a.usesysid, a.datname::text AS database, a.usename::text AS role, a.application_name AS application,
        a.state, a.xact_start
    FROM pg_catalog.pg_stat_activity AS a
    WHERE a.datname IS NOT NULL AND a.usename IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
        AND (a.backend_type IS NULL OR a.backend_type = 'client backend')
),
-- Whoever waits for less than a second is in nobody's way.
waiting AS (
    SELECT DISTINCT l.pid
    FROM pg_catalog.pg_locks AS l
    WHERE NOT l.granted AND l.waitstart < pg_catalog.clock_timestamp() - interval '1 second'
),
blocking AS (
    SELECT b.pid, pg_catalog.count(*) AS waiting
    FROM waiting AS w, pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b(pid)
    GROUP BY 1
),
held AS (
    SELECT s.role, s.database, s.application, pg_catalog.count(*) AS count,
        pg_catalog.count(*) FILTER (WHERE s.state = 'idle') AS idle
    FROM session AS s
    GROUP BY 1, 2, 3
    ORDER BY 4 DESC, 1, 2, 3
    LIMIT 100
)
SELECT pg_catalog.json_build_object(
    'version', pg_catalog.current_setting('server_version'),
    'is_standby', pg_catalog.pg_is_in_recovery(),
    'upstream', (
        SELECT pg_catalog.json_build_object('host', r.sender_host, 'port', r.sender_port)
        FROM pg_catalog.pg_stat_wal_receiver AS r
        WHERE r.sender_host IS NOT NULL AND r.sender_port IS NOT NULL
    ),
    'is_superuser', (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user),
    'tls', (SELECT s.version FROM pg_catalog.pg_stat_ssl AS s WHERE s.pid = pg_catalog.pg_backend_pid() AND s.ssl),
    'clock_ms', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000)::int8,
    'max_connections', pg_catalog.current_setting('max_connections')::int4,
    'usable_connections', pg_catalog.current_setting('max_connections')::int4
        - pg_catalog.current_setting('superuser_reserved_connections')::int4
        -- From 16 on.
        - COALESCE(pg_catalog.current_setting('reserved_connections', true)::int4, 0),
    'wal_level', pg_catalog.current_setting('wal_level'),
    'fsync', pg_catalog.current_setting('fsync')::bool,
    'full_page_writes', pg_catalog.current_setting('full_page_writes')::bool,
    'pending_restart', (
        SELECT COALESCE(pg_catalog.json_agg(s.name ORDER BY s.name), '[]') FROM pg_catalog.pg_settings AS s WHERE s.pending_restart
    ),
    'data_directory', (SELECT s.setting FROM pg_catalog.pg_settings AS s WHERE s.name = 'data_directory'),
    'databases', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', d.datname,
            'limit', CASE WHEN d.datconnlimit >= 0 THEN d.datconnlimit END,
            'sessions', (SELECT pg_catalog.count(*) FROM session AS s WHERE s.datid = d.oid),
            'collation_made', d.datcollversion,
            'collation_now', pg_catalog.pg_database_collation_actual_version(d.oid)
        ) ORDER BY d.datname), '[]')
        FROM pg_catalog.pg_database AS d
        WHERE d.datconnlimit <> -2
    ),
    'logins', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', r.rolname,
            'limit', CASE WHEN r.rolconnlimit >= 0 THEN r.rolconnlimit END,
            'sessions', (SELECT pg_catalog.count(*) FROM session AS s WHERE s.usesysid = r.oid)
        ) ORDER BY r.rolname), '[]')
        FROM pg_catalog.pg_roles AS r
        WHERE r.rolcanlogin
    ),
    'held', (SELECT COALESCE(pg_catalog.json_agg(h), '[]') FROM held AS h),
    'blockers', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'pid', s.pid,
            'role', s.role,
            'database', s.database,
            'is_idle', COALESCE(s.state LIKE 'idle in transaction%', false),
            'open_s', GREATEST(COALESCE(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - s.xact_start)::int8, 0), 0),
            'waiting', COALESCE(b.waiting, 0)
        ) ORDER BY s.pid), '[]')
        FROM session AS s
        LEFT JOIN blocking AS b USING (pid)
        -- Someone who waits as well is not the one to end.
        WHERE (b.pid IS NOT NULL AND NOT EXISTS (SELECT FROM waiting AS w WHERE w.pid = s.pid)) OR s.state LIKE 'idle in transaction%'
    ),
    'slots', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', s.slot_name,
            'is_active', s.active,
            'status', COALESCE(s.wal_status, 'reserved'),
            'kept_bytes', COALESCE(GREATEST(pg_catalog.pg_wal_lsn_diff(log.lsn, s.restart_lsn)::int8, 0), 0)
        ) ORDER BY s.slot_name), '[]')
        FROM pg_catalog.pg_replication_slots AS s, log
    ),
    'archive', (
        SELECT pg_catalog.json_build_object(
            'is_on', pg_catalog.current_setting('archive_mode') <> 'off',
            'is_failing', COALESCE(s.last_failed_time > COALESCE(s.last_archived_time, '-infinity'), false),
            'failed_file', s.last_failed_wal,
            'failures', s.failed_count
        )
        FROM pg_catalog.pg_stat_archiver AS s
    )
)::text
