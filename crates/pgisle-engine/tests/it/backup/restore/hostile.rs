//! A dump that wants more than its service has does not get it.

use pgisle_testkit::Cluster;

use super::{Dump, TWO, remains, said};
use crate::apply::Project;
use crate::backup::pg_dump;

/// Each line tries to become more than the owner role, and notes in `tried` what came of it.
const ATTACK: &str = r"
CREATE TABLE tried (as_whom text, is_superuser boolean);
CREATE FUNCTION attack() RETURNS int LANGUAGE plpgsql AS $f$
DECLARE step text;
BEGIN
    FOREACH step IN ARRAY ARRAY[
        'RESET ROLE', 'SET ROLE postgres', 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION postgres',
        'ALTER ROLE link_users_owner SUPERUSER', 'ALTER ROLE CURRENT_USER SUPERUSER', 'CREATE ROLE mine SUPERUSER LOGIN',
        'ALTER ROLE link_users_user SUPERUSER', 'GRANT pg_execute_server_program TO link_users_owner',
        'GRANT link_chat_owner TO link_users_owner', 'COPY tried TO PROGRAM ''touch /tmp/pgisle-hostile''',
        'GRANT CONNECT ON DATABASE link_users TO PUBLIC', 'ALTER DATABASE link_chat OWNER TO link_users_owner',
        'CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION pg_catalog.now()',
        'ALTER SYSTEM SET work_mem = 1', 'GRANT link_users_owner TO PUBLIC'
    ] LOOP
        BEGIN EXECUTE step; EXCEPTION WHEN OTHERS THEN NULL; END;
        INSERT INTO public.tried SELECT session_user, rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user;
    END LOOP;
    RETURN 1;
END $f$;
CREATE FUNCTION checked(int) RETURNS boolean LANGUAGE sql AS 'SELECT public.attack() = $1';
CREATE TABLE trap (n int CHECK (checked(n)));
INSERT INTO trap VALUES (1);
CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT public.attack()::text';
CREATE VIEW pg_roles AS SELECT public.attack() AS rolname;
CREATE TABLE indexed AS SELECT 1 AS n;
CREATE FUNCTION fixed(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM public.attack(); RETURN n; END';
CREATE INDEX ON indexed (fixed(n));
CREATE MATERIALIZED VIEW seen AS SELECT public.attack();
";

const RIGHTS: &str = "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname LIKE 'link%' OR rolname = 'mine' \
    UNION ALL SELECT r.rolname || ' in ' || g.rolname, admin_option, false, false FROM pg_auth_members a \
    JOIN pg_roles r ON r.oid = a.member JOIN pg_roles g ON g.oid = a.roleid ORDER BY 1";

#[tokio::test]
async fn hostile_dumps_gain_no_rights() {
    for major in pgisle_testkit::majors().await {
        for is_plain in [false, true] {
            let cluster = Cluster::builder().major(major).start().await;
            let project = if is_plain { Project::plain(&cluster, TWO).await } else { Project::new(&cluster, TWO) };
            project.apply().await;
            cluster.psql("CREATE DATABASE forge TEMPLATE template0").await;
            cluster.psql("CREATE ROLE forger LOGIN PASSWORD 'x'; GRANT ALL ON DATABASE forge TO forger").await;
            cluster.psql_in("forge", "GRANT ALL ON SCHEMA public TO forger").await;
            // Not by a superuser: the trap would catch it.
            cluster.connect_as("forger", "x", "forge").await.unwrap().batch_execute(ATTACK).await.unwrap();
            let rights = cluster.psql(RIGHTS).await;
            // Compressed, so that the rows that the trap adds are not seen for what they are.
            let archive = Dump::new("hostile.dump", pg_dump(&cluster, "forge", &["-Fc"]).await);
            let seen_through = Dump::new("hostile.dump", pg_dump(&cluster, "forge", &["-Fc", "-Z0"]).await);
            let error = seen_through.restore(&project).await.unwrap_err();
            assert!(said(&error).contains("table \"public\".\"tried\" has"), "{major}: {}", said(&error));
            let script = Dump::new("hostile.sql", pg_dump(&cluster, "forge", &[]).await);
            for dump in [archive, script] {
                let restored = dump.restore(&project).await.unwrap_or_else(|error| panic!("{major}: {}", said(&error)));
                assert_eq!(cluster.psql(RIGHTS).await, rights, "{major} {}", dump.name);
                // The trap did go off, and never as anyone but the login of the restore.
                let tried =
                    cluster.psql_in("link_users", "SELECT DISTINCT as_whom, is_superuser FROM public.tried ORDER BY 1").await;
                assert!(tried.lines().any(|line| line == "link_users_owner__restore|f"), "{major}: {tried}");
                assert!(tried.lines().all(|line| !line.ends_with("|t")), "{major}: {tried}");
                assert_eq!(remains(&cluster).await.lines().filter(|line| *line == restored.replaced.as_str()).count(), 1);
                let strangers = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace \
                     AND relowner <> 'link_users_owner'::regrole";
                assert_eq!(cluster.psql_in("link_users", strangers).await, "0", "{major}");
            }
            project.assert_settled().await;
        }
    }
}

#[tokio::test]
async fn commands_for_psql_and_clusters_in_a_script_are_refused() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, TWO);
    project.apply().await;
    for (script, expected) in [
        ("SELECT 1;\n\\! touch /tmp/pgisle-hostile\n", "line 2 holds the command \\! for psql"),
        ("\\connect one\nSELECT 1;\n\\connect two\nSELECT 1;\n", "it holds several databases"),
        ("", "it is empty"),
        ("-- nothing\n", "it holds no statement"),
    ] {
        let error = Dump::new("x.sql", script).restore(&project).await.unwrap_err();
        assert!(said(&error).to_lowercase().contains(expected), "{expected}: {}", said(&error));
        assert_eq!(remains(&cluster).await, "");
    }
}
