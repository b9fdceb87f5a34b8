-- The fence: TG_ARGV has the database that the table moves to, the gate's sequence, and the sequence that counts who comes too late.
CREATE OR REPLACE FUNCTION pgisle_split.fence() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $fence$
DECLARE
  gate pg_catalog.oid := TG_ARGV[1]::pg_catalog.regclass;
  -- A sequence is outside of snapshots: a transaction that began before the gate was closed sees it closed.
  state pg_catalog.int8 := pg_catalog.pg_sequence_last_value(gate::pg_catalog.regclass);
  fate pg_catalog.text;
  key pg_catalog.int4;
  attempts pg_catalog.int4;
BEGIN
  IF state IS NULL OR state = 1 THEN
    RETURN NULL;
  END IF;
  -- A large number is that of a transaction that decides, in whatever database. One that is too old to be known has been
  -- settled long ago, or waits for it.
  IF state > 15 THEN
    fate := pg_catalog.pg_xact_status(state::pg_catalog.text::pg_catalog.xid8);
    IF fate = 'aborted' THEN
      RETURN NULL;
    ELSIF fate = 'in progress' THEN
      RAISE EXCEPTION 'table "%"."%" is moving to database "%"', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0]
        USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Try again in a moment.';
    END IF;
  END IF;
  -- Neither the sequence nor a session's advisory lock is undone by the error below. The lock's number says how often it was this
  -- session.
  PERFORM pg_catalog.nextval(TG_ARGV[2]::pg_catalog.regclass);
  key := CASE WHEN gate::pg_catalog.int8 > 2147483647 THEN gate::pg_catalog.int8 - 4294967296 ELSE gate::pg_catalog.int8 END;
  SELECT l.objid::pg_catalog.int8::pg_catalog.int4 INTO attempts
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid = gate AND l.pid = pg_catalog.pg_backend_pid()
    ORDER BY 1 DESC LIMIT 1;
  attempts := COALESCE(attempts, 0);
  PERFORM pg_catalog.pg_advisory_lock_shared(key, attempts + 1);
  IF attempts > 0 THEN
    PERFORM pg_catalog.pg_advisory_unlock_shared(key, attempts);
  END IF;
  RAISE EXCEPTION 'table "%"."%" has moved to database "%"', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0]
    USING ERRCODE = 'object_not_in_prerequisite_state', HINT = pg_catalog.format('Connect to database "%s".', TG_ARGV[0]);
END
$fence$
