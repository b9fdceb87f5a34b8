SELECT COALESCE(pg_catalog.json_object_agg(e.name, pg_catalog.json_build_object(
    'default_version', e.default_version,
    'superuser', v.superuser,
    'trusted', v.trusted,
    'schema', v.schema)), '{}')::pg_catalog.text
FROM pg_catalog.pg_available_extensions AS e
JOIN pg_catalog.pg_available_extension_versions AS v ON v.name = e.name AND v.version = e.default_version
