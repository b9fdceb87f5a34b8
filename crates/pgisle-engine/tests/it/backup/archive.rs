//! What is read from `pg_dump`'s stream is what the server itself says.

use futures_util::TryStreamExt as _;
use pgisle_core::backup::archive::{self, ArchiveError};
use pgisle_core::backup::{Content, RowReader};
use pgisle_core::secret::Secret;
use pgisle_testkit::Cluster;

/// Everything whose rows are hard to get right, as far as one statement each goes.
const NASTY: &str = r#"
CREATE SCHEMA "Odd ""name";
CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word text, doubled bigint GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO plain (word) SELECT CASE g % 5 WHEN 0 THEN NULL WHEN 1 THEN E'tab\there' WHEN 2 THEN E'line\nbreak' WHEN 3 THEN '\.' ELSE 'ü\' END FROM generate_series(1, 2000) AS g;
CREATE TABLE "Odd ""name"."Mixed Case" ("Key" text, "a,b" float8, at timestamptz, raw bytea, list int[]);
INSERT INTO "Odd ""name"."Mixed Case" VALUES ('x', 'NaN', '4713-01-01 BC', '\xdeadbeef', '{1,NULL,3}'), (NULL, '-Infinity', 'infinity', '', '{}');
CREATE TABLE empty (nothing int);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE parts (at date, n int) PARTITION BY RANGE (at);
CREATE TABLE parts_one PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
INSERT INTO parts SELECT '2025-01-15', g FROM generate_series(1, 100) AS g;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM plain;
CREATE SEQUENCE unused START -5 INCREMENT -1;
SELECT setval('plain_id_seq', 5000);
SELECT lo_from_bytea(0, decode(repeat('00ff', 3000), 'hex')), lo_from_bytea(0, '');
"#;

async fn dump(cluster: &Cluster, database: &str) -> Vec<u8> {
    let program = cluster.installation().invocation("pg_dump");
    let program =
        program.arguments(["-Fc", "-Z0", "-h"]).argument(cluster.socket_dir()).argument("-p").argument(cluster.port().to_string());
    let program = program.arguments(["-U", cluster.superuser(), database]);
    let password = Secret::new(cluster.password());
    program.secret_environment("PGPASSWORD", &password).run().await.unwrap().stdout
}

/// The rows of a table as the server sends them.
async fn rows(cluster: &Cluster, copy: &str) -> (u64, String) {
    let client = cluster.connect_to("nasty").await;
    client.batch_execute("SET extra_float_digits = 3; SET DateStyle = ISO; SET search_path = ''").await.unwrap();
    let pieces: Vec<_> = client.copy_out(copy).await.unwrap().try_collect().await.unwrap();
    let mut reader = RowReader::default();
    pieces.iter().for_each(|piece| reader.feed(piece));
    let sum = reader.finish().unwrap();
    (sum.rows(), sum.digest().to_string())
}

#[tokio::test]
async fn the_content_of_a_dump_is_the_databases() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        cluster.psql("CREATE DATABASE nasty TEMPLATE template0 ENCODING 'UTF8'").await;
        cluster.psql_in("nasty", NASTY).await;
        let bytes = dump(&cluster, "nasty").await;
        let archive = archive::read(bytes.as_slice()).unwrap();
        assert_eq!(archive.database, "nasty");
        assert!(archive.server_version.starts_with(&major.to_string()), "{}", archive.server_version);
        let Content { tables, sequences, large_objects } = &archive.content;
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["Mixed Case", "empty", "no_columns", "parts_one", "plain"], "{major}");
        for (name, copy) in [
            ("Mixed Case", r#"COPY "Odd ""name"."Mixed Case" TO STDOUT"#),
            ("empty", "COPY public.empty TO STDOUT"),
            ("no_columns", "COPY public.no_columns TO STDOUT"),
            ("parts_one", "COPY public.parts_one TO STDOUT"),
            ("plain", "COPY public.plain (id, word) TO STDOUT"),
        ] {
            let table = tables.iter().find(|table| table.name == name).unwrap();
            assert_eq!((table.rows, table.digest.to_string()), rows(&cluster, copy).await, "{major} {name}");
        }
        let states: Vec<_> = sequences.iter().map(|one| (one.name.as_str(), one.last_value, one.is_called)).collect();
        assert_eq!(states, [("plain_id_seq", 5000, true), ("unused", -5, false)]);
        assert_eq!((large_objects.count, large_objects.bytes), (2, 6000));
    }
}

/// Every version's `pg_restore` reads what pgisle has rewritten, on one connection and on two.
#[tokio::test]
async fn a_rewritten_archive_is_the_same_to_pg_restore() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        cluster.psql("CREATE DATABASE nasty TEMPLATE template0 ENCODING 'UTF8'").await;
        cluster.psql_in("nasty", NASTY).await;
        // In a file, pg_dump says where each table's data begins, which is elsewhere then.
        let folder = tempfile::tempdir().unwrap();
        let (path, rewritten_path) = (folder.path().join("dump"), folder.path().join("rewritten"));
        let run = async |program: &str, arguments: &[&str], last: String| {
            let program = cluster.installation().invocation(program).arguments(arguments.iter().copied());
            let program =
                program.arguments(["-h"]).argument(cluster.socket_dir()).argument("-p").argument(cluster.port().to_string());
            let program = program.arguments(["-U", cluster.superuser()]).argument(last);
            program.secret_environment("PGPASSWORD", &Secret::new(cluster.password())).run().await.unwrap();
        };
        run("pg_dump", &["-Fc", "-Z0", "-d", "nasty"], format!("--file={}", path.display())).await;
        let dumped = std::fs::read(&path).unwrap();
        let mut rewritten = Vec::new();
        let archive = archive::rewrite(dumped.as_slice(), &mut rewritten).unwrap();
        assert_eq!(archive, archive::read(dumped.as_slice()).unwrap(), "{major}");
        assert_eq!(archive, archive::read(rewritten.as_slice()).unwrap(), "{major}");
        // Five bytes for each of 2,000 rows and more.
        assert!(rewritten.len() + 10_000 < dumped.len(), "{major}: {} of {}", rewritten.len(), dumped.len());
        let mut again = Vec::new();
        archive::rewrite(rewritten.as_slice(), &mut again).unwrap();
        assert!(again == rewritten, "{major}");
        std::fs::write(&rewritten_path, &rewritten).unwrap();
        for (database, jobs) in [("one", "-j1"), ("two", "-j2")] {
            cluster.psql(&format!("CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8'")).await;
            run("pg_restore", &["--exit-on-error", jobs, "-d", database], rewritten_path.display().to_string()).await;
            let restored = archive::read(dump(&cluster, database).await.as_slice()).unwrap();
            assert_eq!(restored.content, archive.content, "{major} {jobs}");
        }
        // Who takes no more is told apart from what cannot be read.
        let short = archive::rewrite(dumped.as_slice(), [0_u8; 100].as_mut_slice());
        assert!(matches!(short, Err(ArchiveError::Write(_))), "{short:?}");
    }
}

#[tokio::test]
async fn rows_are_handed_on_whole_and_all_of_them() {
    let cluster = Cluster::start().await;
    cluster.psql("CREATE DATABASE nasty TEMPLATE template0 ENCODING 'UTF8'").await;
    cluster.psql_in("nasty", NASTY).await;
    // Several pieces, some rows larger than a piece, and lines that look like the end of the data.
    let large = "CREATE TABLE large AS SELECT g, repeat(E'\\\\.\n\\\\', CASE g % 50 WHEN 0 THEN 200000 ELSE 20 + g END) AS t \
        FROM generate_series(1, 400) AS g";
    cluster.psql_in("nasty", large).await;
    let bytes = dump(&cluster, "nasty").await;
    let whole = archive::read(bytes.as_slice()).unwrap();
    let mut pieces: Vec<(String, Vec<u8>)> = Vec::new();
    let mut keep = |entry: &archive::Entry, rows: Vec<u8>| {
        pieces.push((entry.tag.clone(), rows));
        true
    };
    assert_eq!(archive::read_rows(bytes.as_slice(), &mut keep).unwrap().unwrap(), whole.entries);
    assert!(pieces.iter().filter(|(name, _)| name == "large").count() > 4);
    for table in &whole.content.tables {
        let own: Vec<_> = pieces.iter().filter(|(name, _)| *name == table.name).collect();
        assert!(!own.is_empty(), "{}", table.name);
        let mut sum = pgisle_core::backup::RowSum::default();
        for (_, rows) in own {
            let mut reader = RowReader::default();
            reader.feed(rows);
            // A piece that began or ended within a row would give another sum.
            rows.split_inclusive(|byte| *byte == b'\n').for_each(|row| sum.add(&row[..row.len() - 1]));
            assert!(!reader.has_ended() && reader.finish().is_ok());
        }
        assert_eq!((sum.rows(), sum.digest()), (table.rows, table.digest), "{}", table.name);
    }
    assert_eq!(archive::read_rows(bytes.as_slice(), &mut |_, _| false).unwrap(), None);
}

#[tokio::test]
async fn a_cut_archive_is_never_taken_for_a_whole_one() {
    let cluster = Cluster::start().await;
    cluster.psql("CREATE DATABASE nasty TEMPLATE template0 ENCODING 'UTF8'").await;
    cluster.psql_in("nasty", NASTY).await;
    let bytes = dump(&cluster, "nasty").await;
    let mut all = |_: &archive::Entry, _: Vec<u8>| true;
    for length in (0..bytes.len()).step_by(bytes.len() / 400) {
        assert!(archive::read(&bytes[..length]).is_err(), "cut to {length} of {}", bytes.len());
        assert!(archive::read_rows(&bytes[..length], &mut all).is_err(), "cut to {length} of {}", bytes.len());
    }
    assert!(archive::read_rows(&bytes[..bytes.len() - 1], &mut all).is_err());
    assert!(archive::read(&bytes[..bytes.len() - 1]).is_err());
    assert!(matches!(archive::read(&b"-- SQL, not an archive"[..]), Err(ArchiveError::Magic)));
    let entries = archive::read_entries(bytes.as_slice()).unwrap().entries;
    assert!(entries.iter().any(|entry| entry.kind == "TABLE DATA" && entry.tag == "plain" && entry.has_data));
}
