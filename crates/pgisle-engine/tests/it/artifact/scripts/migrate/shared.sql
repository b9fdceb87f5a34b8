-- A shared database with everything that is nasty about moving tables: names, types, partitions, triggers, policies, sequences that
-- nobody owns, and what ties the tables to those that stay.
CREATE SCHEMA "Odd ""schema";
CREATE TYPE mood AS ENUM ('it''s', 'B');
CREATE TYPE "Odd ""schema"."Mood" AS ENUM ('a');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a positive, "b c" mood);
CREATE TYPE span AS RANGE (subtype = int);
CREATE SEQUENCE "free number" START 500;
CREATE SEQUENCE untouched;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.name := NEW.name || '!'; RETURN NEW; END$$;
CREATE FUNCTION shorter(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT left($1, 3)';

CREATE TABLE users (
  id bigserial PRIMARY KEY, name text NOT NULL, mood mood, one pair, many pair[], span span, amount positive DEFAULT 7,
  number bigint DEFAULT nextval('"free number"'), length int GENERATED ALWAYS AS (length(name)) STORED);
CREATE INDEX users_shorter ON users (shorter(name));
CREATE TRIGGER users_touch BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
INSERT INTO users (name, mood, one, many, span) SELECT 'user ' || i, 'it''s', (i, 'B')::pair, ARRAY[(i, 'B')::pair], int4range(i, i + 5)::text::span FROM generate_series(1, 1000) AS i;
INSERT INTO users (name) VALUES (E'two\nlines, a \\ and a \t'), ('\.'), ('COMMIT;');
SELECT setval('users_id_seq', 5000);

CREATE TABLE "Odd ""schema"."My 'Table' $f$ \x :name" (
  "a b" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "q""uote" text, "Mood" "Odd ""schema"."Mood"[], user_id bigint REFERENCES users);
INSERT INTO "Odd ""schema"."My 'Table' $f$ \x :name" ("q""uote", "Mood", user_id) VALUES ('--', '{a}', 1), (NULL, '{}', 2), ('\!touch x', NULL, 3);

CREATE TABLE events (id bigint NOT NULL, at date NOT NULL, what text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE "events's ""first""" PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY HASH (id);
CREATE TABLE events_a PARTITION OF "events's ""first""" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_b PARTITION OF "events's ""first""" FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE events_rest PARTITION OF events DEFAULT;
INSERT INTO events SELECT i, date '2025-06-01' + i, 'e' FROM generate_series(1, 500) AS i;

CREATE TABLE secrets (id int UNIQUE, tenant text) WITH (fillfactor = 70);
INSERT INTO secrets VALUES (1, 'a'), (2, 'b');
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_tenant ON secrets USING (tenant = current_setting('app.tenant', true));
CREATE TABLE more_secrets (extra text) INHERITS (secrets);
INSERT INTO more_secrets VALUES (3, 'c', 'd');
COMMENT ON TABLE secrets IS 'it''s ours';
CREATE STATISTICS users_correlated ON mood, amount FROM users;
CREATE VIEW newest AS SELECT max(id) AS id FROM users;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS users FROM users;
CREATE FUNCTION count_users() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM users';

CREATE TABLE rooms (id bigserial PRIMARY KEY, owner bigint REFERENCES users ON DELETE CASCADE, number bigint DEFAULT nextval('"free number"'));
INSERT INTO rooms (owner) SELECT i FROM generate_series(1, 100) AS i;
ALTER TABLE users ADD home bigint REFERENCES rooms;
CREATE VIEW rooms_of AS SELECT u.name, r.id FROM users AS u JOIN rooms AS r ON r.owner = u.id;
CREATE FUNCTION in_both() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM users, rooms';
CREATE FUNCTION theirs() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM rooms';
