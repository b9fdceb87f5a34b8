DO $strip$
DECLARE
  found pg_catalog.text;
BEGIN
  FOR found IN
    SELECT pg_catalog.format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname)
      FROM pg_catalog.pg_trigger AS t
      JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
    UNION ALL
    SELECT pg_catalog.format('DROP RULE %I ON %I.%I', r.rulename, n.nspname, c.relname)
      FROM pg_catalog.pg_rewrite AS r
      JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      WHERE r.rulename <> '_RETURN' AND c.relkind IN ('r', 'p') AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
    UNION ALL
    SELECT pg_catalog.format('DROP POLICY %I ON %I.%I', p.polname, n.nspname, c.relname)
      FROM pg_catalog.pg_policy AS p
      JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE')
    UNION ALL
    SELECT pg_catalog.format('ALTER TABLE %I.%I DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', n.nspname, c.relname)
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      WHERE (c.relrowsecurity OR c.relforcerowsecurity) AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
  LOOP
    EXECUTE found;
  END LOOP;
END
$strip$
