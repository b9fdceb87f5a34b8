SELECT COALESCE(pg_catalog.json_object_agg(a.rolname, a.rolpassword), '{}')::pg_catalog.text
FROM pg_catalog.pg_authid AS a
WHERE a.rolpassword IS NOT NULL
