//! Apply, and what a plan says afterwards.

use pgisle_testkit::Cluster;

use super::{FIVE, Project};

#[tokio::test]
async fn five_services_are_made_and_then_nothing_is_left_to_do() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::new(&cluster, FIVE);
        let preview = project.preview().await;
        let applied = project.apply().await;
        assert_eq!(preview.planned.plan.fingerprint(), applied.planned.plan.fingerprint(), "what is shown is what is done");
        assert!(applied.remaining.is_empty());
        project.assert_settled().await;
        let databases = cluster.psql("SELECT count(*) FROM pg_database WHERE datname LIKE 'link\\_%' AND datallowconn").await;
        assert_eq!(databases.trim(), "5");
    }
}

#[tokio::test]
async fn a_plain_administrator_does_all_that_it_may_and_reports_the_rest() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::plain(&cluster, FIVE).await;
        let applied = project.apply().await;
        assert!(applied.remaining.is_empty());
        let blocked: Vec<String> = applied.planned.report.blocked.iter().map(|blocked| blocked.address.to_string()).collect();
        assert!(blocked.contains(&"cluster/postgres".to_owned()), "{blocked:?}");
        // What it prints for the DBA is what is missing: run as printed, nothing is left.
        for blocked in &applied.planned.report.blocked {
            for statement in &blocked.statements {
                let database = statement.database.as_ref().map_or("postgres", |name| name.as_str());
                cluster.psql_in(database, &statement.sql).await;
            }
        }
        let after = project.preview().await.planned;
        assert_eq!(after.report.blocked, Vec::new(), "{major}");
        project.assert_settled().await;
    }
}
