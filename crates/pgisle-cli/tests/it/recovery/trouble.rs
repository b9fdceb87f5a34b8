//! What a recovery gives up at: a private server that stands still.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::site::{Site, processes};
use crate::faults::server::{continued, stopped_by};

#[tokio::test]
async fn a_private_server_that_stands_still_is_not_waited_for_without_end() {
    let mut site = Site::new(None).await;
    site.insert("first").await;
    site.back_up().await;
    let at = site.now().await;
    site.insert("second").await;
    let restore = ["restore", "orders", "-at", &at, "-auto-approve", "-no-verify"];
    site.place = site.place.variable("PGISLE_FAULT_PATIENCE", "2000");
    let child = stopped_by(&site.place, &restore, "PGISLE_FAULT_STOP_AT", "recover.started").await.unwrap();
    let scratch = site.scratch().unwrap();
    let mut stopped = 0;
    while stopped == 0 {
        for pid in processes(&scratch).into_iter().filter_map(Pid::from_raw) {
            kill_process(pid, Signal::STOP).unwrap();
            stopped += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (code, text) = tokio::time::timeout(Duration::from_secs(60), continued(child)).await.unwrap();
    assert!(code == Some(1) && text.contains("PI0857") && text.contains("stands still"), "{code:?} {text}");
    assert_eq!(site.rows().await, "first second");
    site.assert_nothing_left();
    assert_eq!(processes(&scratch), Vec::<i32>::new());
    site.run(&restore);
    assert_eq!(site.rows().await, "first");
}
