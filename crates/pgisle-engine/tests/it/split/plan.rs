//! What a split would move, and what crosses.

use std::collections::BTreeSet;

use pgisle_core::name::ServiceName;
use pgisle_core::split::{CrossingKind, SplitOptions, SplitPlan, Strategy, dot, plan_split};
use pgisle_engine::split::inspect_shared_database;
use pgisle_testkit::Cluster;

use super::link;
use crate::apply::{Project, rendered};

async fn plan_with(project: &Project, services: &[&str], strategy: Option<Strategy>) -> SplitPlan {
    let shared = inspect_shared_database(&project.connect, &project.spec.settings.postgres_database).await.unwrap();
    let services: BTreeSet<ServiceName> = services.iter().map(|name| ServiceName::parse(name).unwrap()).collect();
    plan_split(&project.spec, &shared, &SplitOptions { services, moved: BTreeSet::new(), strategy, pause_max_ms: 10_000 })
}

async fn plan(project: &Project) -> SplitPlan {
    plan_with(project, &[], None).await
}

fn moved<'a>(plan: &'a SplitPlan, service: &str, kind: &str) -> Vec<&'a str> {
    let service = plan.services.iter().find(|split| split.service.as_str() == service).unwrap();
    service.moves.get(kind).map(|names| names.iter().map(String::as_str).collect()).unwrap_or_default()
}

#[tokio::test]
async fn everything_that_belongs_to_a_services_tables_goes_with_them() {
    for major in pgisle_testkit::majors().await {
        let builder = Cluster::builder().major(major);
        if !pgisle_testkit::installations().await.iter().any(|found| found.major == major && found.vector && found.contrib) {
            continue;
        }
        let (_cluster, project) = link(builder).await;
        let plan = plan(&project).await;
        assert_eq!(plan.services.len(), 5, "{major}");
        assert_eq!(plan.unclaimed, Vec::<String>::new());
        assert_eq!(
            moved(&plan, "ai", "table"),
            [
                "public.ai_conversations",
                "public.ai_requests",
                "public.ai_responses",
                "public.ai_usage_stats_2024",
                "public.ai_usage_stats_2025",
                "public.ai_usage_stats_rest",
                "public.audit_logs",
                "public.data_anonymization_records",
                "public.privacy_policy_versions",
                "public.user_consent"
            ]
        );
        assert_eq!(moved(&plan, "ai", "partitioned table"), ["public.ai_usage_stats"]);
        // One that a column owns, one behind an identity column, and one that only a default names.
        assert!(moved(&plan, "ai", "sequence").contains(&"public.audit_numbers"));
        assert_eq!(moved(&plan, "users", "sequence"), ["public.friend_requests_id_seq", "public.users_id_seq"]);
        assert_eq!(moved(&plan, "users", "type"), ["public.email_address", "public.user_status"]);
        assert_eq!(moved(&plan, "users", "view"), ["public.active_users"]);
        // The trigger's function is copied to everyone who uses it.
        for service in ["users", "chat", "discovery"] {
            assert!(moved(&plan, service, "function").contains(&"public.touch_updated_at()"), "{service}");
        }
        assert_eq!(moved(&plan, "search", "function"), Vec::<&str>::new());
    }
}

#[tokio::test]
async fn what_crosses_is_found_with_what_is_lost() {
    let (_cluster, project) = link(Cluster::builder()).await;
    let plan = plan(&project).await;
    let of = |kind| plan.crossings.iter().filter(move |crossing| crossing.kind == kind);
    assert_eq!(of(CrossingKind::ForeignKey).count(), 12);
    assert!(of(CrossingKind::ForeignKey).all(|key| key.is_grave && key.target == Some(Some(ServiceName::parse("users").unwrap()))));
    let views: Vec<&str> = of(CrossingKind::View).map(|view| view.name.as_str()).collect();
    assert_eq!(views, ["public.room_overview"]);
    let functions: Vec<&str> = of(CrossingKind::Function).map(|function| function.name.as_str()).collect();
    assert_eq!(functions, ["public.can_message(sender bigint, receiver bigint)"]);
    let only_chat = plan_with(&project, &["chat"], None).await;
    assert_eq!(only_chat.services.len(), 1);
    assert!(only_chat.crossings.iter().all(|crossing| crossing.concerns(&ServiceName::parse("chat").unwrap())));
    let picture = dot(&plan);
    assert!(picture.starts_with("digraph split {") && picture.trim_end().ends_with('}'), "{picture}");
    assert!(picture.contains("\"chat\" -> \"users\"") && picture.contains("color = red"), "{picture}");
}

#[tokio::test]
async fn a_strategy_is_offered_only_where_it_works() {
    let (cluster, project) = link(Cluster::builder().conf("wal_level", "logical")).await;
    let obstacles = |plan: &SplitPlan, service: &str, strategy: Strategy| {
        let split = plan.services.iter().find(|split| split.service.as_str() == service).unwrap();
        split.estimates.iter().find(|estimate| estimate.strategy == strategy).unwrap().obstacles.join(" ")
    };
    let free = plan(&project).await;
    assert_eq!(obstacles(&free, "users", Strategy::Stream), "");
    assert_eq!(obstacles(&free, "users", Strategy::Clone), "");
    cluster.psql_in("link_app", "ALTER TABLE sessions DROP CONSTRAINT sessions_pkey").await;
    cluster.psql_in("link_app", "ALTER TABLE search_index SET UNLOGGED").await;
    let hindered = plan_with(&project, &[], Some(Strategy::Stream)).await;
    assert!(obstacles(&hindered, "users", Strategy::Stream).contains("public.sessions"));
    assert!(obstacles(&hindered, "search", Strategy::Stream).contains("Unlogged"));
    let text = rendered(&hindered.diagnostics);
    assert!(text.contains("service \"users\" cannot be split out"), "{text}");
    cluster.psql_in("link_app", "ALTER TABLE sessions REPLICA IDENTITY FULL").await;
    let mended = plan_with(&project, &["users"], Some(Strategy::Stream)).await;
    assert_eq!(mended.services[0].choice.strategy, Some(Strategy::Stream));
    // An administrator who is nobody special can only copy.
    let plain = Project::plain(&cluster, super::LINK).await;
    cluster.psql_in("link_app", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO platform").await;
    let by_plain = plan(&plain).await;
    assert!(obstacles(&by_plain, "users", Strategy::Clone).contains("does not own"));
    assert!(obstacles(&by_plain, "users", Strategy::Stream).contains("superuser"));
    assert_eq!(by_plain.services[4].choice.strategy, Some(Strategy::Copy));
}

#[tokio::test]
async fn tables_that_cannot_be_claimed_are_named_with_what_was_meant() {
    let (cluster, mut project) = link(Cluster::builder()).await;
    cluster.psql_in("link_app", "CREATE SCHEMA old; CREATE TABLE old.messages (id int)").await;
    cluster.psql_in("link_app", "CREATE TABLE nobodys (id int REFERENCES audit_logs)").await;
    project.rewrite(
        "service \"one\" {\n  tables = [\"user\", \"messages\", \"active_users\", \"old.messages\"]\n}\nservice \"two\" {\n  tables = [\"audit_logs\"]\n}\n",
    );
    let plan = plan(&project).await;
    let text = rendered(&plan.diagnostics);
    for expected in [
        "table \"user\" is not in database \"link_app\"",
        "Did you mean public.user_availability or",
        "\"messages\" is in 2 schemas of database \"link_app\"",
        "There are old.messages and public.messages.",
        "\"active_users\" is a view and not a table",
        "--> pgisle.hcl:1:1",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(plan.unclaimed.contains(&"public.nobodys".to_owned()));
    let inward = plan.crossings.iter().find(|crossing| crossing.name.contains("public.nobodys")).unwrap();
    assert_eq!((inward.source.as_slice(), &inward.target), (&[None][..], &Some(Some(ServiceName::parse("two").unwrap()))));
}

#[tokio::test]
async fn services_that_are_gone_are_left_out_until_they_are_named() {
    let (_cluster, mut project) = link(Cluster::builder()).await;
    let here = ServiceName::parse("here").unwrap();
    project
        .rewrite("service \"gone\" {\n  tables = [\"things\", \"stuff\"]\n}\nservice \"here\" {\n  tables = [\"audit_logs\"]\n}\n");
    let all = plan(&project).await;
    assert_eq!(all.services.iter().map(|split| &split.service).collect::<Vec<_>>(), [&here]);
    let text = rendered(&all.diagnostics);
    assert!(text.contains("service \"gone\" is not at home in database \"link_app\""), "{text}");
    assert!(!text.contains("table \"things\""), "{text}");
    let named = plan_with(&project, &["gone"], None).await;
    assert!(rendered(&named.diagnostics).contains("table \"things\" is not in database \"link_app\""));
    // The journal says that this one has moved, though its old tables are there still.
    let shared = inspect_shared_database(&project.connect, &project.spec.settings.postgres_database).await.unwrap();
    let moved = BTreeSet::from([here]);
    let options = SplitOptions { services: BTreeSet::new(), moved, strategy: None, pause_max_ms: 10_000 };
    let rest = plan_split(&project.spec, &shared, &options);
    assert!(rest.services.is_empty(), "{:?}", rest.services);
}

#[tokio::test]
async fn joins_and_open_transactions_are_seen() {
    let builder = Cluster::builder().conf("shared_preload_libraries", "pg_stat_statements");
    let (cluster, project) = link(builder).await;
    cluster.psql_in("link_app", "CREATE EXTENSION pg_stat_statements").await;
    for _ in 0..3 {
        cluster.psql_in("link_app", "SELECT count(*) FROM messages m JOIN users u ON u.id = m.sender_id WHERE u.id = 7").await;
        cluster.psql_in("link_app", "SELECT count(*) FROM messages m JOIN chat_rooms r ON r.id = m.room_id").await;
    }
    let writer = cluster.connect_to("postgres").await;
    writer.batch_execute("BEGIN; CREATE TABLE unfinished ()").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(5_200)).await;
    let plan = plan(&project).await;
    let joins: Vec<_> = plan.crossings.iter().filter(|crossing| crossing.kind == CrossingKind::Statement).collect();
    assert_eq!(joins.len(), 1, "{joins:?}");
    assert!(joins[0].name.contains("JOIN users") && joins[0].consequence.contains("3 times"), "{joins:?}");
    let text = rendered(&plan.diagnostics);
    assert!(text.contains("PI1003") && text.contains("database \"postgres\""), "{text}");
}
