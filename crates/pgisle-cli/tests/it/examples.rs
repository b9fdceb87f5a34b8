//! Every folder of `examples/` is applied on a real server, twice, and proved.

use std::fs;
use std::path::{Path, PathBuf};

use pgisle_testkit::Cluster;

use crate::program::Place;

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut examples: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    examples.sort();
    examples
}

/// Copies what git has of an example, and nothing that someone who tried it left there.
fn copy(example: &Path, place: &Place) {
    place.file("pgisle.hcl", fs::read(example.join("pgisle.hcl")).unwrap());
    for entry in fs::read_dir(example.join("environments")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        place.file(&format!("environments/{name}"), fs::read(entry.path()).unwrap());
    }
}

#[tokio::test]
async fn every_example_is_applied_and_proved() {
    let examples = examples();
    assert!(examples.len() >= 2, "{examples:?}");
    for example in examples {
        // As `dev up` has it. Into 100 the full pools fit, and a backup or a deployment beside them does not, which is told.
        let cluster = Cluster::builder().conf("max_connections", "200").start().await;
        let place = Place::new()
            .variable("PGISLE_VAR_postgres_host", cluster.host())
            .variable("PGISLE_VAR_postgres_port", &cluster.port().to_string())
            .variable("PGISLE_VAR_postgres_username", cluster.superuser())
            .variable("PGISLE_VAR_postgres_sslmode", "disable")
            .variable("PGISLE_VAR_maintenance_database", "postgres")
            .variable("PGPASSWORD", cluster.password());
        copy(&example, &place);
        let succeeds = |arguments: &[&str]| {
            let seen = place.seen(arguments);
            assert!(seen.contains("\nexit: 0\n"), "{}: {seen}", example.display());
            seen
        };
        assert!(succeeds(&["validate"]).contains("environment development"));
        let applied = succeeds(&["apply", "-auto-approve"]);
        assert!(applied.contains("Apply complete.") && !applied.contains("warning["), "{applied}");
        for _ in 0..2 {
            succeeds(&["plan", "-detailed-exitcode"]);
        }
        assert!(succeeds(&["verify"]).contains("\nisolated: "));
        let guide = place.read("generated/development/IMPLEMENTATION_GUIDE.md");
        assert!(guide.contains("90") || !example.ends_with("link"), "{guide}");
    }
}
