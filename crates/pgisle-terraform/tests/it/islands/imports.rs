//! The command line and Terraform see the same islands.

use std::collections::BTreeSet;

use pgisle_core::export::{Export, terraform};
use pgisle_core::spec::{LayerKind, Sources, load};
use pgisle_testkit::skip_foreign;

use super::{HEAD, NO_TERRAFORM, SETTINGS, SHOP, SHOP_FILE, Site};

/// The files of `pgisle export terraform`, with the address taken from the environment.
fn export(site: &Site, file: &str, adopt: bool, state: &str) {
    let address = format!(
        "postgres_host = \"{}\"\npostgres_port = {}\npostgres_username = \"{}\"\n",
        site.cluster.host(),
        site.cluster.port(),
        site.cluster.superuser()
    );
    let text = format!("{address}{SETTINGS}{file}");
    let mut sources = Sources::new();
    sources.push(LayerKind::SpecFile, "pgisle.hcl", text.clone());
    let loaded = load(&sources);
    let given: BTreeSet<String> = loaded.origins.into_keys().collect();
    let spec = loaded.spec.unwrap();
    let export = Export { spec: &spec, secrets: &loaded.secrets, given: &given, project_folder: None, adopt, state };
    for (name, text) in terraform(&export).unwrap() {
        std::fs::write(site.place.path("project").join(name), text).unwrap();
    }
    std::fs::write(site.place.path("project/pgisle.hcl"), text).unwrap();
}

#[tokio::test]
async fn what_the_command_line_made_is_imported_without_a_change() {
    let Some(site) = Site::new().await else { skip_foreign!("{NO_TERRAFORM}") };
    let file = format!(
        "{SHOP_FILE}\nservice \"search\" {{\n  access     = \"split\"\n  extensions = [\"pg_trgm\"]\n  schemas    = [\"reporting\"]\n  tables     = [\"docs\"]\n  pool_size  = 7\n  connection_limit = 9\n}}\n"
    );
    assert!(site.apply_file(&file).await.failures.is_empty());
    export(&site, &file, false, "");
    site.place.terraform(&["fmt", "-check"]).expect(0);
    site.place.terraform(&["init"]).expect(0);
    site.place.terraform(&["validate"]).expect(0);
    // The files are written for the first time; nothing else is done.
    site.plan().expect(2).says("4 to import, 1 to add, 0 to change, 0 to destroy");
    site.apply().expect(0).says("4 imported, 1 added, 0 changed, 0 destroyed");
    site.plan().expect(0).says("No changes");
    assert!(site.plan_of_file(&file).await.is_empty());
    let password = site.place.terraform(&["state", "pull"]).expect(0).stdout;
    assert!(password.contains("shop_search_user"), "the logins are in the state");
}

#[tokio::test]
async fn an_island_is_imported_by_its_database_too_and_without_the_file() {
    let Some(site) = Site::with(SHOP).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply_file(SHOP_FILE).await;
    site.place.terraform(&["import", "pgisle_service.billing", "shop_billing"]).expect(0);
    site.place.terraform(&["import", "pgisle_service.orders", "orders"]).expect(0);
    site.place.terraform(&["import", "pgisle_monitoring_user.this", "shop_monitoring"]).expect(0);
    // What no server knows, only a file could tell.
    site.plan().expect(2).says("0 to add, 1 to change, 0 to destroy").says("instances = 1 -> 2").says("+ description = \"Carts");
    site.apply().expect(0);
    site.plan().expect(0);
    site.place.terraform(&["import", "pgisle_service.other", "nothing"]).expect(1);
    site.configure(&format!("{SHOP}\nresource \"pgisle_service\" \"other\" {{\n  name = \"other\"\n}}\n"));
    let refused = site.place.terraform(&["import", "pgisle_service.other", "nothing"]).expect(1);
    refused.says("there is no island \"nothing\" to import").says("adopt = true");
}

#[tokio::test]
async fn what_another_provider_made_is_adopted_and_let_go_of() {
    let Some(site) = Site::new().await else { skip_foreign!("{NO_TERRAFORM}") };
    site.cluster.psql("CREATE ROLE shop_orders_user LOGIN PASSWORD 'old'").await;
    site.cluster.psql("CREATE DATABASE shop_orders OWNER shop_orders_user").await;
    site.cluster.psql_in("shop_orders", "SET ROLE shop_orders_user; CREATE TABLE t AS SELECT 42 AS x").await;
    let state =
        "postgresql_role.service[\"orders\"]\npostgresql_database.service[\"orders\"]\nrandom_password.service[\"orders\"]\n";
    let file = "service \"orders\" {}\n";
    export(&site, file, true, state);
    let removed = std::fs::read_to_string(site.place.path("project/removed.tf")).unwrap();
    assert!(removed.contains("from = postgresql_role.service\n") && !removed.contains("random_password"));
    // The other provider is not here to be asked, and nothing of it is in this state.
    std::fs::remove_file(site.place.path("project/removed.tf")).unwrap();
    site.place.terraform(&["init"]).expect(0);
    site.apply().expect(0);
    site.plan().expect(0).says("No changes");
    assert_eq!(site.cluster.psql_in("shop_orders", "SELECT x FROM t").await, "42");
    // Without adoption it is refused, with the way on.
    site.cluster.psql("CREATE DATABASE shop_other").await;
    std::fs::remove_file(site.place.path("project/pgisle.tf")).unwrap();
    site.configure("resource \"pgisle_service\" \"other\" {\n  name = \"other\"\n}\n");
    site.apply().expect(1).says("PI0301: database \"shop_other\" exists and is not pgisle's");
    assert!(HEAD.contains("shop"));
}
