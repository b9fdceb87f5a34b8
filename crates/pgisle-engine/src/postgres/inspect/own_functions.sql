-- How many of the functions $1 each owner has.
SELECT pg_catalog.pg_get_userbyid(p.proowner), pg_catalog.count(*)
FROM pg_catalog.pg_proc AS p
WHERE p.oid = ANY ($1)
GROUP BY p.proowner
