//! What a run leaves in a store that speaks S3 when it is killed in the middle of an upload.

use pgisle_testkit::{Cluster, skip};

use crate::backup::files;
use crate::cluster::{document, exit, project};
use crate::program::Place;

/// Kills a run at a stage of its upload.
fn killed(place: Place, arguments: &[&str], stage: &str) -> Place {
    let place = place.variable("PGISLE_FAULT_KILL_AT", stage);
    assert_eq!(exit(&place, arguments), None, "{stage}: it was killed");
    place.variable("PGISLE_FAULT_KILL_AT", "")
}

#[tokio::test]
async fn a_run_that_is_killed_while_it_uploads_leaves_no_part_for_long() {
    let Some(server) = pgisle_testkit::S3Server::start().await else { skip!("s3s-fs is not installed") };
    let cluster = Cluster::start().await;
    let mut place = project(&cluster).variable("PGISLE_VAR_backup_storage_path", "s3://bucket/some");
    for (name, value) in server.variables() {
        place = place.variable(name, &value);
    }
    assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
    let rows = "SELECT md5('a' || g) || md5('b' || g) AS x FROM generate_series(1, 300000) AS g";
    cluster.psql_in("shop_orders", &format!("SET ROLE shop_orders_owner; CREATE TABLE t AS {rows}")).await;
    let create = ["backup", "create", "-service=orders"];
    let notes = server.folder().join("bucket/some/shop-development/uploads");

    place = killed(place, &create, "store.part");
    assert!(server.parts() >= 2, "one part, and what says that there is an upload");
    let listed = document(&place, &["backup", "list", "-service=orders"]);
    assert!(listed["uploads"][0]["key"].as_str().unwrap().starts_with("services/orders/"), "{listed}");
    let text = place.seen(&["backup", "list"]);
    assert!(text.contains("exit: 0") && text.contains("warning[PI0810]") && text.contains("has not ended"), "{text}");
    // Without the lock it may be another run's, and what is asked of another service is not its.
    assert_eq!(document(&place, &["backup", "prune", "-n"])["due"]["uploads"].as_array().unwrap().len(), 0);
    assert_eq!(exit(&place, &["backup", "prune", "-service=billing"]), Some(0));
    assert!(server.parts() >= 2);
    let text = place.seen(&["backup", "prune"]);
    assert!(text.contains("orders") && text.contains("upload interrupted") && text.contains("1 removed"), "{text}");
    assert_eq!((server.parts(), files(&notes).len()), (0, 0));

    // The next backup does the same, says so, and is whole.
    place = killed(place, &create, "store.part");
    assert!(server.parts() >= 2);
    let text = place.seen(&create);
    assert!(text.contains("exit: 0") && text.contains("warning[PI0810]") && text.contains("was called off"), "{text}");
    assert_eq!((server.parts(), files(&notes).len()), (0, 0));
    assert_eq!(exit(&place, &["backup", "verify", "-all"]), Some(0));
    let text = place.seen(&create);
    assert!(text.contains("exit: 0") && !text.contains("PI0810"), "{text}");

    // So does one of the whole cluster; and what had just ended when its run was killed is no reason to complain.
    place = killed(place, &["backup", "create", "-cluster"], "store.part");
    place = killed(place, &create, "store.ended");
    assert_eq!((server.parts(), files(&notes).len()), (0, 1), "the cluster's was called off by the run that was killed then");
    let pruned = document(&place, &["backup", "prune"]);
    assert_eq!(pruned["due"]["uploads"].as_array().unwrap().len(), 1, "{pruned}");
    assert_eq!((server.parts(), files(&notes).len()), (0, 0));
}
