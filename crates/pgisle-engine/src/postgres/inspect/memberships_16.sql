SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
    'role', pg_catalog.pg_get_userbyid(m.roleid),
    'member', pg_catalog.pg_get_userbyid(m.member),
    'grantor', pg_catalog.pg_get_userbyid(m.grantor),
    'admin', m.admin_option,
    'inherit', m.inherit_option,
    'set', m.set_option)), '[]')::pg_catalog.text
FROM pg_catalog.pg_auth_members AS m
