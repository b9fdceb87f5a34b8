-- What is in the shared database and belongs to no extension.
WITH member AS MATERIALIZED (
    SELECT d.classid, d.objid
    FROM pg_catalog.pg_depend AS d
    WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
), namespace AS MATERIALIZED (
    SELECT n.oid, n.nspname
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname NOT IN ('information_schema', 'pgisle_split')
        AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')
), relation AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relreplident, c.reltuples, c.relpages, c.reltype, c.relowner, n.nspname
    FROM pg_catalog.pg_class AS c
    JOIN namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
        AND NOT EXISTS (
            SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND m.objid = c.oid)
), routine AS MATERIALIZED (
    SELECT p.oid, p.proname, p.prosrc, p.prosqlbody, p.prokind, n.nspname
    FROM pg_catalog.pg_proc AS p
    JOIN namespace AS n ON n.oid = p.pronamespace
    WHERE NOT EXISTS (
        SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND m.objid = p.oid)
), busy AS MATERIALIZED (
    -- To measure one of these would be to wait for whoever holds it.
    SELECT DISTINCT l.relation
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
), depends AS MATERIALIZED (
    -- What a rewrite rule, a default, a trigger, a constraint or a policy needs, by the relation that has it.
    SELECT r.ev_class AS relation, d.refclassid, d.refobjid
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_rewrite AS r ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid
    UNION
    SELECT a.adrelid, d.refclassid, d.refobjid
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_attrdef AS a ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND a.oid = d.objid
    UNION
    SELECT t.tgrelid, 'pg_catalog.pg_proc'::pg_catalog.regclass, t.tgfoid
    FROM pg_catalog.pg_trigger AS t
    WHERE NOT t.tgisinternal
    UNION
    SELECT c.conrelid, d.refclassid, d.refobjid
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_constraint AS c ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND c.oid = d.objid
    WHERE c.conrelid <> 0
    UNION
    SELECT p.polrelid, d.refclassid, d.refobjid
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_policy AS p ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid = d.objid
    UNION
    -- An index on an expression.
    SELECT i.indrelid, d.refclassid, d.refobjid
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_index AS i ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.indexrelid = d.objid
), own_type AS MATERIALIZED (
    SELECT t.oid, t.typname, t.typarray, n.nspname
    FROM pg_catalog.pg_type AS t
    JOIN namespace AS n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
    WHERE (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))
        AND NOT EXISTS (
            SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND m.objid = t.oid)
)
SELECT pg_catalog.json_build_object(
    'relations', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'oid', r.oid::pg_catalog.int8,
            'schema', r.nspname,
            'name', r.relname,
            'kind', r.relkind,
            'bytes', CASE
                WHEN r.relkind NOT IN ('r', 'm') THEN 0
                WHEN b.relation IS NULL THEN COALESCE(pg_catalog.pg_total_relation_size(r.oid), 0)
                ELSE r.relpages::pg_catalog.int8 * 8192
            END,
            'rows', CASE WHEN r.reltuples >= 0 THEN r.reltuples::pg_catalog.int8 END,
            'parent', (
                SELECT i.inhparent::pg_catalog.int8
                FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = r.oid ORDER BY i.inhseqno LIMIT 1),
            'identity', CASE
                WHEN r.relkind NOT IN ('r', 'p') OR r.relreplident = 'f' THEN 'full'
                WHEN r.relreplident = 'n' THEN 'nothing'
                WHEN EXISTS (
                    SELECT FROM pg_catalog.pg_index AS i
                    WHERE i.indrelid = r.oid
                        AND (CASE r.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END)) THEN 'key'
                ELSE 'nothing'
            END,
            'owner', pg_catalog.pg_get_userbyid(r.relowner),
            'is_unlogged', r.relpersistence = 'u',
            -- A binary row names the types of array elements and of composite types by number, which another database numbers
            -- otherwise. Those of the server itself are the same everywhere.
            'is_portable', NOT EXISTS (
                SELECT FROM pg_catalog.pg_attribute AS a
                JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
                LEFT JOIN pg_catalog.pg_type AS b ON b.oid = t.typbasetype
                WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
                    AND (t.oid >= 16384 OR b.oid >= 16384)
                    AND (t.typtype NOT IN ('b', 'e', 'd') OR t.typelem <> 0
                        OR (b.oid IS NOT NULL AND (b.typtype NOT IN ('b', 'e') OR (b.oid >= 16384 AND b.typelem <> 0))))),
            'columns', (
                SELECT COALESCE(pg_catalog.json_agg(a.attname ORDER BY a.attnum), '[]')
                FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND r.relkind IN ('r', 'p')),
            'points_to_large_objects', EXISTS (
                SELECT FROM pg_catalog.pg_attribute AS a
                JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
                WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped AND r.relkind = 'r'
                    AND (t.oid = 'pg_catalog.oid'::pg_catalog.regtype OR t.typname = 'lo'))
            ) ORDER BY r.nspname, r.relname), '[]')
        FROM relation AS r
        LEFT JOIN busy AS b ON b.relation = r.oid),
    'foreign_keys', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', c.conname,
            'source', c.conrelid::pg_catalog.int8,
            'target', c.confrelid::pg_catalog.int8,
            'on_delete', c.confdeltype,
            'definition', pg_catalog.pg_get_constraintdef(c.oid)) ORDER BY c.conrelid, c.conname), '[]')
        FROM pg_catalog.pg_constraint AS c
        WHERE c.contype = 'f' AND c.conparentid = 0
            AND c.conrelid IN (SELECT r.oid FROM relation AS r) AND c.confrelid IN (SELECT r.oid FROM relation AS r)),
    'views', (
        SELECT COALESCE(pg_catalog.json_agg(DISTINCT pg_catalog.jsonb_build_object(
            'view', d.relation::pg_catalog.int8, 'relation', d.refobjid::pg_catalog.int8)), '[]')
        FROM depends AS d
        JOIN relation AS v ON v.oid = d.relation AND v.relkind IN ('v', 'm')
        JOIN relation AS r ON r.oid = d.refobjid
        WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> d.relation),
    'functions', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'oid', p.oid::pg_catalog.int8,
            'signature', pg_catalog.format('%I.%I(%s)', p.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)),
            'source', CASE
                WHEN p.prosqlbody IS NOT NULL THEN pg_catalog.pg_get_function_sqlbody(p.oid)
                ELSE COALESCE(p.prosrc, '')
            END) ORDER BY p.nspname, p.proname, p.oid), '[]')
        FROM routine AS p),
    'function_uses', (
        SELECT COALESCE(pg_catalog.json_agg(DISTINCT pg_catalog.jsonb_build_object(
            'function', d.refobjid::pg_catalog.int8, 'relation', d.relation::pg_catalog.int8)), '[]')
        FROM depends AS d
        JOIN routine AS p ON p.oid = d.refobjid
        JOIN relation AS r ON r.oid = d.relation
        WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass),
    'sequence_uses', (
        SELECT COALESCE(pg_catalog.json_agg(DISTINCT pg_catalog.jsonb_build_object(
            'sequence', u.sequence::pg_catalog.int8, 'relation', u.relation::pg_catalog.int8, 'is_owned', u.is_owned)), '[]')
        FROM (
            SELECT d.objid AS sequence, d.refobjid AS relation, true AS is_owned
            FROM pg_catalog.pg_depend AS d
            JOIN relation AS s ON s.oid = d.objid AND s.relkind = 'S'
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.deptype IN ('a', 'i')
            UNION ALL
            SELECT d.refobjid, d.relation, false
            FROM depends AS d
            JOIN relation AS s ON s.oid = d.refobjid AND s.relkind = 'S'
            WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass) AS u),
    'types', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', pg_catalog.format('%s.%s', t.nspname, t.typname),
            'used_by', (
                SELECT COALESCE(pg_catalog.json_agg(DISTINCT a.attrelid::pg_catalog.int8), '[]')
                FROM pg_catalog.pg_attribute AS a
                JOIN relation AS r ON r.oid = a.attrelid
                WHERE a.attnum > 0 AND NOT a.attisdropped AND a.atttypid IN (t.oid, t.typarray))
            ) ORDER BY t.nspname, t.typname), '[]')
        FROM own_type AS t),
    'extension_uses', (
        SELECT COALESCE(pg_catalog.json_agg(DISTINCT pg_catalog.jsonb_build_object(
            'extension', e.extname, 'schema', n.nspname, 'relation', u.relation::pg_catalog.int8)), '[]')
        FROM (
            SELECT d.relation, d.refclassid, d.refobjid FROM depends AS d
            UNION
            -- The types of its columns.
            SELECT d.objid, d.refclassid, d.refobjid
            FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
            UNION
            SELECT i.indrelid, d.refclassid, d.refobjid
            FROM pg_catalog.pg_depend AS d
            JOIN pg_catalog.pg_index AS i ON i.indexrelid = d.objid
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass) AS u
        JOIN relation AS r ON r.oid = u.relation
        JOIN pg_catalog.pg_depend AS m ON m.classid = u.refclassid AND m.objid = u.refobjid AND m.deptype = 'e'
            AND m.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
        JOIN pg_catalog.pg_extension AS e ON e.oid = m.refobjid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace),
    'large_objects', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata),
    'extensions', (SELECT COALESCE(pg_catalog.json_agg(e.extname), '[]') FROM pg_catalog.pg_extension AS e)
)::pg_catalog.text
