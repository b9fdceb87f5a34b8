-- How many of the types $1 each owner has. Row types, arrays and multiranges follow what they belong to.
SELECT pg_catalog.pg_get_userbyid(t.typowner), pg_catalog.count(*)
FROM pg_catalog.pg_type AS t
WHERE t.oid = ANY ($1) AND t.typtype IN ('b', 'c', 'd', 'e', 'r') AND NOT (t.typelem <> 0 AND t.typcategory = 'A')
GROUP BY t.typowner
