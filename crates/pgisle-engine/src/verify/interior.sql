-- What is deep inside of one database. $1: roles whose privileges are of no interest; $2: the monitoring login, whose reading is
-- not; $3: roles that stand above the islands.
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
    SELECT c.oid, c.relowner, c.relacl, n.nspname AS place,
        CASE c.relkind WHEN 'S' THEN 'sequences' ELSE 'tables' END AS kind,
        CASE c.relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' WHEN 'm' THEN 'view ' ELSE 'table ' END
            || n.nspname || '.' || c.relname AS name
    FROM pg_catalog.pg_class AS c
    JOIN namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
        AND NOT EXISTS (
            SELECT FROM member AS m WHERE m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND m.objid = c.oid)
), granted AS (
    SELECT r.kind, r.place::pg_catalog.text AS place, r.name, r.relowner AS owner, a.grantee, a.privilege_type
    FROM relation AS r, pg_catalog.aclexplode(r.relacl) AS a
    UNION ALL
    SELECT r.kind, r.place, r.name, r.relowner, a.grantee, a.privilege_type
    FROM relation AS r
    JOIN pg_catalog.pg_attribute AS t ON t.attrelid = r.oid, pg_catalog.aclexplode(t.attacl) AS a
    UNION ALL
    SELECT 'large object', l.oid::pg_catalog.text, 'large object ' || l.oid, l.lomowner, a.grantee, a.privilege_type
    FROM pg_catalog.pg_largeobject_metadata AS l, pg_catalog.aclexplode(l.lomacl) AS a
), counted AS (
    SELECT CASE g.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(g.grantee) END AS grantee, g.kind, g.place,
        pg_catalog.json_agg(DISTINCT g.privilege_type) AS privileges,
        pg_catalog.count(DISTINCT g.name) AS objects, pg_catalog.min(g.name) AS example
    FROM granted AS g
    WHERE g.grantee <> g.owner
        AND NOT (g.grantee <> 0 AND (pg_catalog.pg_get_userbyid(g.grantee) = ANY ($1)
            OR (pg_catalog.pg_get_userbyid(g.grantee) = $2 AND g.privilege_type IN ('SELECT', 'USAGE'))))
    GROUP BY g.grantee, g.kind, g.place
), initial AS MATERIALIZED (
    -- What PostgreSQL itself grants on its own functions and catalogs. A function that is not here is everyone's anyway.
    SELECT i.classoid, i.objoid, i.objsubid, a.grantee, a.privilege_type
    FROM pg_catalog.pg_init_privs AS i, pg_catalog.aclexplode(i.initprivs) AS a
    WHERE i.privtype = 'i'
), system AS (
    SELECT 'catalog' AS kind, c.relname::pg_catalog.text AS name, a.grantee, a.privilege_type
    FROM pg_catalog.pg_class AS c, pg_catalog.aclexplode(c.relacl) AS a
    WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND a.grantee <> c.relowner
        AND NOT EXISTS (
            SELECT FROM initial AS i
            WHERE i.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.objoid = c.oid AND i.objsubid = 0
                AND i.privilege_type = a.privilege_type AND i.grantee IN (0, a.grantee))
    UNION
    SELECT 'catalog', c.relname, a.grantee, a.privilege_type
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_attribute AS t ON t.attrelid = c.oid, pg_catalog.aclexplode(t.attacl) AS a
    WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND a.grantee <> c.relowner
        AND NOT EXISTS (
            SELECT FROM initial AS i
            WHERE i.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.objoid = c.oid AND i.objsubid IN (0, t.attnum)
                AND i.privilege_type = a.privilege_type AND i.grantee IN (0, a.grantee))
    UNION
    SELECT 'routine', p.oid::pg_catalog.regprocedure::pg_catalog.text, a.grantee, a.privilege_type
    FROM pg_catalog.pg_proc AS p, pg_catalog.aclexplode(p.proacl) AS a
    WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND a.grantee <> p.proowner
        AND EXISTS (
            SELECT FROM initial AS i WHERE i.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND i.objoid = p.oid)
        AND NOT EXISTS (
            SELECT FROM initial AS i
            WHERE i.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND i.objoid = p.oid AND i.grantee IN (0, a.grantee))
    UNION
    SELECT 'parameter', p.parname, a.grantee, a.privilege_type
    FROM pg_catalog.pg_parameter_acl AS p, pg_catalog.aclexplode(p.paracl) AS a
), named AS (
    SELECT s.kind, s.name, CASE s.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(s.grantee) END AS grantee,
        pg_catalog.json_agg(s.privilege_type ORDER BY s.privilege_type) AS privileges
    FROM system AS s
    GROUP BY s.kind, s.name, s.grantee
)
SELECT pg_catalog.json_build_object(
    'grants', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(
            c.grantee, c.privileges, c.objects, c.example, c.kind, c.place) ORDER BY c.grantee, c.kind, c.place), '[]')
        FROM counted AS c),
    'system_grants', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(n.grantee, n.privileges, n.kind, n.name)
            ORDER BY n.grantee, n.kind, n.name), '[]')
        FROM named AS n
        WHERE n.grantee IS NULL OR NOT n.grantee = ANY ($3)),
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
