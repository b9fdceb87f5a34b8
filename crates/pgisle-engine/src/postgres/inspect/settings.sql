-- What is set for a role in every database is in pg_roles.
SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
    'database', d.datname,
    'role', r.rolname,
    'settings', s.setconfig)), '[]')::pg_catalog.text
FROM pg_catalog.pg_db_role_setting AS s
JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
WHERE s.setrole = 0 OR r.oid IS NOT NULL
