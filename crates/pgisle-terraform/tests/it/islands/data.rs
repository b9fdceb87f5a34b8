//! The data sources: what fits, what is isolated, what there is.

use pgisle_testkit::skip_foreign;

use super::{NO_TERRAFORM, SHOP, Site};

const PROOF: &str = r#"
locals {
  definitions = [pgisle_service.orders.definition, pgisle_service.billing.definition]
}

data "pgisle_verification" "this" {
  services          = local.definitions
  require_isolation = false
}

output "isolated" {
  value = data.pgisle_verification.this.isolated
}

output "trials" {
  value = data.pgisle_verification.this.trials
}

output "leaks" {
  value = data.pgisle_verification.this.leaks
}

data "pgisle_inventory" "this" {
  depends_on = [pgisle_service.orders, pgisle_service.billing]
}

output "islands" {
  value = data.pgisle_inventory.this.islands
}
"#;

fn output(site: &Site, name: &str) -> serde_json::Value {
    serde_json::from_str(&site.place.terraform(&["output", "-json", name]).expect(0).stdout).unwrap()
}

#[tokio::test]
async fn the_proof_finds_a_leak_and_the_inventory_what_there_is() {
    let Some(site) = Site::with(&format!("{SHOP}{PROOF}")).await else { skip_foreign!("{NO_TERRAFORM}") };
    // By a local value it is read while planning, when there is nothing yet.
    site.apply().expect(0);
    assert_eq!(output(&site, "isolated"), false);
    site.apply().expect(0);
    assert_eq!((output(&site, "isolated"), output(&site, "leaks")), (true.into(), serde_json::json!([])));
    assert!(output(&site, "trials").as_u64() > Some(20), "{}", output(&site, "trials"));
    let islands = output(&site, "islands");
    let of = |name: &str| islands.as_array().unwrap().iter().map(|island| island[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("service"), ["billing", "orders"]);
    assert_eq!((of("environment"), of("retired")), (vec!["development".into(); 2], vec![false.into(); 2]));

    site.cluster.psql("GRANT CONNECT ON DATABASE shop_billing TO PUBLIC").await;
    site.plan().expect(2).says("Warning: PI05");
    site.configure(&format!("{SHOP}{}", PROOF.replace("require_isolation = false", "require_isolation = true")));
    site.plan().expect(1).says("Error: PI05").says("shop_billing");
}

#[tokio::test]
async fn pools_that_do_not_fit_are_refused_while_planning() {
    let budget =
        "locals {\n  all = [pgisle_service.a.definition]\n}\n\ndata \"pgisle_budget\" \"this\" {\n  services = local.all\n}\n";
    let service = |instances: u32| {
        format!(
            "resource \"pgisle_service\" \"a\" {{\n  name = \"a\"\n  instances = {instances}\n  connection_limit = 200\n  database_connection_limit = 200\n}}\n{budget}"
        )
    };
    let Some(site) = Site::with(&service(90)).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.plan().expect(1).says("PI0306");
    assert_eq!(site.cluster.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'shop%'").await, "0");
    site.configure(&service(2));
    site.apply().expect(0);
    site.plan().expect(0);
}

#[tokio::test]
async fn a_plain_administrator_is_told_what_a_dba_must_run() {
    let service =
        |more: &str| format!("resource \"pgisle_service\" \"a\" {{\n  name = \"a\"\n  extensions = [\"vector\"]\n{more}}}\n");
    let Some(mut site) = Site::with(&service("")).await else { skip_foreign!("{NO_TERRAFORM}") };
    let password = site.cluster.create_plain_admin("platform").await;
    site.place.variable("TF_VAR_admin", "platform");
    site.place.variable("PGPASSWORD", &password);
    let head = super::HEAD.replace("  collation", "  fence_maintenance_databases = false\n  collation");
    let configure = |more: &str| std::fs::write(site.place.path("project/main.tf"), head.clone() + &service(more)).unwrap();
    configure("");
    site.apply().expect(1).says("CREATE EXTENSION").says("\\connect \"shop_a\"");
    // What could be done is done, and marked: as a warning, the same is no failure.
    configure("  allow_incomplete = true\n");
    site.apply().expect(0).says("Warning").says("CREATE EXTENSION");
    site.plan().expect(0).says("No changes");
    configure("");
    site.apply().expect(1).says("CREATE EXTENSION");
    site.cluster.psql("GRANT pg_monitor TO shop_monitoring").await;
    site.cluster.psql_in("shop_a", "CREATE EXTENSION vector SCHEMA public").await;
    site.apply().expect(0);
    site.plan().expect(0).says("No changes");
}

#[tokio::test]
async fn another_run_is_waited_for_as_long_as_is_said() {
    let service = "resource \"pgisle_service\" \"a\" {\n  name = \"a\"\n  timeouts {\n    create = \"1s\"\n  }\n}\n";
    let Some(site) = Site::with(service).await else { skip_foreign!("{NO_TERRAFORM}") };
    let holder = site.cluster.connect().await;
    let lock = format!("SELECT pg_advisory_lock({})", pgisle_engine::postgres::lock::LOCK_KEY);
    holder.batch_execute(&lock).await.unwrap();
    site.apply().expect(1).says("PI04").says("lock");
    assert_eq!(site.cluster.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'shop%'").await, "0");
}
