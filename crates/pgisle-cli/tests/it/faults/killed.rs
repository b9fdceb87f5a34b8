//! pgisle killed by SIGKILL while it applies, after each statement and around each file.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgisle_testkit::Cluster;

use super::{SPEC, assert_logins_work, assert_same, catalog, cluster, ends, place, place_of, spies, was_killed};
use crate::program::Place;

/// One database after the other, so that the same number is the same statement in each run.
const APPLY: &[&str] = &["apply", "-auto-approve", "-parallelism=1"];

/// Who applies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admin {
    Superuser,
    /// `CREATEROLE CREATEDB`, on the newest version: other rules for memberships, and work that is left for a DBA.
    Plain,
}

async fn cluster_of(admin: Admin) -> (Arc<Cluster>, Place) {
    if admin == Admin::Superuser {
        let cluster = cluster(Cluster::builder()).await;
        let place = place(&cluster, SPEC);
        return (cluster, place);
    }
    let newest = pgisle_testkit::majors().await.into_iter().max().unwrap();
    let cluster = cluster(Cluster::builder().major(newest)).await;
    let password = cluster.create_plain_admin("admin").await;
    // The fences around the maintenance databases are their owner's to make, and pg_monitor is a superuser's to grant. Not every
    // version here comes with extensions.
    let spec = SPEC.replace("  extensions = [\"citext\"]\n", "");
    let spec = format!("fence_maintenance_databases = false\ncreate_monitoring_user = false\n{spec}");
    let place = place_of(&cluster, "admin", &password, &spec);
    (cluster, place)
}

/// What an undisturbed apply leaves.
async fn undisturbed(admin: Admin) -> String {
    let (cluster, place) = cluster_of(admin).await;
    ends(&place, APPLY, 0).await;
    assert_logins_work(&cluster, &place).await;
    catalog::dump(&cluster).await
}

/// Kills an apply at one point and applies again; false when there was no such point.
async fn killed_at(admin: Admin, variable: &str, number: u32, expected: &str) -> bool {
    let point = format!("statement:{number}");
    let (cluster, place) = cluster_of(admin).await;
    let spies = spies(&cluster);
    let killed = was_killed(&place, APPLY, variable, &point).await;
    if killed {
        // Whatever state this is, nobody gets in.
        spies.whole_round().await;
        ends(&place, APPLY, 0).await;
    }
    let seen = spies.seen().await;
    assert_eq!(seen.entered, [""; 0], "{point}");
    assert_same(expected, &catalog::dump(&cluster).await, &point);
    ends(&place, &["plan", "-detailed-exitcode"], 0).await;
    assert_logins_work(&cluster, &place).await;
    killed
}

/// Kills an apply at each `stride`th point, and counts them.
async fn walk(admin: Admin, stride: u32) -> u32 {
    let expected = undisturbed(admin).await;
    let next = Cell::new(1);
    let lane = async || {
        let mut killed = 0;
        while killed_at(admin, "PGISLE_FAULT_KILL_AFTER", next.replace(next.get() + stride), &expected).await {
            killed += 1;
        }
        killed
    };
    let (one, two, three) = tokio::join!(lane(), lane(), lane());
    one + two + three
}

#[tokio::test]
async fn an_apply_killed_after_each_statement_goes_on_where_it_stopped() {
    // One for each statement of the plan, and those that begin and end its transactions.
    let points = walk(Admin::Superuser, 1).await;
    assert!(points >= 80, "only {points} points");
}

#[tokio::test]
async fn so_does_one_whose_administrator_is_no_superuser() {
    let points = walk(Admin::Plain, 3).await;
    assert!(points >= 20, "only {points} points");
}

#[tokio::test]
async fn an_apply_killed_during_a_statement_goes_on_where_it_stopped() {
    let expected = undisturbed(Admin::Superuser).await;
    let mut killed = 0;
    for number in (1..90).step_by(8) {
        killed += u32::from(killed_at(Admin::Superuser, "PGISLE_FAULT_KILL_DURING", number, &expected).await);
    }
    assert!(killed > 3, "only {killed} points");
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn an_apply_killed_around_each_file_leaves_whole_files_and_no_others() {
    let cluster = Cluster::start().await;
    let spec = SPEC.replace("enable_pgbouncer    = false\n", "");
    let mut names: Option<Vec<PathBuf>> = None;
    for number in 1.. {
        // A folder of its own: the logins get new passwords, and every file is new.
        let place = place(&cluster, &spec);
        let relative = |path: PathBuf| path.strip_prefix(place.project()).unwrap().to_owned();
        let killed = was_killed(&place, APPLY, "PGISLE_FAULT_KILL_AFTER", &format!("file:{number}")).await;
        if killed {
            ends(&place, APPLY, 0).await;
        }
        ends(&place, &["plan", "-detailed-exitcode"], 0).await;
        assert_logins_work(&cluster, &place).await;
        let mut found: Vec<PathBuf> = files(&place.project()).into_iter().map(relative).collect();
        found.sort();
        assert_eq!(names.get_or_insert_with(|| found.clone()), &found, "file:{number}");
        if !killed {
            assert!(number > 2 * 20, "only {number} points");
            break;
        }
    }
}
