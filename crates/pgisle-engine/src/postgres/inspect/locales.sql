-- New databases are UTF8, so locales of other encodings are of no use.
SELECT COALESCE(pg_catalog.json_agg(DISTINCT c.collcollate::pg_catalog.text), '[]')::pg_catalog.text
FROM pg_catalog.pg_collation AS c
WHERE c.collprovider = 'c' AND c.collcollate IS NOT NULL
    AND c.collencoding IN (-1, pg_catalog.pg_char_to_encoding('UTF8'))
