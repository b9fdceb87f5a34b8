-- What is deep inside of one database. $1: roles whose privileges are of no interest; $2: the monitoring login, whose reading is not.
WITH member AS MATERIALIZED (
    -- What belongs to an extension.
    SELECT d.classid, d.objid
    FROM pg_catalog.pg_depend AS d
    WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
), namespace AS MATERIALIZED (
    SELECT n.oid, n.nspname
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')
), relation AS MATERIALIZED (
    SELECT c.oid, c.relowner, c.relacl,
        CASE c.relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' WHEN 'm' THEN 'view ' ELSE 'table ' END
            || n.nspname || '.' || c.relname AS name
    FROM pg_catalog.pg_class AS c
    JOIN namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
        AND NOT EXISTS (
            SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND m.objid = c.oid)
), granted AS (
    SELECT r.name, r.relowner AS owner, a.grantee, a.privilege_type
    FROM relation AS r, pg_catalog.aclexplode(r.relacl) AS a
    UNION ALL
    SELECT r.name, r.relowner, a.grantee, a.privilege_type
    FROM relation AS r
    JOIN pg_catalog.pg_attribute AS t ON t.attrelid = r.oid, pg_catalog.aclexplode(t.attacl) AS a
    UNION ALL
    SELECT 'large object ' || l.oid, l.lomowner, a.grantee, a.privilege_type
    FROM pg_catalog.pg_largeobject_metadata AS l, pg_catalog.aclexplode(l.lomacl) AS a
), counted AS (
    SELECT CASE g.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(g.grantee) END AS grantee,
        g.privilege_type, pg_catalog.count(DISTINCT g.name) AS objects, pg_catalog.min(g.name) AS example
    FROM granted AS g
    WHERE g.grantee <> g.owner
    GROUP BY g.grantee, g.privilege_type
)
SELECT pg_catalog.json_build_object(
    'grants', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(c.grantee, c.privilege_type, c.objects, c.example)
            ORDER BY c.grantee, c.privilege_type), '[]')
        FROM counted AS c
        WHERE c.grantee IS NULL
            OR NOT (c.grantee = ANY ($1) OR (c.grantee = $2 AND c.privilege_type IN ('SELECT', 'USAGE')))),
    'definer_functions', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'signature', p.oid::pg_catalog.regprocedure::pg_catalog.text,
            'owner', pg_catalog.pg_get_userbyid(p.proowner),
            'acl', (
                SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(
                    CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
                    pg_catalog.pg_get_userbyid(a.grantor), a.privilege_type, a.is_grantable)), '[]')
                FROM pg_catalog.aclexplode(COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))) AS a))
            ORDER BY p.oid::pg_catalog.regprocedure::pg_catalog.text), '[]')
        FROM pg_catalog.pg_proc AS p
        JOIN namespace AS n ON n.oid = p.pronamespace
        WHERE p.prosecdef
            AND NOT EXISTS (
                SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND m.objid = p.oid)),
    'foreign_servers', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', s.srvname,
            'wrapper', w.fdwname,
            'database', (
                SELECT o.option_value FROM pg_catalog.pg_options_to_table(s.srvoptions) AS o WHERE o.option_name = 'dbname'),
            'host', (
                SELECT o.option_value FROM pg_catalog.pg_options_to_table(s.srvoptions) AS o WHERE o.option_name = 'host'),
            'acl', (
                SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(
                    CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
                    pg_catalog.pg_get_userbyid(a.grantor), a.privilege_type, a.is_grantable)), '[]')
                FROM pg_catalog.aclexplode(COALESCE(s.srvacl, pg_catalog.acldefault('S', s.srvowner))) AS a),
            'mappings', (
                SELECT COALESCE(pg_catalog.json_agg(CASE u.umuser WHEN 0 THEN NULL ELSE u.usename END), '[]')
                FROM pg_catalog.pg_user_mappings AS u
                WHERE u.srvid = s.oid))
            ORDER BY s.srvname), '[]')
        FROM pg_catalog.pg_foreign_server AS s
        JOIN pg_catalog.pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw))::pg_catalog.text
