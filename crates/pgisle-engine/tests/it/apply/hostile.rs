//! Names and values that would be SQL if anything were pasted together. The spec's types refuse most of them; these get past the
//! types, as from a catalog or a later version, and must arrive as what they are.

use std::collections::BTreeMap;

use pgisle_core::name::{DatabaseName, ParameterName, RoleName};
use pgisle_testkit::Cluster;

use super::Project;

const HOSTILE: &[&str] = &[
    "x\"; DROP TABLE canary; --",
    "x'; DROP TABLE canary; --",
    "x\\'; DROP TABLE canary; --",
    "$$; DROP TABLE canary; $$",
    "\"\"\"",
    "''''",
    "/* \" */ ' -- ",
    "%s %I %L ${x} :x $1",
    "Größe \u{202e}🐘 e\u{301}",
    " ",
    "SELECT",
    "\u{feff}x",
    "ends with a backslash\\",
];

/// No type of a name takes these; in a tag they are as good as any other text.
const NEVER_A_NAME: &[&str] = &["a\nDROP TABLE canary;\n", "\u{1}\u{7f}", "\t", "\0", ""];

#[test]
fn control_characters_are_in_no_name() {
    for text in NEVER_A_NAME {
        assert!(DatabaseName::new(*text).is_err() && RoleName::new(*text).is_err(), "{text:?}");
    }
}

#[tokio::test]
async fn hostile_names_and_values_arrive_as_they_are() {
    // Room for the pools of as many services.
    let cluster = Cluster::builder().conf("max_connections", "200").start().await;
    cluster.psql("CREATE TABLE canary AS SELECT 1").await;
    let services: String = (0..HOSTILE.len()).map(|index| format!("service \"s{index}\" {{}}\n")).collect();
    let mut project = Project::new(&cluster, &services);
    project.spec.settings.tags =
        HOSTILE.iter().chain(&NEVER_A_NAME[..3]).map(|text| ((*text).to_owned(), (*text).to_owned())).collect();
    project.spec.settings.default_extensions.clear();
    for (service, text) in project.spec.services.values_mut().zip(HOSTILE) {
        service.database = DatabaseName::new(*text).unwrap();
        service.user = RoleName::new(*text).unwrap();
        service.description = (*text).to_owned();
        service.settings = BTreeMap::from([(ParameterName::new("app.note").unwrap(), (*text).to_owned())]);
    }
    project.apply().await;
    project.assert_settled().await;

    let client = cluster.connect().await;
    for text in HOSTILE {
        let row = client
            .query_one(
                "SELECT (SELECT count(*) FROM pg_database WHERE datname = $1), (SELECT count(*) FROM pg_roles WHERE rolname = $1),
                        (SELECT count(*) FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
                         WHERE r.rolname = $1 AND 'app.note=' || $1 = ANY (setconfig))",
                &[text],
            )
            .await
            .unwrap();
        let counts: [i64; 3] = [row.get(0), row.get(1), row.get(2)];
        assert_eq!(counts, [1, 1, 1], "{text:?}");
    }
    assert_eq!(cluster.psql("SELECT count(*) FROM canary").await, "1");
    let unknown = "SELECT count(*) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'";
    assert_eq!(cluster.psql(unknown).await, HOSTILE.len().to_string());
}
