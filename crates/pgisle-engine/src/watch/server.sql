-- What the statistics of the whole cluster say, as one document: core's ServerSample.
WITH log AS (
    SELECT CASE
        WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
        ELSE pg_catalog.pg_current_wal_lsn()
    END AS lsn
),
session AS (
    SELECT
        a.datname::pg_catalog.text AS database,
        a.usename::pg_catalog.text AS role,
        -- Whoever may not read a session sees no state.
        CASE
            WHEN a.state IS NULL THEN 'unknown'
            WHEN a.state = 'active' AND a.wait_event_type = 'Lock' THEN 'waiting'
            WHEN a.state IN ('active', 'fastpath function call') THEN 'active'
            WHEN a.state LIKE 'idle in transaction%' THEN 'idle_in_transaction'
            ELSE 'idle'
        END AS state,
        pg_catalog.count(*) AS count,
        pg_catalog.date_part('epoch', pg_catalog.max(pg_catalog.clock_timestamp() - a.xact_start))::pg_catalog.int8 AS oldest_transaction_s
    FROM pg_catalog.pg_stat_activity AS a
    WHERE a.datname IS NOT NULL AND a.usename IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
        AND (a.backend_type IS NULL OR a.backend_type = 'client backend')
    GROUP BY 1, 2, 3
)
SELECT pg_catalog.json_build_object(
    'version', pg_catalog.current_setting('server_version'),
    'is_standby', pg_catalog.pg_is_in_recovery(),
    'uptime_s', pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - pg_catalog.pg_postmaster_start_time())::pg_catalog.int8,
    'max_connections', pg_catalog.current_setting('max_connections')::pg_catalog.int4,
    'usable_connections', pg_catalog.current_setting('max_connections')::pg_catalog.int4
        - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4
        -- From 16 on.
        - COALESCE(pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int4, 0),
    'archive_failing_s', (
        SELECT pg_catalog.date_part(
            'epoch', pg_catalog.clock_timestamp() - COALESCE(s.last_archived_time, s.last_failed_time)
        )::pg_catalog.int8
        FROM pg_catalog.pg_stat_archiver AS s
        WHERE s.last_failed_time > COALESCE(s.last_archived_time, '-infinity')
    ),
    'databases', (
        SELECT pg_catalog.json_object_agg(d.datname, pg_catalog.json_build_object(
            'bytes', NULL,
            'connection_limit', CASE WHEN d.datconnlimit >= 0 THEN d.datconnlimit END,
            'frozen_age', pg_catalog.age(d.datfrozenxid),
            'counters', pg_catalog.json_build_object(
                'commits', COALESCE(s.xact_commit, 0),
                'rollbacks', COALESCE(s.xact_rollback, 0),
                'blocks_read', COALESCE(s.blks_read, 0),
                'blocks_hit', COALESCE(s.blks_hit, 0),
                'rows_written', COALESCE(s.tup_inserted + s.tup_updated + s.tup_deleted, 0),
                'temporary_bytes', COALESCE(s.temp_bytes, 0),
                'deadlocks', COALESCE(s.deadlocks, 0)
            )
        ))
        FROM pg_catalog.pg_database AS d
        LEFT JOIN pg_catalog.pg_stat_database AS s ON s.datid = d.oid
        WHERE d.datconnlimit <> -2
    ),
    'login_limits', (
        SELECT pg_catalog.json_object_agg(r.rolname, CASE WHEN r.rolconnlimit >= 0 THEN r.rolconnlimit END)
        FROM pg_catalog.pg_roles AS r
        WHERE r.rolcanlogin
    ),
    'sessions', (SELECT COALESCE(pg_catalog.json_agg(s), '[]') FROM session AS s),
    'receivers', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', r.application_name,
            'state', COALESCE(r.state, 'unknown'),
            'sync_state', COALESCE(r.sync_state, 'unknown'),
            'behind_bytes', GREATEST(pg_catalog.pg_wal_lsn_diff(log.lsn, r.replay_lsn)::pg_catalog.int8, 0),
            'behind_ms', (pg_catalog.date_part('epoch', r.replay_lag) * 1000)::pg_catalog.int8
        )), '[]')
        FROM pg_catalog.pg_stat_replication AS r, log
    ),
    'slots', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', s.slot_name,
            'is_active', s.active,
            'is_lost', COALESCE(s.wal_status = 'lost', false),
            'kept_bytes', COALESCE(GREATEST(pg_catalog.pg_wal_lsn_diff(log.lsn, s.restart_lsn)::pg_catalog.int8, 0), 0)
        )), '[]')
        FROM pg_catalog.pg_replication_slots AS s, log
    )
)::pg_catalog.text
