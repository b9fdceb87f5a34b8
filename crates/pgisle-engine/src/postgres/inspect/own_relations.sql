-- How many of the relations $1 each owner has in each schema, once for each of the readers $2 (or once, when there is none), with how
-- many of them that one cannot select from. A role that does not exist has no number: its privileges are NULL, and none is counted.
SELECT pg_catalog.pg_get_userbyid(c.relowner), c.relnamespace, i.reader, pg_catalog.count(*),
    pg_catalog.count(*) FILTER (WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND NOT (pg_catalog.has_schema_privilege(i.oid, c.relnamespace, 'USAGE')
            AND pg_catalog.has_table_privilege(i.oid, c.oid, 'SELECT')))
FROM pg_catalog.pg_class AS c
LEFT JOIN (
    SELECT u.reader, pg_catalog.to_regrole(pg_catalog.quote_ident(u.reader))::pg_catalog.oid AS oid
    FROM pg_catalog.unnest($2::pg_catalog.text[]) AS u (reader)) AS i ON true
WHERE c.oid = ANY ($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
GROUP BY c.relowner, c.relnamespace, i.reader
