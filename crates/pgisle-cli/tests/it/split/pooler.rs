//! What the service's clients come through is killed: PgBouncer, at each stage of a split, and started again at once, or not at all
//! before pgisle is done; and a cutover through several PgBouncers. Clients have one address that never changes. The service has one home all
//! the time, no acknowledged row is lost, and afterwards clients write to the home, through each PgBouncer.

use std::time::{Duration, Instant};

use pgisle_testkit::{Cluster, Config, Ledger, Writer, ask, skip};
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Child;

use super::killed::{CUTTING, RETURNING, RUNNING};
use super::stand::{CUTOVER, FINALIZE, FORGET, NEW, OLD, ROLLBACK, SPEC, Stand, Traffic, assert_same, run_by};
use crate::bouncer::{Bouncer, free_port};
use crate::faults::server::{continued, stopped_by};
use crate::program::Place;

/// No command may take longer, whatever is not there: its waits have bounds, and this is above all of them together.
const BOUND: Duration = Duration::from_secs(90);

/// How long a client may take to get in behind what was done to PgBouncer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of a PgBouncer that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// It is there again before pgisle looks.
    Restarted,
    /// It is not there as long as pgisle runs.
    Down,
}

/// A split whose service comes through PgBouncer.
struct Front {
    stand: Stand,
    bouncers: Vec<Bouncer>,
}

impl Front {
    /// So many PgBouncers; none when there is no such program here.
    async fn new(number: usize) -> Option<Self> {
        let found = pgisle_engine::local::find_pgbouncer().await?;
        let ports: Vec<u16> = (0..number).map(|_| free_port()).collect();
        let settings = format!(
            "enable_pgbouncer = true\npgbouncer_pool_mode = \"transaction\"\npgbouncer_host = \"127.0.0.1\"\npgbouncer_port = {}\n",
            ports[0]
        );
        let spec = SPEC.replace("enable_pgbouncer   = false\n", &settings);
        let stand = Stand::at(Cluster::builder(), Place::passable(), &spec).await;
        let generated = stand.place.project().join("generated/development");
        let mut bouncers = Vec::new();
        for port in ports {
            bouncers.push(Bouncer::start(&found, &generated, stand.place.root(), port).await);
        }
        Some(Self { stand, bouncers })
    }

    /// The service's own address through PgBouncer, as its file has it; of another PgBouncer, the same but the port.
    fn address(&self, bouncer: &Bouncer) -> Config {
        let text = self.stand.place.read("generated/development/.env/.env.chat");
        let url = text.lines().find_map(|line| line.strip_prefix("DATABASE_POOL_URL=")).expect("an address of PgBouncer");
        let first: Config = url.trim_matches('\'').parse().unwrap();
        let mut config = Config::new();
        config.host("127.0.0.1").port(bouncer.port).connect_timeout(CLIENT_PATIENCE);
        config.user(first.get_user().unwrap()).password(first.get_password().unwrap()).dbname(first.get_dbname().unwrap());
        config
    }

    /// PgBouncer's console.
    fn console(&self, bouncer: &Bouncer) -> Config {
        let store: Value = serde_json::from_str(&self.stand.place.read(".pgisle/development/credentials.json")).unwrap();
        let login = &store["pgbouncer"];
        let mut config = Config::new();
        config.host("127.0.0.1").port(bouncer.port).dbname("pgbouncer");
        config.user(login["role"].as_str().unwrap()).password(login["password"].as_str().unwrap());
        config
    }

    /// The same command, with where all of several PgBouncers are; one alone is where the file says.
    fn told(&self, words: &[&str]) -> Vec<String> {
        let addresses = self.bouncers.iter().map(Bouncer::address).filter(|_| self.bouncers.len() > 1 && takes_poolers(words));
        words.iter().copied().map(str::to_owned).chain(addresses).collect()
    }

    /// Lets the service write through each PgBouncer, twice, and someone who has always written to the tables directly.
    fn traffic(&self) -> Traffic {
        let pause = Duration::from_millis(25);
        let through = self.bouncers.iter().flat_map(|bouncer| [self.address(bouncer), self.address(bouncer)]);
        let mut writers: Vec<Writer> = through.map(|address| Writer::start(vec![address], pause)).collect();
        writers.push(Writer::start(vec![self.stand.other(OLD), self.stand.other(NEW)], pause));
        self.stand.traffic_of(writers)
    }

    /// Clients of each of these PgBouncers write to the home, and none of them is paused.
    async fn assert_open(&self, bouncers: &[Bouncer], home: &str, point: &str) {
        for bouncer in bouncers {
            let sql = "BEGIN; INSERT INTO messages (room_id, sender_id, body) VALUES (1, 1, 'through'); SELECT current_database(); ROLLBACK";
            let address = self.address(bouncer);
            let begun = Instant::now();
            // The first one may meet a connection of the pool that leads nowhere any more.
            let led = loop {
                match tokio::time::timeout(CLIENT_PATIENCE, ask(&address, sql)).await {
                    Ok(Ok(led)) => break led,
                    failed => assert!(begun.elapsed() < CLIENT_PATIENCE, "{point}: nobody writes through PgBouncer: {failed:?}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            assert_eq!(led, home, "{point}: where PgBouncer leads");
            let console = self.console(bouncer);
            let databases = ask(&console, "SHOW DATABASES").await.unwrap();
            let line = databases.lines().find(|line| line.starts_with(&format!("{NEW}|"))).expect("the service's alias");
            assert!(line.ends_with("|0|0") && line.split('|').any(|column| column == home), "{point}: paused or disabled: {line}");
            // Since 1.19.
            let state = ask(&console, "SHOW STATE").await.unwrap_or_default();
            assert!(state.is_empty() || state.contains("paused|no"), "{point}: {state}");
        }
    }

    /// Runs a command until it is stopped at a stage.
    async fn stops(&self, words: &[&str], stage: &str) -> Child {
        let words = [self.told(words), vec!["-lock-timeout=30s".to_owned()]].concat();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let child = stopped_by(&self.stand.place, &words, "PGISLE_FAULT_STOP_AT", stage).await;
        child.unwrap_or_else(|| panic!("{stage} is no point of {words:?}"))
    }

    /// Kills the last PgBouncer while a command stands at a stage, and lets the command go on: it comes through, or says which PgBouncer
    /// it could not use.
    async fn strikes(&self, words: &[&str], stage: &str, harm: Harm) {
        let (bouncer, others) = self.bouncers.split_last().unwrap();
        let child = self.stops(words, stage).await;
        bouncer.kill();
        if harm == Harm::Restarted {
            bouncer.up().await;
        }
        let (code, said) = bounded(stage, continued(child)).await;
        // One that is not there keeps none of the others from being led and let go.
        self.assert_open(others, &self.stand.home().await.0, stage).await;
        if harm == Harm::Down {
            bouncer.up().await;
        }
        // One that is there again holds nobody up and has read the files.
        let is_told = harm == Harm::Down && is_told(bouncer, code, &said);
        assert!(code == Some(0) && !said.contains("error") || is_told, "{stage}, {harm:?}: {code:?} {said}");
    }

    /// Kills both the last PgBouncer and the command at a stage.
    async fn strikes_both(&self, words: &[&str], stage: &str) {
        let mut child = self.stops(words, stage).await;
        let bouncer = self.bouncers.last().unwrap();
        bouncer.kill();
        child.kill().await.unwrap();
        bouncer.up().await;
    }

    /// Runs pgisle, and insists that it comes through.
    async fn ends(&self, words: &[&str]) -> String {
        self.ends_with(words, 0).await
    }

    async fn ends_with(&self, words: &[&str], code: i32) -> String {
        let told = self.told(words);
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        bounded(words[1], self.stand.ends(&told, code)).await
    }

    /// The home is there, and clients find it.
    async fn assert_home(&self, home: &str, state: &str, point: &str) {
        assert_eq!(self.stand.home().await, (home.to_owned(), state.to_owned()), "{point}");
        self.assert_open(&self.bouncers, home, point).await;
    }

    /// Everything is over: all rows are there, and nothing else.
    async fn assert_kept(&self, traffic: Traffic) -> Vec<Ledger> {
        let ledgers = traffic.assert_kept_by(&self.stand, OLD).await;
        self.stand.assert_forgotten("in the end").await;
        ledgers
    }
}

/// What does not hang.
async fn bounded<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, work).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

/// Whether a command that failed says which PgBouncer it could not use.
fn is_told(bouncer: &Bouncer, code: Option<i32>, said: &str) -> bool {
    code == Some(1) && said.contains("error[PI1008]") && said.contains(&format!("127.0.0.1:{}", bouncer.port))
}

/// Whether a command talks to PgBouncer.
fn takes_poolers(words: &[&str]) -> bool {
    words[0] == "split" && words[1] != "status"
}

/// What becomes of PgBouncer at a stage where pgisle goes on: it is there again, and at these stages also not. `PGISLE_TEST_STRIDE=1`
/// takes all of them.
fn harms(stage: &str, down: &[&str]) -> Vec<Harm> {
    let is_down = down.contains(&stage) || std::env::var_os("PGISLE_TEST_STRIDE").is_some();
    [Some(Harm::Restarted), is_down.then_some(Harm::Down)].into_iter().flatten().collect()
}

/// PgBouncer is killed at a stage of the cutover, and again at one of the way back; pgisle goes on each time.
async fn there_and_back(front: &Front, strategy: &'static str, there: (&str, Harm), back: (&str, Harm)) {
    let name = format!("{strategy}, {there:?}, {back:?}");
    front.ends(run_by(strategy)).await;
    front.strikes(CUTOVER, there.0, there.1).await;
    assert!(there.1 == Harm::Down || front.stand.home().await.0 == NEW, "{name}");
    front.ends(CUTOVER).await;
    front.assert_home(NEW, "cut", &name).await;
    front.ends(&["plan", "-detailed-exitcode"]).await;
    front.strikes(ROLLBACK, back.0, back.1).await;
    assert!(back.1 == Harm::Down || front.stand.home().await.0 == OLD, "{name}");
    front.ends(ROLLBACK).await;
    front.assert_home(OLD, "returned", &name).await;
}

#[tokio::test]
async fn a_run_whose_pgbouncer_is_killed_goes_on_or_goes_back() {
    let Some(front) = Front::new(1).await else { skip!("PgBouncer is not installed") };
    let traffic = front.traffic();
    for stage in RUNNING {
        for harm in harms(stage, &["split.begun"]) {
            let name = format!("run, {stage}, {harm:?}");
            front.strikes(run_by("stream"), stage, harm).await;
            front.ends(run_by("stream")).await;
            front.assert_home(OLD, "following", &name).await;
            front.ends(ROLLBACK).await;
            // The alias leads to the service's own database again, which is empty.
            front.ends(FORGET).await;
        }
        front.strikes_both(run_by("stream"), stage).await;
        front.ends(ROLLBACK).await;
        front.assert_home(OLD, "returned", &format!("run, {stage}, rolled back")).await;
        front.ends(FORGET).await;
    }
    front.ends(run_by("copy")).await;
    front.ends(CUTOVER).await;
    front.ends(ROLLBACK).await;
    front.assert_kept(traffic).await;
}

#[tokio::test]
async fn a_split_whose_pgbouncer_is_killed_at_each_stage_goes_on() {
    let Some(front) = Front::new(1).await else { skip!("PgBouncer is not installed") };
    front.ends(run_by("copy")).await;
    let traffic = front.traffic();
    let down = ["split.ready", "split.held", "split.cut", "split.back.fenced", "split.back.prepared", "split.back.returned"];
    for (there, back) in CUTTING.iter().zip(RETURNING) {
        let (there_harms, back_harms) = (harms(there, &down), harms(back, &down));
        for turn in 0..there_harms.len().max(back_harms.len()) {
            let [there_harm, back_harm] = [&there_harms, &back_harms].map(|harms| *harms.get(turn).unwrap_or(&harms[0]));
            there_and_back(&front, "stream", (there, there_harm), (back, back_harm)).await;
        }
    }
    there_and_back(&front, "copy", ("split.held", Harm::Restarted), ("split.back.held", Harm::Restarted)).await;
    there_and_back(&front, "clone", ("split.closed", Harm::Restarted), ("split.back.drained", Harm::Down)).await;
    front.assert_kept(traffic).await;
}

#[tokio::test]
async fn a_cutover_that_is_killed_with_its_pgbouncer_goes_back() {
    let Some(front) = Front::new(1).await else { skip!("PgBouncer is not installed") };
    front.ends(run_by("copy")).await;
    let traffic = front.traffic();
    let mut moved = 0;
    let others = [("copy", "split.cut"), ("clone", "split.cut")];
    for (strategy, stage) in CUTTING.iter().map(|stage| ("stream", *stage)).chain(others) {
        front.ends(run_by(strategy)).await;
        front.strikes_both(CUTOVER, stage).await;
        moved += u32::from(front.stand.home().await.0 == NEW);
        front.ends(ROLLBACK).await;
        front.assert_home(OLD, "returned", &format!("cutover by {strategy}, {stage}")).await;
    }
    assert_eq!(moved, 4);
    front.assert_kept(traffic).await;
}

#[tokio::test]
async fn a_rollback_that_is_killed_with_its_pgbouncer_stays_or_goes_on() {
    let Some(front) = Front::new(1).await else { skip!("PgBouncer is not installed") };
    front.ends(run_by("copy")).await;
    let traffic = front.traffic();
    for stage in RETURNING {
        front.ends(run_by("stream")).await;
        front.ends(CUTOVER).await;
        front.strikes_both(ROLLBACK, stage).await;
        if front.stand.home().await.0 == NEW {
            front.ends(CUTOVER).await;
            front.assert_home(NEW, "cut", stage).await;
        }
        front.ends(ROLLBACK).await;
        front.assert_home(OLD, "returned", stage).await;
    }
    front.assert_kept(traffic).await;
}

#[tokio::test]
async fn several_pgbouncers_are_paused_led_and_let_go_together() {
    let Some(front) = Front::new(2).await else { skip!("PgBouncer is not installed") };
    front.ends(run_by("stream")).await;
    let traffic = front.traffic();
    tokio::time::sleep(Duration::from_millis(300)).await;
    front.ends(CUTOVER).await;
    front.assert_home(NEW, "cut", "through two").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    front.ends(ROLLBACK).await;
    front.assert_home(OLD, "returned", "through two").await;
    let said = front.ends_with(FINALIZE, 1).await;
    assert!(said.contains("PI1013") && said.contains("is in the shared database by its own login"), "{said}");
    front.assert_home(OLD, "returned", "not forgotten").await;
    for ledger in front.assert_kept(traffic).await.iter().take(4) {
        assert_eq!(ledger.errors, [""; 0], "a client of PgBouncer has noticed");
    }
    // Forgotten, the alias is again what the file says. The other PgBouncer was not named.
    let databases = ask(&front.console(&front.bouncers[0]), "SHOW DATABASES").await.unwrap();
    let line = databases.lines().find(|line| line.starts_with(&format!("{NEW}|"))).expect("the service's alias");
    assert!(line.split('|').skip(1).any(|column| column == NEW), "{line}");
}

/// Waits for something that comes soon.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < CLIENT_PATIENCE, "it does not come: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether the service's alias is paused.
async fn is_paused(front: &Front, bouncer: &Bouncer) -> bool {
    let databases = ask(&front.console(bouncer), "SHOW DATABASES").await.unwrap();
    databases.lines().any(|line| line.starts_with(&format!("{NEW}|")) && line.ends_with("|1|0"))
}

#[tokio::test]
async fn one_of_several_pgbouncers_that_is_not_there_keeps_none_of_the_others() {
    let Some(front) = Front::new(2).await else { skip!("PgBouncer is not installed") };
    let [first, second] = &front.bouncers[..] else { unreachable!() };
    front.ends(run_by("stream")).await;
    let traffic = front.traffic();

    // It is told before anything is done.
    second.kill();
    let before = front.stand.furniture().await;
    for words in [CUTOVER, &["split", "cutover", "chat", "-rehearse"]] {
        let said = front.ends_with(words, 1).await;
        assert!(said.contains("error[PI1008]") && said.contains(&format!("127.0.0.1:{}", second.port)), "{said}");
        assert_same(&before, &front.stand.furniture().await, "one is not there");
        assert_eq!(front.stand.home().await, (OLD.to_owned(), "following".to_owned()));
        front.assert_open(&front.bouncers[..1], OLD, "one is not there").await;
    }
    second.up().await;

    // It goes while it is asked to pause, and the other stands still already.
    let child = front.stops(CUTOVER, "split.ready").await;
    let address = front.address(second);
    let long = "BEGIN; UPDATE chat_rooms SET title = title WHERE id = 60; SELECT pg_sleep(60); ROLLBACK";
    let long = tokio::spawn(async move { ask(&address, long).await.is_ok() });
    let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND wait_event = 'PgSleep'";
    until("a long transaction", async || front.stand.cluster.psql(active).await == "1").await;
    let kill = async {
        until("a pause", async || is_paused(&front, first).await).await;
        second.kill();
    };
    let ((code, said), ()) = tokio::join!(bounded("a pause", continued(child)), kill);
    assert!(is_told(second, code, &said) && said.contains("PgBouncer cannot be paused"), "{code:?} {said}");
    assert!(!long.await.unwrap());
    assert_eq!(front.stand.home().await.0, OLD);
    front.assert_open(&front.bouncers[..1], OLD, "killed while it is asked to pause").await;
    second.up().await;
    // Its server process has not noticed, and would hold up the next attempt.
    front.stand.cluster.psql(&active.replace("count(*)", "count(pg_terminate_backend(pid, 5000))")).await;

    // It goes in the pause, and comes again or does not.
    for harm in [Harm::Down, Harm::Restarted] {
        there_and_back(&front, "stream", ("split.held", harm), ("split.back.drained", harm)).await;
    }
    front.assert_kept(traffic).await;
}

#[tokio::test]
async fn a_pgbouncer_that_does_not_answer_is_not_waited_for_and_goes_on_by_itself() {
    let Some(front) = Front::new(1).await else { skip!("PgBouncer is not installed") };
    let [bouncer] = &front.bouncers[..] else { unreachable!() };
    front.ends(run_by("stream")).await;
    let traffic = front.traffic();
    for (words, stage, home) in [
        (CUTOVER, "split.ready", OLD),
        (CUTOVER, "split.held", NEW),
        (ROLLBACK, "split.back.prepared", NEW),
        (ROLLBACK, "split.back.held", OLD),
    ] {
        let child = front.stops(words, stage).await;
        bouncer.signal(Signal::STOP);
        let (code, said) = bounded(stage, continued(child)).await;
        bouncer.signal(Signal::CONT);
        assert!(is_told(bouncer, code, &said) && said.contains("does not answer"), "{stage}: {code:?} {said}");
        assert_eq!(front.stand.home().await.0, home, "{stage}");
        until("the guard, that lets it go on", async || !is_paused(&front, bouncer).await).await;
        front.ends(words).await;
        let (home, state) = if words == CUTOVER { (NEW, "cut") } else { (OLD, "returned") };
        front.assert_home(home, state, stage).await;
        if stage == "split.ready" {
            front.ends(ROLLBACK).await;
            front.ends(run_by("stream")).await;
        }
        if stage == "split.back.prepared" {
            front.ends(run_by("stream")).await;
            front.ends(CUTOVER).await;
        }
    }
    front.assert_kept(traffic).await;
}
