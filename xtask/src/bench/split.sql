-- Rows for the tables of link_app.sql, of which the chat has by far the most. ROWS is the number of messages.
SET session_replication_role = replica;
SET synchronous_commit = off;
SET maintenance_work_mem = '256MB';
SELECT setseed(0.5);
INSERT INTO users (email, display_name, profile)
  SELECT format('user%s@example.org', n), format('User %s', n), jsonb_build_object('city', n % 500, 'bio', repeat('words ', n % 20))
  FROM generate_series(1, 20000) AS n;
INSERT INTO friendships SELECT n, n + 1 + (n % 7) FROM generate_series(1, 19000) AS n;
INSERT INTO sessions (user_id, device, expires_at) SELECT n, 'phone', now() + interval '1 day' FROM generate_series(1, 20000) AS n;
INSERT INTO chat_rooms (kind, title, created_by)
  SELECT (ARRAY['direct', 'group', 'public'])[1 + n % 3]::room_kind, format('Room %s', n), 1 + n % 20000
  FROM generate_series(1, 5000) AS n;
DROP INDEX messages_room, messages_sender;
CREATE TEMPORARY TABLE words AS
  SELECT n, (ARRAY['the', 'order', 'was', 'sent', 'to', 'a', 'friend', 'who', 'asked', 'about', 'delivery', 'and', 'price', 'again',
    'yesterday', 'because', 'nothing', 'arrived', 'before', 'noon'])[1 + n % 20] || CASE WHEN n % 3 = 0 THEN n::text ELSE '' END AS word
  FROM generate_series(0, 999) AS n;
CREATE TEMPORARY TABLE phrases AS
  SELECT p, (SELECT string_agg(word, ' ') FROM (SELECT word FROM words WHERE p >= 0 ORDER BY random() LIMIT 4 + p % 9) AS w) AS phrase
  FROM generate_series(0, 4999) AS p;
CREATE INDEX ON phrases (p);
ANALYZE phrases;
INSERT INTO messages (room_id, sender_id, body, reply_to, sent_at)
  SELECT 1 + (random() * 4999)::int, 1 + (random() * 19999)::int, one.phrase || ', ' || other.phrase || ' ' || n,
    CASE WHEN n % 5 = 0 AND n > 100 THEN n - (n % 97) - 1 END, timestamptz '2025-01-01' + n * interval '3 seconds'
  FROM generate_series(1::bigint, ROWS) AS n
  JOIN phrases AS one ON one.p = (n * 7919) % 5000
  JOIN phrases AS other ON other.p = (n * 104729) % 4999;
INSERT INTO room_members SELECT 1 + n % 5000, 1 + n % 20000 FROM generate_series(1, 20000) AS n;
INSERT INTO message_reads SELECT n, 1 + n % 20000 FROM generate_series(1, ROWS / 5) AS n;
INSERT INTO direct_conversations SELECT n, n, n + 1 FROM generate_series(1, 1000) AS n;
CREATE INDEX messages_room ON messages (room_id, id DESC);
CREATE INDEX messages_sender ON messages (sender_id);
INSERT INTO embeddings (source, source_id, embedding)
  SELECT 'message', n, (SELECT array_agg(sin(n * d))::vector(32) FROM generate_series(1, 32) AS d) FROM generate_series(1, ROWS / 20) AS n;
INSERT INTO search_index SELECT n, 1 + n % 20000, to_tsvector('english', 'words about the order number ' || n)
  FROM generate_series(1, ROWS / 20) AS n;
