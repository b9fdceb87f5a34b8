-- What is inside of one database: a plain read of each catalog, and no more. A connection asks this once and then goes, so parsing and
-- planning on cold caches is most of what a query costs, and more than what it takes to put the rows together elsewhere: see
-- docs/design/0015-a-database-is-read-in-plain-rows.md. Catalogs' own numbers are those of their headers, and never change: 2615 is
-- pg_namespace, 3079 pg_extension.
SELECT n.oid, n.nspname, pg_catalog.pg_get_userbyid(n.nspowner), COALESCE(n.nspacl, pg_catalog.acldefault('n', n.nspowner))
FROM pg_catalog.pg_namespace AS n;

SELECT e.extname, e.extversion, e.extnamespace
FROM pg_catalog.pg_extension AS e;

SELECT pg_catalog.pg_get_userbyid(d.defaclrole), d.defaclnamespace, d.defaclobjtype, d.defaclacl
FROM pg_catalog.pg_default_acl AS d;

-- Whatever lives in a schema that is not the system's, and whatever an extension brought.
SELECT d.classid, d.objid, d.refclassid, d.refobjid, d.deptype
FROM pg_catalog.pg_depend AS d
WHERE d.refclassid IN (2615, 3079)
