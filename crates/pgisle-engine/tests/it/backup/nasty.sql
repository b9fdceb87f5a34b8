CREATE SCHEMA "Odd ""name";
COMMENT ON SCHEMA "Odd ""name" IS 'a schema; with $$ ''quotes''';
CREATE TYPE mood AS ENUM ('sad', 'ok', 'very "happy"');
CREATE TYPE pair AS (x int, y text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE TABLE plain (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    word text,
    gone int,
    doubled bigint GENERATED ALWAYS AS (id * 2) STORED
);
INSERT INTO plain (word)
SELECT CASE g % 5 WHEN 0 THEN NULL WHEN 1 THEN E'tab\there' WHEN 2 THEN E'line\nbreak' WHEN 3 THEN '\.' ELSE 'ü\' END
FROM generate_series(1, 2000) AS g;
ALTER TABLE plain DROP COLUMN gone;
CREATE TABLE "Odd ""name"."Mixed Case" (
    "Key" text COLLATE "C", "a,b" float8, r real, at timestamptz, local timestamp, day date, raw bytea, list int[],
    moods mood[], doc jsonb, js json, dom positive, p pair, s span, mr int4multirange, u uuid, i inet, c cidr, m macaddr,
    bits bit varying(9), n numeric(40, 20), iv interval, geo point, poly polygon, ts tsvector, q tsquery, x xml, t time with time zone,
    cls regclass, one "char", big numeric
);
INSERT INTO "Odd ""name"."Mixed Case" VALUES
    ('x', 'NaN', 'Infinity', '4713-01-01 BC', '-infinity', '4713-01-01 BC', '\xdeadbeef00', '{1,NULL,3}',
     '{"very \"happy\"",NULL}', '{"a": [1, null, "\u00fc"]}', '{"b" : 1}', 7, '(1,"a, b")', '[1.5,2)', '{[1,3),[5,7)}',
     '00000000-0000-0000-0000-000000000001', '::1', '10.0.0.0/8', '08:00:2b:01:02:03', B'101', 3.14159265358979323846,
     '1 year -2 days 03:04:05.678', '(1,2)', '((0,0),(1,1),(1,0))', 'a:1 b:2', 'a & !b', NULL, '12:00:00+02', 'plain', 'z',
     99999999999999999999999999999999999999999999.5),
    (NULL, '-Infinity', 1e-45, 'infinity', NULL, 'infinity', '', '{}', '{}', 'null', '1', NULL, NULL, 'empty', '{}',
     NULL, NULL, NULL, NULL, '', 'NaN', '-1 mons', NULL, NULL, '', NULL, NULL, NULL, NULL, NULL, 'NaN');
CREATE TABLE empty (nothing int);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
CREATE UNLOGGED TABLE fleeting AS SELECT generate_series(1, 3) AS n;
CREATE TABLE parts (at date, n int) PARTITION BY RANGE (at);
CREATE TABLE parts_one PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
CREATE INDEX ON parts (n);
INSERT INTO parts SELECT date '2025-01-15' + g, g FROM generate_series(1, 100) AS g;
CREATE TABLE parent (a int);
CREATE TABLE child (b text) INHERITS (parent);
ALTER TABLE parent ADD COLUMN c int DEFAULT 5;
INSERT INTO child (a, b, c) VALUES (1, 'x', 2), (3, 'y', 4);
INSERT INTO parent VALUES (9, 9);
CREATE TABLE friends (id bigint REFERENCES plain, other bigint, UNIQUE NULLS NOT DISTINCT (id, other), CHECK (id <> other));
ALTER TABLE friends ADD CONSTRAINT later FOREIGN KEY (other) REFERENCES plain DEFERRABLE INITIALLY DEFERRED;
INSERT INTO friends VALUES (1, 2), (2, 3);
CREATE INDEX "Partial" ON plain USING btree (lower(word)) WHERE word IS NOT NULL;
CREATE FUNCTION shout(t text) RETURNS text LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT CASE WHEN t IS NULL THEN '' ELSE upper(t) END; END;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN NEW.word := NEW.word || ';'; RETURN NEW; END $f$;
CREATE TRIGGER noting BEFORE UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION note();
CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int, initcond = '0');
CREATE VIEW loud AS SELECT id, shout(word) AS word FROM plain;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM plain;
CREATE UNIQUE INDEX ON counted (n);
CREATE RULE quiet AS ON DELETE TO empty DO INSTEAD NOTHING;
CREATE STATISTICS related ON n, at FROM parts;
CREATE TABLE guarded (who text, secret text);
INSERT INTO guarded VALUES ('a', '1'), ('b', '2');
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON guarded USING (who = current_user);
CREATE SEQUENCE unused START -5 INCREMENT -1;
CREATE SEQUENCE "Used" CYCLE MAXVALUE 7 START 3;
SELECT nextval('"Used"');
SELECT setval('plain_id_seq', 5000);
SELECT lo_from_bytea(90001, decode(repeat('00ff', 3000), 'hex')), lo_from_bytea(90002, '');
GRANT SELECT ON plain TO auditor;
GRANT SELECT (secret), UPDATE (who) ON guarded TO auditor WITH GRANT OPTION;
REVOKE EXECUTE ON FUNCTION shout FROM PUBLIC;
GRANT USAGE ON SCHEMA "Odd ""name" TO auditor;
GRANT USAGE ON SEQUENCE unused TO auditor;
GRANT SELECT ON LARGE OBJECT 90001 TO auditor;
COMMENT ON TABLE plain IS 'words; and $more$';
COMMENT ON COLUMN plain.word IS 'it''s one';
COMMENT ON LARGE OBJECT 90001 IS 'raw';
