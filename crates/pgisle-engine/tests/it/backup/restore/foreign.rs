//! Dumps that pgisle did not make.

use std::io::Write as _;

use pgisle_engine::backup::restore::Compared;
use pgisle_testkit::Cluster;

use super::{Dump, TWO, remains, said};
use crate::apply::{Project, rendered};
use crate::backup::{NASTY, pg_dump};

/// What such a file looks like: made by the shared database's own administrator.
const OLD: &str = r#"--
-- PostgreSQL database dump
--

\restrict abc

SET statement_timeout = 0;
SET a_setting_of_some_later_version = 1;
SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);

CREATE EXTENSION IF NOT EXISTS "plpgsql" WITH SCHEMA pg_catalog;
COMMENT ON EXTENSION "plpgsql" IS 'PL/pgSQL procedural language';
CREATE SCHEMA public;
ALTER SCHEMA public OWNER TO link_user;
COMMENT ON SCHEMA public IS 'standard public schema';
CREATE ROLE link_user SUPERUSER;
CREATE TABLE public.users (id integer NOT NULL, name text);
ALTER TABLE public.users OWNER TO link_user;
CREATE SEQUENCE public.users_id_seq OWNED BY public.users.id;
ALTER TABLE public.users_id_seq OWNER TO link_user;
COPY public.users (id, name) FROM stdin;
1	ALTER TABLE x OWNER TO y;
2	\\! rm
\.
SELECT pg_catalog.setval('public.users_id_seq', 2, true);
ALTER TABLE ONLY public.users ADD CONSTRAINT users_pkey PRIMARY KEY (id);
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO link_user;
GRANT SELECT ON TABLE public.users TO reporting;
GRANT SELECT ON TABLE public.users TO pg_monitor;
CREATE PUBLICATION everything FOR ALL TABLES;

--
-- PostgreSQL database dump complete
--

\unrestrict abc
"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_old_script_becomes_the_services() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, TWO);
    project.apply().await;
    let zstd = zstd::encode_all(OLD.as_bytes(), 1).unwrap();
    for (name, bytes) in [("plain.sql", OLD.as_bytes().to_vec()), ("x.sql.gz", gzip(OLD.as_bytes())), ("x.sql.zst", zstd)] {
        let restored = Dump::new(name, bytes).restore(&project).await.unwrap_or_else(|error| panic!("{name}: {}", said(&error)));
        let told = rendered(&restored.diagnostics);
        for part in ["Left out: publication, role.", "role \"reporting\" does not exist", "The dump does not say what it holds"] {
            assert!(told.contains(part), "{name}: {told}");
        }
        assert_eq!((restored.compared, restored.rows), (Compared::Nothing, 2));
        let rows = cluster.psql_in("link_users", "SELECT name FROM users ORDER BY id").await;
        assert_eq!(rows, "ALTER TABLE x OWNER TO y;\n\\! rm");
        let owner =
            "SELECT relowner::regrole, has_table_privilege('pg_monitor', oid, 'SELECT') FROM pg_class WHERE relname = 'users'";
        assert_eq!(cluster.psql_in("link_users", owner).await, "link_users_owner|t");
        assert_eq!(cluster.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'link_user'").await, "0");
        project.assert_settled().await;
    }
}

#[tokio::test]
async fn what_pg_dump_writes_is_taken_in_all_its_forms() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, TWO);
    project.apply().await;
    cluster.psql("CREATE ROLE auditor").await;
    cluster.psql("CREATE DATABASE nasty TEMPLATE template0 ENCODING 'UTF8'").await;
    cluster.psql_in("nasty", NASTY).await;
    for (options, compared) in [
        (&["-Fc", "-Z0"][..], Compared::Counts),
        (&["-Fc"], Compared::Nothing),
        (&["-C"], Compared::Nothing),
        (&["--column-inserts", "--no-owner"], Compared::Nothing),
    ] {
        let dump = Dump::new("nasty", pg_dump(&cluster, "nasty", options).await);
        let restored = dump.restore(&project).await.unwrap_or_else(|error| panic!("{options:?}: {}", said(&error)));
        assert_eq!((restored.compared, restored.rows), (compared, 2113), "{options:?}");
    }
}

#[tokio::test]
async fn damaged_and_cut_files_leave_everything_as_it_was() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, TWO);
    project.apply().await;
    cluster.psql_in("link_users", "SET ROLE link_users_owner; CREATE TABLE live AS SELECT 1 AS n").await;
    let good = Dump::of_users(&cluster).await;
    let mut other = good.manifest.clone().unwrap();
    other.content.tables[0].rows += 1;
    let flipped = |at: usize| {
        let mut bytes = good.bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    let zipped = gzip(OLD.as_bytes());
    let cases = [
        ("a cut archive", Dump::new("x", &good.bytes[..good.bytes.len() - 9])),
        ("another version", Dump::new("x", flipped(5))),
        ("another's manifest", Dump { manifest: Some(other), ..Dump::new("x", good.bytes.clone()) }),
        ("a cut script", Dump::new("x", &OLD.as_bytes()[..OLD.len() / 2])),
        ("a script without its end", Dump::new("x", OLD.split("-- PostgreSQL database dump complete").next().unwrap())),
        ("cut gzip", Dump::new("x", &zipped[..zipped.len() - 9])),
        ("a statement that fails", Dump::new("x", "CREATE TABLE a (n int); SELECT 1 / 0;")),
        ("a row that fails", Dump::new("x", "CREATE TABLE a (n int); COPY a FROM stdin;\nsecret value\n\\.\n")),
    ];
    for (case, dump) in cases {
        let error = dump.restore(&project).await.expect_err(case);
        assert!(said(&error).contains("The live database is untouched."), "{case}: {}", said(&error));
        assert_eq!(remains(&cluster).await, "", "{case}");
        assert_eq!(cluster.psql_in("link_users", "SELECT n FROM live").await, "1", "{case}");
    }
    project.assert_settled().await;
}
