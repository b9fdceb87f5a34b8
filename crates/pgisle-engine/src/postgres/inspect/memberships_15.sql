SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
    'role', pg_catalog.pg_get_userbyid(m.roleid),
    'member', pg_catalog.pg_get_userbyid(m.member),
    'grantor', pg_catalog.pg_get_userbyid(m.grantor),
    'admin', m.admin_option,
    -- Before PostgreSQL 16 the member decides whether it inherits, and it may always SET ROLE.
    'inherit', r.rolinherit,
    'set', true)), '[]')::pg_catalog.text
FROM pg_catalog.pg_auth_members AS m
JOIN pg_catalog.pg_roles AS r ON r.oid = m.member
