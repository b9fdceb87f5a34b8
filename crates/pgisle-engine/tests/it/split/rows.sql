-- Rows for every table of link_app.sql.
INSERT INTO users (email, display_name, profile)
  SELECT format('user%s@example.org', n), format('User %s', n), jsonb_build_object('city', n % 50, 'bio', repeat('words ', n % 20))
  FROM generate_series(1, 2000) AS n;
INSERT INTO friendships SELECT n, n + 1 FROM generate_series(1, 1900) AS n;
INSERT INTO friend_requests (sender_id, receiver_id, message) SELECT n, n + 5, 'hello' FROM generate_series(1, 500) AS n;
INSERT INTO sessions (user_id, device, expires_at) SELECT n, 'phone', now() + interval '1 day' FROM generate_series(1, 1000) AS n;
INSERT INTO blocks SELECT n, n + 7, 'spam' FROM generate_series(1, 50) AS n;
INSERT INTO chat_rooms (kind, title, created_by)
  SELECT (ARRAY['direct', 'group', 'public'])[1 + n % 3]::room_kind, format('Room %s', n), n FROM generate_series(1, 300) AS n;
INSERT INTO messages (room_id, sender_id, body)
  SELECT 1 + n % 300, 1 + n % 2000, format('message %s %s', n, repeat('x', n % 100)) FROM generate_series(1, 20000) AS n;
INSERT INTO room_members SELECT 1 + n % 300, n FROM generate_series(1, 2000) AS n;
INSERT INTO message_reads SELECT n, 1 + n % 2000 FROM generate_series(1, 5000) AS n;
INSERT INTO direct_conversations SELECT n, n, n + 1 FROM generate_series(1, 100) AS n;
INSERT INTO ai_conversations (user_id, topic) SELECT n, 'topic' FROM generate_series(1, 200) AS n;
INSERT INTO ai_requests (conversation_id, user_id, prompt) SELECT id, user_id, 'why?' FROM ai_conversations;
INSERT INTO ai_responses (request_id, content, tokens) SELECT id, 'because', 10 FROM ai_requests;
INSERT INTO privacy_policy_versions VALUES (1, 'policy');
INSERT INTO user_consent SELECT n, 1, true FROM generate_series(1, 100) AS n;
INSERT INTO audit_logs (actor, action, address) SELECT n, 'login', '10.0.0.1' FROM generate_series(1, 500) AS n;
INSERT INTO data_anonymization_records (subject, fields, digest) SELECT n, ARRAY['email', 'name'], '\x00ff' FROM generate_series(1, 20) AS n;
INSERT INTO user_availability SELECT n, true, tstzrange(now(), NULL), point(n, n) FROM generate_series(1, 500) AS n;
INSERT INTO embeddings (source, source_id, embedding)
  SELECT 'message', n, (SELECT array_agg(sin(n * d))::vector(32) FROM generate_series(1, 32) AS d) FROM generate_series(1, 1000) AS n;
INSERT INTO search_index SELECT n, 1 + n % 2000, to_tsvector('english', 'some words') FROM generate_series(1, 1000) AS n;
ANALYZE;
