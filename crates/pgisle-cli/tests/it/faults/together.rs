//! Several runs at once, and someone who watches one.

use std::time::Duration;

use pgisle_testkit::Cluster;

use super::server::{continued, stopped, stopped_by};
use super::watcher::Watcher;
use super::{SPEC, assert_logins_work, assert_same, catalog, cluster, ends, logins, place, text};

#[tokio::test]
async fn of_four_applies_one_works_and_three_wait() {
    let cluster = cluster(Cluster::builder()).await;
    let place = place(&cluster, SPEC);
    let apply: &[&str] = &["apply", "-auto-approve", "-lock-timeout=2m"];
    let runs = [0; 4].map(|_| place.run(apply, &[]));
    let [one, two, three, four] = runs;
    let (one, two, three, four) = tokio::join!(one, two, three, four);
    let outputs = [one, two, three, four];
    for output in &outputs {
        assert_eq!(output.status.code(), Some(0), "{}", text(output));
        assert!(!text(output).contains("concurrently"), "{}", text(output));
    }
    let said: Vec<String> = outputs.iter().map(text).collect();
    assert_eq!(said.iter().filter(|said| said.contains("Apply complete.")).count(), 1, "{said:#?}");
    let log = cluster.log();
    assert!(!log.contains("concurrently") && !log.contains("ERROR:"), "{log}");
    ends(&place, &["plan", "-detailed-exitcode"], 0).await;
    assert_logins_work(&cluster, &place).await;
}

#[tokio::test]
async fn whoever_does_not_want_to_wait_is_told_who_has_the_lock() {
    let cluster = cluster(Cluster::builder()).await;
    let place = place(&cluster, SPEC);
    let first = stopped(&place, &["apply", "-auto-approve"], "statement:30").await.unwrap();
    let holder = format!("pgisle apply pid {} on ", first.id().unwrap());
    let before = catalog::dump(&cluster).await;
    for timeout in ["-lock-timeout=0s", "-lock-timeout=1s"] {
        for command in ["apply", "destroy"] {
            let target = "-target=service.orders";
            let said = ends(&place, &[command, "-auto-approve", target, timeout], 75).await;
            assert!(said.contains(&holder) && said.contains("error[PI0401]"), "{said}");
        }
    }
    assert_same(&before, &catalog::dump(&cluster).await, "while another run holds the lock");
    let (code, said) = continued(first).await;
    assert_eq!(code, Some(0), "{said}");
    ends(&place, &["plan", "-detailed-exitcode"], 0).await;
    assert!(!cluster.log().contains("concurrently"));
}

#[tokio::test]
async fn nobody_gets_into_a_database_while_it_is_made() {
    let cluster = cluster(Cluster::builder()).await;
    let place = place(&cluster, &SPEC.replace("service \"chat\" {", "service \"later\" {"));
    ends(&place, &["apply", "-auto-approve"], 0).await;
    let others = logins(&place);
    place.file("pgisle.hcl", format!("{SPEC}\nservice \"later\" {{\n  access = \"split\"\n}}\nservice \"last\" {{\n}}\n"));
    let of_services = others.iter().filter(|(_, _, database)| database != "postgres");
    let everyone = of_services.map(|(role, password, _)| (role.as_str(), password.as_str())).chain([("spy", ""), ("stranger", "")]);
    let attempts: Vec<_> =
        everyone.flat_map(|(role, password)| [(role, password, "shop_chat"), (role, password, "shop_last")]).collect();
    let watchers = [0; 2].map(|_| Watcher::start(&cluster, &attempts, Duration::ZERO));
    for watcher in &watchers {
        watcher.whole_round().await;
    }
    ends(&place, &["apply", "-auto-approve"], 0).await;
    for watcher in watchers {
        watcher.whole_round().await;
        let seen = watcher.seen().await;
        assert_eq!(seen.entered, [""; 0]);
        // Before there was a database, and after.
        assert!(seen.refused.contains_key("3D000") && seen.refused.contains_key("42501"), "{seen:?}");
        assert!(seen.refused.keys().all(|code| ["3D000", "42501", "55000"].contains(&code.as_str())), "{seen:?}");
    }
    assert_logins_work(&cluster, &place).await;
}

#[tokio::test]
async fn of_two_rotations_of_a_service_both_end_well_or_one_is_told_why_not() {
    let cluster = cluster(Cluster::builder()).await;
    let place = place(&cluster, SPEC);
    ends(&place, &["apply", "-auto-approve"], 0).await;
    let rotate: &[&str] = &["rotate", "orders"];
    // The first has told the server; the second takes the same rotation up and brings it to its end.
    let first = stopped_by(&place, rotate, "PGISLE_FAULT_STOP_AT", "rotate.applied").await.unwrap();
    ends(&place, rotate, 0).await;
    let published = logins(&place);
    let (code, said) = continued(first).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(logins(&place), published);
    assert_logins_work(&cluster, &place).await;
    ends(&place, &["rotate", "orders", "-finish"], 0).await;

    // The first holds the lock.
    let first = stopped(&place, rotate, "statement:1").await.unwrap();
    let said = ends(&place, &["rotate", "orders", "-lock-timeout=0s"], 75).await;
    assert!(said.contains(&format!("pgisle apply pid {} on ", first.id().unwrap())), "{said}");
    let (code, said) = continued(first).await;
    assert_eq!(code, Some(0), "{said}");

    // Three at once, and nobody stops anybody.
    for _ in 0..3 {
        ends(&place, &["rotate", "orders", "-finish"], 0).await;
        let runs = [0; 3].map(|_| place.run(&["rotate", "orders", "-lock-timeout=1m"], &[]));
        let [one, two, three] = runs;
        let (one, two, three) = tokio::join!(one, two, three);
        let mut done = 0;
        for output in [one, two, three] {
            let said = text(&output);
            done += u32::from(output.status.success());
            assert!(output.status.success() || said.contains("the last rotation is not finished"), "{said}");
        }
        assert!(done > 0);
        assert_logins_work(&cluster, &place).await;
        ends(&place, &["plan", "-detailed-exitcode"], 0).await;
    }
}
