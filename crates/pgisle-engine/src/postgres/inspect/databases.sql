SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', d.datname,
    'owner', pg_catalog.pg_get_userbyid(d.datdba),
    'encoding', pg_catalog.pg_encoding_to_char(d.encoding),
    'collate', d.datcollate,
    'ctype', d.datctype,
    'allow_connections', d.datallowconn,
    'is_template', d.datistemplate,
    'connection_limit', d.datconnlimit,
    'acl_is_default', d.datacl IS NULL,
    'acl', (
        SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(
            CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
            pg_catalog.pg_get_userbyid(a.grantor), a.privilege_type, a.is_grantable)), '[]')
        FROM pg_catalog.aclexplode(COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) AS a))), '[]')::pg_catalog.text
FROM pg_catalog.pg_database AS d
