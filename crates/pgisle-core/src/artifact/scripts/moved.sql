-- What moves with the tables in :names (by chr(31)), and what is in the way, as lines of a kind and a value. The rules are those of `pgisle split`.
WITH RECURSIVE wanted AS (
  SELECT DISTINCT w.name FROM unnest(string_to_array(:'names', chr(31))) AS w (name)
), member AS MATERIALIZED (
  SELECT d.classid, d.objid, d.refobjid AS extension FROM pg_depend AS d
  WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), space AS MATERIALIZED (
  SELECT n.oid, n.nspname FROM pg_namespace AS n
  WHERE n.nspname NOT IN ('information_schema', 'pgisle_split') AND NOT starts_with(n.nspname::text, 'pg_')
), relation AS MATERIALIZED (
  SELECT c.oid, c.relname, c.relkind, c.relowner, c.relnamespace, n.nspname, format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_class AS c JOIN space AS n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
    AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
), found AS MATERIALIZED (
  SELECT w.name AS wanted, r.oid, r.name, r.relkind FROM wanted AS w
  LEFT JOIN relation AS r ON CASE strpos(w.name, '.')
    WHEN 0 THEN r.relname = w.name
    ELSE r.nspname = split_part(w.name, '.', 1) AND r.relname = substr(w.name, strpos(w.name, '.') + 1) END
), moved AS (
  SELECT f.oid FROM found AS f WHERE f.relkind IN ('r', 'p')
  UNION
  SELECT i.inhrelid FROM moved AS m JOIN pg_inherits AS i ON i.inhparent = m.oid
), reads AS MATERIALIZED (
  SELECT DISTINCT r.ev_class AS view, d.refobjid AS relation
  FROM pg_rewrite AS r JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
  JOIN relation AS v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm')
  JOIN relation AS t ON t.oid = d.refobjid
  WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
), reached AS (
  SELECT view, relation FROM reads
  UNION
  SELECT a.view, b.relation FROM reached AS a JOIN reads AS b ON b.view = a.relation
), view AS MATERIALIZED (
  -- Views that read a table which moves, and whether they read one that does not.
  SELECT v.view AS oid, bool_and(v.relation IN (SELECT m.oid FROM moved AS m)) AS is_whole
  FROM reached AS v JOIN relation AS r ON r.oid = v.relation AND r.relkind IN ('r', 'p', 'f')
  GROUP BY v.view HAVING bool_or(v.relation IN (SELECT m.oid FROM moved AS m))
), body AS MATERIALIZED (
  SELECT oid FROM moved UNION SELECT v.oid FROM view AS v WHERE v.is_whole
), crossing AS MATERIALIZED (
  SELECT c.oid, c.conname, c.conrelid, c.confrelid, pg_get_constraintdef(c.oid) AS definition
  FROM pg_constraint AS c
  WHERE c.contype = 'f' AND c.conparentid = 0
    AND (c.conrelid IN (SELECT m.oid FROM moved AS m)) <> (c.confrelid IN (SELECT m.oid FROM moved AS m))
), routine AS MATERIALIZED (
  SELECT p.oid, p.pronamespace, format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name,
    lower(t.source) AS source, regexp_split_to_array(lower(t.source), '[^[:alnum:]_$]+') AS words
  FROM pg_proc AS p JOIN space AS n ON n.oid = p.pronamespace,
    LATERAL (SELECT CASE WHEN p.prosqlbody IS NULL THEN p.prosrc ELSE pg_get_function_sqlbody(p.oid) END AS source) AS t
  WHERE NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
), named AS MATERIALIZED (
  -- Tables and views whose names stand in a function's text.
  SELECT p.oid AS routine, r.oid AS relation FROM routine AS p JOIN relation AS r ON r.relkind <> 'S'
    AND CASE WHEN lower(r.relname) ~ '^[[:alnum:]_$]+$' THEN lower(r.relname) = ANY (p.words) ELSE strpos(p.source, lower(r.relname)) > 0 END
), part AS MATERIALIZED (
  SELECT 'pg_class'::regclass AS classid, b.oid AS objid FROM body AS b
  UNION ALL SELECT 'pg_attrdef'::regclass, a.oid FROM pg_attrdef AS a JOIN body AS b ON b.oid = a.adrelid
  UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite AS r JOIN body AS b ON b.oid = r.ev_class
  UNION ALL SELECT 'pg_policy'::regclass, p.oid FROM pg_policy AS p JOIN body AS b ON b.oid = p.polrelid
  UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index AS i JOIN body AS b ON b.oid = i.indrelid
  UNION ALL SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext AS s JOIN body AS b ON b.oid = s.stxrelid
  UNION ALL SELECT 'pg_trigger'::regclass, t.oid FROM pg_trigger AS t JOIN body AS b ON b.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND (t.tgfoid IN (SELECT p.oid FROM routine AS p)
      OR EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_proc'::regclass AND m.objid = t.tgfoid))
  UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint AS c JOIN body AS b ON b.oid = c.conrelid
    WHERE c.contype <> 'f' OR c.confrelid IN (SELECT m.oid FROM moved AS m)
), need AS (
  (SELECT d.refclassid AS classid, d.refobjid AS objid FROM part AS p
     JOIN pg_depend AS d ON d.classid = p.classid AND d.objid = p.objid
   UNION SELECT 'pg_proc'::regclass, n.routine FROM named AS n JOIN body AS b ON b.oid = n.relation)
  UNION
  SELECT d.refclassid, d.refobjid FROM need AS n, LATERAL (
    SELECT e.refclassid, e.refobjid FROM pg_depend AS e
      WHERE e.classid = n.classid AND e.objid = n.objid AND n.classid IN ('pg_type'::regclass, 'pg_proc'::regclass)
    UNION ALL SELECT e.refclassid, e.refobjid FROM pg_type AS t JOIN pg_class AS c ON c.oid = t.typrelid AND c.relkind = 'c'
      JOIN pg_depend AS e ON e.classid = 'pg_class'::regclass AND e.objid = c.oid
      WHERE n.classid = 'pg_type'::regclass AND t.oid = n.objid
    UNION ALL SELECT e.refclassid, e.refobjid FROM pg_constraint AS c
      JOIN pg_depend AS e ON e.classid = 'pg_constraint'::regclass AND e.objid = c.oid
      WHERE n.classid = 'pg_type'::regclass AND c.contypid = n.objid AND c.contypid <> 0) AS d
  WHERE NOT EXISTS (SELECT FROM member AS m WHERE m.classid = n.classid AND m.objid = n.objid)
), sequence AS MATERIALIZED (
  SELECT r.oid FROM relation AS r WHERE r.relkind = 'S' AND (
    r.oid IN (SELECT n.objid FROM need AS n WHERE n.classid = 'pg_class'::regclass)
    OR EXISTS (SELECT FROM pg_depend AS d JOIN moved AS m ON m.oid = d.refobjid
      WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
), own_type AS MATERIALIZED (
  SELECT t.oid, t.typnamespace, t.typtype, t.typelem, t.typrelid, format('%I.%I', s.nspname, t.typname) AS name,
    t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c') AS is_movable
  FROM pg_type AS t JOIN space AS s ON s.oid = t.typnamespace LEFT JOIN pg_class AS c ON c.oid = t.typrelid
  WHERE t.oid IN (SELECT n.objid FROM need AS n WHERE n.classid = 'pg_type'::regclass)
    AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)
), own_routine AS MATERIALIZED (
  SELECT p.oid, p.pronamespace, p.name FROM routine AS p
  WHERE p.oid IN (SELECT n.objid FROM need AS n WHERE n.classid = 'pg_proc'::regclass)
), schema AS MATERIALIZED (
  SELECT s.oid, s.nspname FROM space AS s WHERE s.nspname <> 'public' AND s.oid IN (
    SELECT r.relnamespace FROM relation AS r WHERE r.oid IN (SELECT oid FROM body UNION SELECT oid FROM sequence)
    UNION SELECT t.typnamespace FROM own_type AS t WHERE t.is_movable UNION SELECT p.pronamespace FROM own_routine AS p)
), object AS MATERIALIZED (
  SELECT r.relkind::text AS kind, r.oid, r.name FROM relation AS r WHERE r.oid IN (SELECT oid FROM body UNION SELECT oid FROM sequence)
  UNION ALL SELECT 'function', p.oid, p.name FROM own_routine AS p
  UNION ALL SELECT 'type', t.oid, t.name FROM own_type AS t WHERE t.is_movable
), line (kind, value) AS (
  SELECT 'error', format('there is no table %s in this database', quote_ident(f.wanted)) FROM found AS f WHERE f.oid IS NULL
  UNION ALL
  SELECT 'error', format('%s is no table', f.wanted) FROM found AS f GROUP BY f.wanted
    HAVING count(f.oid) > 0 AND NOT bool_or(f.relkind IN ('r', 'p'))
  UNION ALL
  SELECT 'error', format('%s is in several schemas (%s): the spec must name one', f.wanted, string_agg(f.name, ', ' ORDER BY f.name))
    FROM found AS f WHERE f.relkind IN ('r', 'p') GROUP BY f.wanted HAVING count(*) > 1
  UNION ALL
  SELECT 'error', format('%s is a foreign table: its rows are elsewhere', r.name) FROM relation AS r JOIN moved AS m USING (oid) WHERE r.relkind = 'f'
  UNION ALL
  SELECT 'error', format('%s is a part of %s, which stays: name the whole, or detach it first', c.name, i.inhparent::regclass)
    FROM pg_inherits AS i JOIN relation AS c ON c.oid = i.inhrelid JOIN moved AS m ON m.oid = c.oid
    WHERE i.inhparent NOT IN (SELECT oid FROM moved)
  UNION ALL
  SELECT 'error', format('the name of %s has a control character', regexp_replace(o.name, '[[:cntrl:]]', '?', 'g')) FROM object AS o
    WHERE o.name ~ '[[:cntrl:]]'
  UNION ALL
  SELECT DISTINCT 'error', format('it needs %s, which this script cannot move', pg_describe_object(n.classid, n.objid, 0))
    FROM need AS n
    WHERE n.objid >= 16384 AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = n.classid AND m.objid = n.objid)
      AND CASE n.classid
        WHEN 'pg_class'::regclass THEN n.objid IN (SELECT r.oid FROM relation AS r WHERE r.relkind = 'f')
        WHEN 'pg_type'::regclass THEN EXISTS (SELECT FROM own_type AS t WHERE t.oid = n.objid AND t.typtype = 'b' AND t.typelem = 0)
        WHEN 'pg_proc'::regclass THEN false
        WHEN 'pg_extension'::regclass THEN false
        ELSE n.classid NOT IN ('pg_namespace'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_attrdef'::regclass, 'pg_rewrite'::regclass)
      END
  UNION ALL
  SELECT DISTINCT 'error', format('%s has a column that is a row of %s, which stays', b.oid::regclass, t.typrelid::regclass)
    FROM body AS b JOIN pg_attribute AS a ON a.attrelid = b.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type AS t ON t.typrelid <> 0 AND (t.oid = a.atttypid OR t.typarray = a.atttypid)
    JOIN relation AS r ON r.oid = t.typrelid WHERE r.oid NOT IN (SELECT oid FROM body)
  UNION ALL
  SELECT 'error', format('column %I of %s may point to large objects, which this script does not move', a.attname, r.name)
    FROM moved AS m JOIN relation AS r ON r.oid = m.oid JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE (t.oid = 'oid'::regtype OR t.typname = 'lo') AND r.relkind = 'r' AND EXISTS (SELECT FROM pg_largeobject_metadata)
  UNION ALL
  SELECT 'notice', format('not moved: foreign key %I of %s, %s', c.conname, c.conrelid::regclass, c.definition) FROM crossing AS c
  UNION ALL
  SELECT 'notice', format('not moved: view %s, which also reads tables that stay', r.name)
    FROM view AS v JOIN relation AS r ON r.oid = v.oid WHERE NOT v.is_whole
  UNION ALL
  SELECT 'notice', format('moves, and must be rewritten: function %s, which names %s', p.name, string_agg(r.name, ', ' ORDER BY r.name))
    FROM own_routine AS p JOIN named AS n ON n.routine = p.oid JOIN relation AS r ON r.oid = n.relation
    WHERE n.relation NOT IN (SELECT oid FROM body) GROUP BY p.oid, p.name
  UNION ALL
  SELECT DISTINCT 'notice', format('is copied: sequence %s, which %s uses, too: numbers are unique within a database only', s.name, t.name)
    FROM sequence AS q JOIN relation AS s ON s.oid = q.oid
    JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = q.oid
    JOIN pg_attrdef AS a ON a.oid = d.objid JOIN relation AS t ON t.oid = a.adrelid WHERE a.adrelid NOT IN (SELECT oid FROM moved)
  UNION ALL SELECT 'lock', f.name FROM found AS f WHERE f.relkind IN ('r', 'p')
  UNION ALL SELECT DISTINCT 'owner', pg_get_userbyid(r.relowner) FROM relation AS r JOIN moved AS m ON m.oid = r.oid
  UNION ALL SELECT 'oid', format('1259 %s', o.oid) FROM object AS o WHERE o.kind IN ('r', 'p', 'v', 'm', 'S')
  UNION ALL SELECT 'oid', format('1255 %s', o.oid) FROM object AS o WHERE o.kind = 'function'
  UNION ALL SELECT 'oid', format('1247 %s', o.oid) FROM object AS o WHERE o.kind = 'type'
  UNION ALL SELECT 'schema', format('%s %s', s.oid, s.nspname) FROM schema AS s
  UNION ALL SELECT CASE o.kind WHEN 'r' THEN 'rows' WHEN 'S' THEN 'sequence' WHEN 'p' THEN 'partitioned' WHEN 'v' THEN 'view'
    WHEN 'm' THEN 'materialized' ELSE o.kind END, o.name FROM object AS o
  UNION ALL SELECT 'pattern', format('"%s"."%s"', replace(r.nspname, '"', '""'), replace(r.relname, '"', '""'))
    FROM relation AS r JOIN object AS o ON o.oid = r.oid AND o.kind = r.relkind::text WHERE o.kind IN ('r', 'S')
  UNION ALL
  SELECT DISTINCT 'extension', concat(e.extname, chr(31), n.nspname) FROM need AS d
    JOIN member AS m ON m.classid = d.classid AND m.objid = d.objid JOIN pg_extension AS e ON e.oid = m.extension
    JOIN pg_namespace AS n ON n.oid = e.extnamespace
  UNION ALL SELECT 'sever', format('ALTER TABLE %s DROP CONSTRAINT %I', r.name, c.conname) FROM crossing AS c JOIN relation AS r ON r.oid = c.conrelid
  UNION ALL SELECT 'mend', format('ALTER TABLE %s ADD CONSTRAINT %I %s', r.name, c.conname, c.definition)
    FROM crossing AS c JOIN relation AS r ON r.oid = c.conrelid
)
SELECT line.kind, line.value FROM line ORDER BY line.kind, line.value COLLATE "C";
