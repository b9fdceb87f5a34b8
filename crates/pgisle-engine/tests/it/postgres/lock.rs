use std::sync::Mutex;
use std::time::{Duration, Instant};

use pgisle_core::diagnostic::Code;
use pgisle_engine::postgres::lock::LOCK_KEY;
use pgisle_engine::postgres::{ConnectOptions, Holder, LockError, RunLock};
use pgisle_testkit::{Cluster, majors};

use super::{login, superuser};

const NO_WAIT: Duration = Duration::ZERO;

async fn take(options: &ConnectOptions) -> Result<RunLock, LockError> {
    RunLock::acquire(options, "apply", NO_WAIT, &|_| ()).await
}

#[tokio::test]
async fn the_second_of_two_is_told_who_the_first_is() {
    for major in majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let password = cluster.create_plain_admin("admin").await;
        let first = take(&superuser(&cluster)).await.expect("the lock");
        // A plain administrator may not see much of other sessions; the name and the login it may.
        let error = take(&login(&cluster, "admin", &password)).await.expect_err("it is held");
        let diagnostic = error.diagnostic();
        assert_eq!(diagnostic.code, Code::APPLY_LOCKED);
        let text = diagnostic.to_string();
        assert!(text.contains(&format!("\"pgisle apply pid {} on ", std::process::id())), "{text}");
        assert!(text.contains("user \"postgres\""), "{text}");
        assert!(!text.contains("since"), "{text}");
        let error = take(&superuser(&cluster)).await.expect_err("it is held");
        assert!(error.diagnostic().to_string().contains(" UTC"), "{}", error.diagnostic());
        first.release().await;
        let second = take(&login(&cluster, "admin", &password)).await.expect("the lock is free");
        second.confirm().await.expect("it is held");
    }
}

#[tokio::test]
async fn a_lock_that_is_dropped_is_free() {
    let cluster = Cluster::start().await;
    drop(take(&superuser(&cluster)).await.expect("the lock"));
    let wait = Duration::from_secs(10);
    RunLock::acquire(&superuser(&cluster), "apply", wait, &|_| ()).await.expect("the lock is free");
}

#[tokio::test]
async fn who_waits_hears_of_the_holder_once_and_gets_the_lock() {
    let cluster = Cluster::start().await;
    let options = superuser(&cluster);
    let first = take(&options).await.expect("the lock");
    let heard: Mutex<Vec<Holder>> = Mutex::default();
    let started = Instant::now();
    let listen = |holder: &Holder| heard.lock().expect("no panic").push(holder.clone());
    let second = RunLock::acquire(&options, "apply", Duration::from_secs(20), &listen);
    let release = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        first.release().await;
    };
    let (second, ()) = tokio::join!(second, release);
    second.expect("the lock, after a while").confirm().await.expect("it is held");
    assert!(started.elapsed() >= Duration::from_millis(700));
    let heard = heard.lock().expect("no panic");
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].application_name.starts_with("pgisle apply pid "));
}

#[tokio::test]
async fn waiting_ends() {
    let cluster = Cluster::start().await;
    let options = superuser(&cluster);
    let _first = take(&options).await.expect("the lock");
    let started = Instant::now();
    let error = RunLock::acquire(&options, "apply", Duration::from_millis(500), &|_| ()).await.expect_err("it is held");
    assert!((Duration::from_millis(500)..Duration::from_secs(5)).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert!(matches!(error, LockError::Held { holder: Some(_), .. }), "{error:?}");
}

#[tokio::test]
async fn of_four_at_once_one_wins() {
    let cluster = Cluster::start().await;
    let options = superuser(&cluster);
    let outcomes = tokio::join!(take(&options), take(&options), take(&options), take(&options));
    let outcomes = [outcomes.0, outcomes.1, outcomes.2, outcomes.3];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for outcome in outcomes {
        if let Err(error) = outcome {
            assert_eq!(error.diagnostic().code, Code::APPLY_LOCKED);
        }
    }
}

#[tokio::test]
async fn a_person_can_hold_it_by_hand() {
    let cluster = Cluster::start().await;
    let client = cluster.connect().await;
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK_KEY]).await.expect("the lock");
    let error = take(&superuser(&cluster)).await.expect_err("it is held");
    assert!(error.diagnostic().to_string().contains("user \"postgres\""), "{}", error.diagnostic());
    // The same key in another database is another lock, and two keys of half the size are one too.
    cluster.psql("CREATE DATABASE other").await;
    let other = cluster.connect_to("other").await;
    other.execute("SELECT pg_advisory_lock($1)", &[&LOCK_KEY]).await.expect("another lock");
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK_KEY]).await.expect("given back");
    take(&superuser(&cluster)).await.expect("the lock is free");
}

#[tokio::test]
async fn its_loss_is_noticed() {
    let cluster = Cluster::start().await;
    let lock = take(&superuser(&cluster)).await.expect("the lock");
    assert!(lock.is_held());
    lock.confirm().await.expect("it is held");
    cluster.psql(&format!("SELECT pg_terminate_backend({}, 5000)", lock.session().backend_pid())).await;
    let error = lock.confirm().await.expect_err("it is lost");
    assert_eq!(error.diagnostic().code, Code::CONNECT_LOST);
    assert!(!lock.is_held());

    let lock = take(&superuser(&cluster)).await.expect("the lock");
    cluster.kill_server();
    for _ in 0..100 {
        if !lock.is_held() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the server is dead and nobody has noticed");
}
