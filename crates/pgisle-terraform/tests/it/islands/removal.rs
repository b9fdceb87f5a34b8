//! What taking a resource away does.

use pgisle_testkit::skip_foreign;

use super::{NO_TERRAFORM, SHOP, Site};

const DATABASES: &str = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname LIKE 'shop%'";
const ROLES: &str = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'shop%' AND rolcanlogin";

#[tokio::test]
async fn removing_a_service_keeps_its_data_and_closes_it() {
    let Some(site) = Site::with(SHOP).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply().expect(0);
    site.cluster.psql_in("shop_billing", "SET ROLE shop_billing_owner; CREATE TABLE t AS SELECT 42 AS x").await;
    let without = SHOP[..SHOP.find("resource \"pgisle_service\" \"billing\"").unwrap()].to_owned();
    site.configure(&without);
    site.plan().expect(2).says("0 to add, 0 to change, 1 to destroy");
    site.apply().expect(0);
    site.plan().expect(0).says("No changes");
    assert_eq!(site.cluster.psql_in("shop_billing", "SELECT x FROM t").await, "42");
    assert_eq!(site.cluster.psql(ROLES).await, "shop_monitoring shop_orders_user");
    // It comes back as it was.
    site.configure(SHOP);
    site.apply().expect(0).says("1 added");
    site.plan().expect(0).says("No changes");
    assert_eq!(site.cluster.psql_in("shop_billing", "SELECT x FROM t").await, "42");
    assert_eq!(site.cluster.psql(ROLES).await, "shop_billing_user shop_monitoring shop_orders_user");
    site.place.terraform(&["destroy", "-auto-approve"]).expect(0).says("3 destroyed");
    assert_eq!(site.cluster.psql(DATABASES).await, "shop_billing shop_orders");
}

#[tokio::test]
async fn data_is_dropped_only_by_force() {
    let service =
        |more: &str| format!("resource \"pgisle_service\" \"a\" {{\n  name = \"a\"\n  deletion_policy = \"destroy\"\n{more}}}\n");
    let Some(site) = Site::with(&service("")).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply().expect(0);
    site.cluster.psql_in("shop_a", "SET ROLE shop_a_owner; CREATE TABLE t AS SELECT 42 AS x").await;
    site.place.terraform(&["destroy", "-auto-approve"]).expect(1).says("PI0").says("shop_a");
    assert_eq!(site.cluster.psql_in("shop_a", "SELECT x FROM t").await, "42");
    site.plan().expect(0).says("No changes");
    site.configure(&service("  force_destroy = true\n"));
    site.apply().expect(0);
    site.place.terraform(&["destroy", "-auto-approve"]).expect(0).says("1 destroyed");
    assert_eq!(site.cluster.psql(DATABASES).await, "");
    let left = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'shop_a%'";
    assert_eq!(site.cluster.psql(left).await, "0");
}

#[tokio::test]
async fn files_go_unless_they_were_edited() {
    let files = "resource \"pgisle_service\" \"a\" {\n  name = \"a\"\n}\nresource \"pgisle_artifacts\" \"this\" {\n  services = [pgisle_service.a.definition]\n  credentials = [pgisle_service.a.credential]\n  folder = \"out\"\n}\n";
    let Some(site) = Site::with(files).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply().expect(0);
    let path = |name: &str| site.place.path("project/out").join(name);
    // A file that is gone comes back; one that was edited is left alone, and told.
    std::fs::remove_file(path(".env/.env.a")).unwrap();
    site.plan().expect(2).says("0 to add, 1 to change, 0 to destroy");
    site.apply().expect(0);
    site.plan().expect(0).says("No changes");
    std::fs::write(path("helm/values.yaml"), "mine\n").unwrap();
    site.apply().expect(0).says("helm/values.yaml\" was edited by hand").says("set overwrite = true");
    assert_eq!(std::fs::read_to_string(path("helm/values.yaml")).unwrap(), "mine\n");
    site.place.terraform(&["destroy", "-auto-approve"]).expect(0);
    assert!(
        path("helm/values.yaml").exists() && !path(".env/.env.a").exists() && !path("scripts").join("backup-databases.sh").exists()
    );
}
