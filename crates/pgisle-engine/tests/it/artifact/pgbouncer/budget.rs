//! What the budget counts for PgBouncer is what PgBouncer holds, whoever comes.

use pgisle_core::budget;

use super::*;

/// A client that has begun a transaction, so that it keeps a server connection once it has one.
async fn hold(port: u16, user: &str, password: &str) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(user).password(password).dbname("link_users");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN").await.unwrap();
    client
}

/// Counts the connections of both logins again and again until the server has as many as that, and never more than the most.
async fn count_until(cluster: &Cluster, most: u64, reached: impl Fn(u64, u64) -> bool) {
    let begun = Instant::now();
    let of = |login: &str| format!("count(*) FILTER (WHERE usename = '{login}')");
    let sql =
        format!("SELECT {}, {} FROM pg_stat_activity WHERE datname = 'link_users'", of("link_users_user"), of("link_users_user_b"));
    let client = cluster.connect().await;
    loop {
        let row = client.query_one(&sql, &[]).await.unwrap();
        let (old, new) = (row.get::<_, i64>(0).unsigned_abs(), row.get::<_, i64>(1).unsigned_abs());
        assert!(old + new <= most, "{old} and {new} connections, and the budget counts {most}");
        if reached(old, new) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{old} and {new} connections, and nothing more happens");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn pgbouncer_holds_no_more_than_the_budget_counts() {
    let Some(pgbouncer) = find_pgbouncers().await.pop() else { skip!("PgBouncer is not installed") };
    let cluster = Cluster::start().await;
    let mut spec = link();
    spec.settings.pgbouncer_pool_mode = PoolMode::Transaction;
    spec.settings.pgbouncer_default_pool_size = 2;
    spec.settings.pgbouncer_reserve_pool_size = 1;
    let mut credentials = credentials(&spec, |_| NASTY.to_owned());
    let users = service_name("users");
    let other = credential(spec.services[&users].login(Slot::B), "the other password");
    credentials.services.get_mut(&users).unwrap().draining = Some(other);
    create_islands(&cluster, &spec, &credentials).await;
    let folder = tempfile::tempdir().unwrap();
    let endpoint = endpoint(&cluster, SslMode::Disable, folder.path());
    let port = endpoint.pooler.as_ref().unwrap().port;
    written(&spec, &endpoint, &credentials, folder.path());
    let _running = start(&pgbouncer, folder.path(), port).await;

    let summary = budget::summary(&spec, None, 1);
    let counted = summary.services.iter().find(|service| service.service == users).unwrap();
    let most = counted.steady + counted.deployment;
    assert_eq!(most, 3, "a pool of two and a reserve of one");
    // More clients than connections, then as many of the other login: some get in, the others wait.
    let mut holding: Vec<_> = (0..5).map(|_| tokio::spawn(hold(port, "link_users_user", NASTY))).collect();
    count_until(&cluster, most, |old, _| old == most).await;
    let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(hold(port, "link_users_user_b", "the other password"))).collect();
    // Once the first have left, their idle connections make way.
    for task in holding.drain(..) {
        task.abort();
        drop(task.await);
    }
    count_until(&cluster, most, |_, new| new == most).await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}
