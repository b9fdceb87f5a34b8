SELECT pg_catalog.to_json(c.system_identifier::pg_catalog.text)::pg_catalog.text
FROM pg_catalog.pg_control_system() AS c
