//! What a recovery meets and goes on from, or gives up at: a backup that is damaged, a private server that stands still.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::site::{Site, processes};
use crate::backup::files;
use crate::cluster::document;
use crate::faults::server::{continued, stopped_by};

/// The data of the cluster's backups, oldest first.
fn bases(site: &Site) -> Vec<PathBuf> {
    let store = site.place.project().join("store/shop-development/cluster");
    let mut bases: Vec<PathBuf> = files(&store).into_iter().filter(|path| path.ends_with("base.tar.zst")).collect();
    bases.sort();
    bases
}

fn id(base: &std::path::Path) -> &str {
    base.parent().unwrap().file_name().unwrap().to_str().unwrap()
}

fn flip(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn warnings(document: &Value, code: &str) -> Vec<String> {
    let all = document["diagnostics"].as_array().unwrap().iter();
    let these = all.filter(|one| one["code"] == code && one["severity"] == "warning");
    these.map(|one| one["summary"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_older_backup_takes_the_place_of_a_damaged_one() {
    let site = Site::new(None).await;
    site.insert("first").await;
    site.back_up().await;
    site.insert("second").await;
    site.back_up().await;
    site.insert("third").await;
    let at = site.now().await;
    site.insert("fourth").await;
    let bases = bases(&site);
    let [older, newer] = bases.as_slice() else { panic!("{bases:?}") };
    let drill = ["backup", "drill", "-at", &at, "-service=orders"];
    let whole = fs::read(newer).unwrap();
    // A flipped bit, which only reading finds; and a cut, which the list of the store tells.
    flip(newer);
    let flipped = document(&site.place, &drill);
    fs::write(newer, &whole[..whole.len() - 1]).unwrap();
    let cut = document(&site.place, &drill);
    for drilled in [flipped, cut] {
        assert_eq!((&drilled["exit_code"], &drilled["drills"][0]["rows"]), (&0.into(), &3.into()), "{drilled}");
        assert_eq!(drilled["recovered"]["base"], id(older), "{drilled}");
        let told = warnings(&drilled, "PI0803");
        assert!(told.len() == 1 && told[0].contains(id(newer)) && told[0].contains("an older one was taken"), "{drilled}");
    }
    // So does a restore.
    fs::write(newer, &whole).unwrap();
    flip(newer);
    let text = site.run(&["restore", "orders", "-at", &at, "-auto-approve", "-no-verify"]);
    assert!(text.contains("warning[PI0803]") && text.contains(id(older)), "{text}");
    assert_eq!(site.rows().await, "first second third");
    // Where no older one helps, the newest is what is wrong.
    flip(older);
    let (code, error) = site.refused(&drill);
    let text = error.to_string();
    assert!(code == "PI0803" && text.contains("An older one does not help"), "{text}");
    site.assert_nothing_left();
}

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
