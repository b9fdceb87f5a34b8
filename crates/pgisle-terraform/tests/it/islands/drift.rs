//! What is changed behind Terraform's back is in the next plan, and mended by the next apply.

use pgisle_testkit::skip_foreign;

use super::{NO_TERRAFORM, SHOP, SHOP_FILE, Site};

#[tokio::test]
async fn drift_is_planned_in_words_and_mended() {
    let Some(site) = Site::with(SHOP).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply().expect(0).says("3 added");
    site.plan().expect(0).says("No changes");
    assert!(site.plan_of_file(SHOP_FILE).await.is_empty(), "the command line has nothing to do either");
    for (sql, told) in [
        ("ALTER ROLE shop_orders_user CONNECTION LIMIT 77", "at most 50 connections"),
        ("GRANT CONNECT ON DATABASE shop_billing TO PUBLIC", "CONNECT taken from PUBLIC"),
        ("ALTER ROLE shop_orders_user PASSWORD 'other'", "set the password of \\\"shop_orders_user\\\""),
        ("ALTER ROLE shop_billing_user RESET ALL", "statement_timeout"),
        ("ALTER ROLE shop_monitoring CONNECTION LIMIT 99", "at most 5 connections"),
        ("GRANT CONNECT ON DATABASE postgres TO PUBLIC", "cluster/postgres"),
    ] {
        site.cluster.psql(sql).await;
        site.plan().expect(2).says(told);
        site.apply().expect(0);
        site.plan().expect(0).says("No changes");
    }
    for database in ["shop_orders", "shop_billing", "postgres"] {
        site.cluster.psql_in(database, "DROP OWNED BY shop_monitoring").await;
    }
    site.cluster.psql("DROP ROLE shop_monitoring").await;
    site.plan().expect(2).says("pgisle_monitoring_user.this will be created").says("1 to add, 2 to change, 0 to destroy");
    site.apply().expect(0);
    site.plan().expect(0).says("No changes");
}

#[tokio::test]
async fn a_role_or_a_database_that_is_gone_comes_back() {
    let Some(site) = Site::with(SHOP).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply().expect(0);
    site.cluster.psql_in("shop_orders", "DROP OWNED BY shop_orders_user").await;
    site.cluster.psql("DROP OWNED BY shop_orders_user; DROP ROLE shop_orders_user").await;
    site.plan().expect(2).says("create login \\\"shop_orders_user\\\"").says("0 to add, 1 to change, 0 to destroy");
    site.apply().expect(0);
    site.plan().expect(0);
    site.cluster.psql("DROP DATABASE shop_billing").await;
    site.plan().expect(2).says("1 to add, 0 to change, 0 to destroy");
    site.apply().expect(0).says("1 added, 0 changed, 0 destroyed");
    site.plan().expect(0);
    assert!(site.plan_of_file(SHOP_FILE).await.is_empty());
}

#[tokio::test]
async fn what_the_provider_says_of_all_services_reaches_each() {
    let Some(site) = Site::with(SHOP).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply().expect(0);
    let configuration = format!("{}{SHOP}", super::HEAD.replace("  collation", "  tags = { Team = \"x\" }\n  collation"));
    std::fs::write(site.place.path("project/main.tf"), &configuration).unwrap();
    site.plan().expect(2).says("0 to add, 3 to change, 0 to destroy");
    site.apply().expect(0);
    site.plan().expect(0);
    let comments = "SELECT count(*) FROM pg_shdescription WHERE description LIKE '%\"Team\":\"x\"%'";
    assert_ne!(site.cluster.psql(comments).await, "0");
}
