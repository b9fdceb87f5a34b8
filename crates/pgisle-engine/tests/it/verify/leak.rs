//! Leaks that are planted are found, with who, where to and how; and what the report says closes them does.

use std::collections::BTreeSet;

use pgisle_core::diagnostic::Severity;
use pgisle_core::verify::{Report, Verdict};
use pgisle_testkit::Cluster;

use super::{STATIC, THREE, USUAL, leaking_cells, paste, shown, told, verify};
use crate::apply::Project;

struct Planted {
    /// What is done, in which database.
    plant: &'static [(&'static str, &'static str)],
    /// All that the report tells, and a piece of the path of each.
    told: &'static [(&'static str, &'static str)],
    /// Whether the report has lines that close it.
    closes: bool,
    /// What those leave behind, and where there are none, what closes it.
    clear: &'static [(&'static str, &'static str)],
}

/// What a plain administrator can undo: it acts as the owner of its databases, and as the islands' owner roles.
const PLAIN: &[&str] = &[
    "CONNECT ON DATABASE link_users TO PUBLIC",
    "CONNECT ON DATABASE link_users TO link_",
    "TEMPORARY ON DATABASE",
    "CREATE ON DATABASE",
    "GRANT CREATE ON SCHEMA public",
    "ALTER DEFAULT PRIVILEGES",
    "GRANT SELECT ON secrets TO PUBLIC",
    "CONNECTION LIMIT",
];

/// All of it, on a cluster of three islands.
const PLANTED: &[Planted] = &[
    Planted {
        plant: &[("postgres", "GRANT CONNECT ON DATABASE link_users TO PUBLIC")],
        told: &[("PI0501 everyone > link_users", "every login (PUBLIC) → granted CONNECT on database link_users")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "GRANT CONNECT ON DATABASE link_users TO link_chat_user")],
        told: &[("PI0501 chat > link_users", "link_chat_user → granted CONNECT on database link_users")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[(
            "postgres",
            "CREATE ROLE helper; GRANT helper TO link_chat_user; GRANT CONNECT ON DATABASE link_users TO helper",
        )],
        told: &[("PI0501 chat > link_users", "link_chat_user → member of helper → granted CONNECT on database link_users")],
        closes: true,
        clear: &[("postgres", "DROP ROLE helper")],
    },
    Planted {
        plant: &[(
            "postgres",
            "CREATE ROLE helper; CREATE ROLE helper2; CREATE ROLE helper3; GRANT helper TO link_chat_user; GRANT helper2 TO helper; GRANT helper3 TO helper2; GRANT CONNECT ON DATABASE link_users TO helper3",
        )],
        told: &[(
            "PI0501 chat > link_users",
            "member of helper → member of helper2 → member of helper3 → granted CONNECT on database link_users",
        )],
        closes: true,
        clear: &[("postgres", "DROP ROLE helper, helper2, helper3")],
    },
    Planted {
        plant: &[(
            "postgres",
            "CREATE ROLE helper; CREATE ROLE helper2; GRANT helper TO link_chat_user; GRANT helper2 TO helper; GRANT link_users_owner TO helper2",
        )],
        told: &[(
            "PI0504 chat > link_users",
            "link_chat_user → member of helper → member of helper2 → member of link_users_owner → owns tables in link_users",
        )],
        closes: true,
        clear: &[("postgres", "DROP ROLE helper, helper2")],
    },
    Planted {
        plant: &[("postgres", "CREATE ROLE helper NOINHERIT; GRANT helper TO link_chat_user; GRANT link_users_owner TO helper")],
        told: &[("PI0504 chat > link_users", "link_chat_user → member of helper → may SET ROLE link_users_owner")],
        closes: true,
        clear: &[("postgres", "DROP ROLE helper")],
    },
    Planted {
        plant: &[("postgres", "GRANT link_users_user TO link_chat_user")],
        told: &[("PI0504 chat > link_users", "link_chat_user → member of link_users_user")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "GRANT link_users_owner TO link_users_user WITH ADMIN OPTION")],
        told: &[("PI0506 users > link_users", "link_users_user → may grant link_users_owner")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "ALTER ROLE link_users_owner LOGIN PASSWORD 'known'")],
        told: &[("PI0506 users > link_users", "link_users_owner → is LOGIN")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "CREATE ROLE reporting LOGIN; GRANT link_users_owner TO reporting")],
        told: &[("PI0504 reporting > link_users", "reporting → member of link_users_owner → owns tables in link_users")],
        closes: true,
        clear: &[("postgres", "DROP ROLE reporting")],
    },
    Planted {
        plant: &[("postgres", "CREATE ROLE reporting LOGIN; GRANT CONNECT ON DATABASE link_users TO reporting")],
        told: &[("PI0501 reporting > link_users", "reporting → granted CONNECT on database link_users")],
        closes: true,
        clear: &[("postgres", "DROP ROLE reporting")],
    },
    Planted {
        plant: &[("link_users", "GRANT CREATE ON SCHEMA public TO PUBLIC")],
        told: &[("PI0503 everyone > link_users", "granted CREATE on schema public")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("link_users", "ALTER DEFAULT PRIVILEGES FOR ROLE link_users_owner GRANT SELECT ON TABLES TO PUBLIC")],
        told: &[("PI0508 everyone > link_users", "granted SELECT on future tables of link_users_owner in link_users")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[(
            "link_users",
            "ALTER DEFAULT PRIVILEGES FOR ROLE link_users_owner IN SCHEMA public GRANT ALL ON TABLES TO link_chat_user",
        )],
        told: &[("PI0508 chat > link_users", "on future tables of link_users_owner in schema public in link_users")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[
            (
                "link_users",
                "CREATE TABLE secrets (word text); ALTER TABLE secrets OWNER TO link_users_owner; GRANT SELECT ON secrets TO PUBLIC",
            ),
            ("postgres", "GRANT CONNECT ON DATABASE link_users TO link_chat_user"),
        ],
        told: &[
            ("PI0501 chat > link_users", "link_chat_user → granted CONNECT"),
            ("PI0502 everyone > link_users", "every login (PUBLIC) → granted SELECT on table public.secrets in link_users"),
        ],
        closes: true,
        clear: &[("link_users", "DROP TABLE secrets")],
    },
    Planted {
        plant: &[(
            "link_users",
            "CREATE TABLE secrets (word text); ALTER TABLE secrets OWNER TO link_users_owner; CREATE ROLE helper; GRANT helper TO link_chat_user; GRANT SELECT (word) ON secrets TO helper",
        )],
        told: &[(
            "PI0502 chat > link_users",
            "link_chat_user → member of helper → granted SELECT on table public.secrets in link_users",
        )],
        closes: true,
        clear: &[("link_users", "DROP TABLE secrets; DROP ROLE helper")],
    },
    Planted {
        plant: &[("link_users", "SELECT lo_create(4711); GRANT SELECT ON LARGE OBJECT 4711 TO link_chat_user")],
        told: &[("PI0502 chat > link_users", "granted SELECT on large object 4711 in link_users")],
        closes: true,
        clear: &[("link_users", "SELECT lo_unlink(4711)")],
    },
    Planted {
        plant: &[("postgres", "GRANT pg_read_all_data TO link_chat_user")],
        told: &[("PI0509 chat > *", "link_chat_user → member of pg_read_all_data")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "CREATE ROLE helper; GRANT pg_write_all_data TO helper; GRANT helper TO link_chat_user")],
        told: &[("PI0509 chat > *", "link_chat_user → member of helper → member of pg_write_all_data")],
        closes: true,
        clear: &[("postgres", "DROP ROLE helper")],
    },
    Planted {
        plant: &[("postgres", "GRANT pg_execute_server_program TO link_ai_migrator")],
        told: &[("PI0509 ai > *", "link_ai_migrator → member of pg_execute_server_program")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "GRANT pg_read_server_files TO link_users_owner")],
        told: &[("PI0509 users > *", "link_users_user → member of link_users_owner → member of pg_read_server_files")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "GRANT pg_signal_backend TO link_users_user")],
        told: &[("PI0509 users > *", "link_users_user → member of pg_signal_backend")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "ALTER ROLE link_chat_user SUPERUSER")],
        told: &[("PI0505 chat > *", "link_chat_user → is SUPERUSER")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "ALTER ROLE link_chat_user CREATEROLE")],
        told: &[("PI0505 chat > *", "link_chat_user → is CREATEROLE")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "ALTER ROLE link_chat_owner CREATEDB")],
        told: &[("PI0505 chat > *", "link_chat_user → member of link_chat_owner → is CREATEDB")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "ALTER ROLE link_chat_user REPLICATION")],
        told: &[("PI0505 chat > *", "link_chat_user → is REPLICATION")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "ALTER ROLE link_chat_user BYPASSRLS")],
        told: &[("PI0505 chat > *", "link_chat_user → is BYPASSRLS")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "ALTER DATABASE link_users OWNER TO link_users_user")],
        told: &[("PI0506 users > link_users", "link_users_user → owns database link_users")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "ALTER DATABASE link_users OWNER TO link_users_owner")],
        told: &[("PI0506 users > link_users", "link_users_user → member of link_users_owner → owns database link_users")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "GRANT CONNECT ON DATABASE link_users TO link_users_user WITH GRANT OPTION")],
        told: &[("PI0506 users > link_users", "granted CONNECT on database link_users with grant option")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "GRANT TEMPORARY ON DATABASE link_users TO PUBLIC")],
        told: &[("PI0503 everyone > link_users", "granted TEMPORARY on database link_users")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "GRANT CREATE ON DATABASE link_users TO PUBLIC")],
        told: &[("PI0503 everyone > link_users", "granted CREATE on database link_users")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("link_users", "CREATE FUNCTION public.reset(who text) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'")],
        told: &[(
            "PI0511 users > link_users",
            "granted EXECUTE on function public.reset(text) → function public.reset(text) in link_users runs as postgres → is SUPERUSER",
        )],
        closes: true,
        clear: &[("link_users", "DROP FUNCTION public.reset(text)")],
    },
    Planted {
        plant: &[(
            "link_users",
            "CREATE EXTENSION postgres_fdw; CREATE SERVER neighbour FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'link_chat'); CREATE USER MAPPING FOR link_users_user SERVER neighbour OPTIONS (user 'link_chat_user', password 'x')",
        )],
        told: &[(
            "PI0512 users > link_chat",
            "user mapping for link_users_user → foreign server neighbour (postgres_fdw) leads to database link_chat",
        )],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("link_users", "CREATE EXTENSION dblink")],
        told: &[("PI0512 users > link_users", "extension dblink is installed in link_users")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "GRANT CONNECT ON DATABASE postgres TO PUBLIC")],
        told: &[("PI0501 everyone > postgres", "granted CONNECT on database postgres")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "GRANT CONNECT ON DATABASE template1 TO link_chat_user")],
        told: &[("PI0501 chat > template1", "link_chat_user → granted CONNECT on database template1")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "ALTER ROLE link_users_user CONNECTION LIMIT -1")],
        told: &[("PI0507 users > link_users", "has no limit on its connections, wanted 50")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "ALTER DATABASE link_users CONNECTION LIMIT 1000")],
        told: &[("PI0507 users > link_users", "database link_users has a limit of 1000, wanted 100")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("postgres", "GRANT pg_write_all_data TO link_monitoring")],
        told: &[("PI0509 link_monitoring > *", "link_monitoring → member of pg_write_all_data")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("link_users", "GRANT CREATE ON SCHEMA public TO link_monitoring")],
        told: &[("PI0503 link_monitoring > link_users", "link_monitoring → granted CREATE on schema public of link_users")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[(
            "link_users",
            "CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS 'SELECT $1'; ALTER FUNCTION public.lower(text) OWNER TO link_chat_user",
        )],
        told: &[("PI0502 chat > link_users", "link_chat_user → owns 1 object in link_users")],
        closes: true,
        clear: &[("link_users", "DROP FUNCTION public.lower(text)")],
    },
    Planted {
        plant: &[("link_users", "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO link_users_user")],
        told: &[("PI0515 users > link_users", "link_users_user → granted EXECUTE on function pg_read_file(text)")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("link_users", "GRANT SELECT ON pg_catalog.pg_authid TO PUBLIC")],
        told: &[("PI0515 users > link_users", "every login (PUBLIC) → granted SELECT on catalog pg_authid")],
        closes: true,
        clear: &[],
    },
    Planted {
        plant: &[("link_users", "UPDATE pg_catalog.pg_language SET lanpltrusted = true WHERE lanname = 'internal'")],
        told: &[("PI0515 users > *", "tried it and could create a function in the server's own language in link_users")],
        closes: false,
        clear: &[("link_users", "UPDATE pg_catalog.pg_language SET lanpltrusted = false WHERE lanname = 'internal'")],
    },
];

/// Plants, looks, closes as the report says, and looks again. What is told is all there is, so a leak that stays open is found
/// with the next one.
async fn plant_and_close(cluster: &Cluster, project: &Project, planted: &Planted, psql_user: (&str, &str)) {
    let Planted { plant, told: wanted, closes, clear } = planted;
    for (database, sql) in *plant {
        cluster.psql_in(database, sql).await;
    }
    let report = verify(project, USUAL).await;
    let seen: Vec<String> = report.leaks.iter().map(told).collect();
    assert_eq!(seen, wanted.iter().map(|(told, _)| (*told).to_owned()).collect::<Vec<_>>(), "{plant:?}\n{}", shown(&report));
    assert_eq!(report.unproved, [], "{plant:?}");
    assert_eq!(report.verdict, Verdict::Leaking, "{plant:?}");
    for (leak, (_, path)) in report.leaks.iter().zip(*wanted) {
        assert!(leak.path_text().contains(path), "{plant:?}\n{path}\n{}", leak.path_text());
        assert!(!leak.hint.is_empty() && (leak.commands.is_empty() != *closes), "{plant:?}\n{leak:?}");
    }
    assert_matrix(&report, wanted);
    let lines: Vec<String> = report.leaks.iter().flat_map(|leak| leak.commands.clone()).collect();
    let complaints = paste(cluster, psql_user, &lines.join("\n")).await;
    assert!(!complaints.contains("ERROR"), "{plant:?}\n{lines:#?}\n{complaints}");
    for (database, sql) in *clear {
        cluster.psql_in(database, sql).await;
    }
    let after = verify(project, STATIC).await;
    assert_eq!((after.verdict, &after.leaks), (Verdict::Isolated, &Vec::new()), "{plant:?}\n{lines:#?}\n{}", shown(&after));
}

/// Each pair that is told of leaks in the matrix, and no other does.
fn assert_matrix(report: &Report, wanted: &[(&str, &str)]) {
    let (mut pairs, mut clusters) = (BTreeSet::new(), BTreeSet::new());
    let services: Vec<&str> = report.rows.iter().map(|row| row.service.as_str()).collect();
    for (leak, (text, _)) in report.leaks.iter().zip(wanted).filter(|(leak, _)| leak.severity == Severity::Error) {
        let (who, to) = text.split_once(' ').and_then(|(_, pair)| pair.split_once(" > ")).unwrap();
        let superuser = leak.path_text().ends_with("SUPERUSER") && to == "*";
        for service in services.iter().filter(|service| who == "everyone" || who == **service) {
            let home = format!("link_{service}");
            match to {
                "*" => drop(clusters.insert((*service).to_owned())),
                _ if who == "everyone" && to == home => {}
                _ => drop(pairs.insert(format!("{service} > {to}"))),
            }
            if superuser {
                let foreign = report.columns.iter().filter(|column| column.database.as_str() != home);
                pairs.extend(foreign.map(|column| format!("{service} > {}", column.database)));
            }
        }
    }
    assert_eq!(leaking_cells(report), pairs, "{}", shown(report));
    let seen: BTreeSet<String> = report.rows.iter().filter(|row| row.cluster).map(|row| row.service.to_string()).collect();
    assert_eq!(seen, clusters, "{}", shown(report));
}

async fn every_leak(major: u32) {
    let cluster = Cluster::builder().major(major).start().await;
    let project = Project::new(&cluster, THREE);
    project.apply().await;
    for planted in PLANTED {
        plant_and_close(&cluster, &project, planted, (cluster.superuser(), cluster.password())).await;
    }
    let after = verify(&project, USUAL).await;
    assert_eq!(after.verdict, Verdict::Isolated, "{}", shown(&after));
    project.assert_settled().await;
}

#[tokio::test]
async fn every_leak_is_found_and_closed_as_told() {
    every_leak(pgisle_testkit::majors().await[0]).await;
}

/// Before 16 memberships have no options of their own.
#[tokio::test]
async fn every_leak_is_found_on_another_version_too() {
    let majors = pgisle_testkit::majors().await;
    let Some(other) = majors[1..].iter().find(|major| (**major < 16) != (majors[0] < 16)) else {
        pgisle_testkit::skip!("PostgreSQL on the other side of 16 is not installed");
    };
    every_leak(*other).await;
}

/// An administrator who is no superuser closes with the printed lines what it may close at all.
#[tokio::test]
async fn a_plain_administrator_closes_what_is_its_own() {
    for major in pgisle_testkit::majors().await.into_iter().take(2) {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::plain(&cluster, THREE).await;
        project.apply_with_dba(&cluster).await;
        let password = project.connect.password().unwrap().expose().to_owned();
        let mine = |planted: &&Planted| planted.plant.iter().all(|(_, sql)| PLAIN.iter().any(|word| sql.contains(word)));
        let planted: Vec<_> = PLANTED.iter().filter(mine).collect();
        assert!(planted.len() > 7, "{}", planted.len());
        for planted in planted {
            plant_and_close(&cluster, &project, planted, ("platform", &password)).await;
        }
    }
}
