//! Looking at a cluster again and again: one connection to the server for all of it, as the monitoring login, and one to the console of
//! each PgBouncer. Everything has a bound; what fails is tried again the next time.

pub(crate) mod pools;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgisle_core::credential::Credentials;
use pgisle_core::inventory::Readable;
use pgisle_core::name::{DatabaseName, ServiceName};
use pgisle_core::spec::Spec;
use pgisle_core::watch::{BackupSample, Part, ServerSample, Standing, Watched};

use crate::activity;
use crate::backup::{BackupStore, StoreError, catalog, recover};
use crate::clock::now;
use crate::pooler::PoolerConsole;
use crate::postgres::{ConnectOptions, Session, inspect_shared};
use pools::Pools;

const SERVER: &str = include_str!("server.sql");

/// How often sizes, catalogs and backups are looked at, seconds: they cost more and change less.
const SLOW_S: u64 = 60;

/// Longer than this the server does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where to look.
pub struct Place {
    /// What is wanted.
    pub spec: Spec,
    /// The logins, without their passwords: whether the server has others is seen by the verifiers.
    pub credentials: Credentials,
    /// The server, as the monitoring login.
    pub server: ConnectOptions,
    /// The consoles of every PgBouncer, as the same login.
    pub poolers: Vec<PoolerConsole>,
    /// Where the backups are.
    pub backups: BackupStore,
}

/// Looks, and remembers what it saw.
pub struct Watcher {
    place: Place,
    session: Option<Session>,
    pools: Pools,
    sizes: Option<(Instant, BTreeMap<DatabaseName, Readable<u64>>)>,
    slow: Option<Instant>,
    watched: Watched,
}

impl Watcher {
    /// Has seen nothing yet. It will be asked to look every so many seconds.
    #[must_use]
    pub fn new(place: Place, every_s: u64) -> Self {
        let slow_s = every_s.max(SLOW_S);
        let watched = Watched {
            server: Part::new(every_s),
            before: None,
            pools: (!place.poolers.is_empty()).then(|| Part::new(every_s)),
            backups: Part::new(slow_s),
            standing: Part::new(slow_s),
        };
        Self { place, session: None, pools: Pools::default(), sizes: None, slow: None, watched }
    }

    /// What is wanted.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.place.spec
    }

    /// Everything that was seen last.
    #[must_use]
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Looks at everything whose time has come.
    pub async fn look(&mut self) -> &Watched {
        let is_slow = self.slow.is_none_or(|last| last.elapsed().as_secs() >= self.watched.standing.every_s);
        // What is as slow as a store may be keeps nobody from seeing the server.
        let (pools, backups) = (&mut self.pools, &self.place.backups);
        let server = async { look_at_server(&self.place, &mut self.session, &mut self.sizes, is_slow).await };
        let pooled = async { if self.place.poolers.is_empty() { None } else { Some(pools.look(&self.place.poolers).await) } };
        let stored = async { if is_slow { Some(look_at_backups(backups).await) } else { None } };
        let ((sample, standing), pooled, stored) = futures_util::join!(server, pooled, stored);
        let now = now();
        match &sample {
            Ok(_) => self.watched.before = self.watched.server.seen.take(),
            // What the catalogs of a server say that cannot be seen does not hold either; they are read again as soon as it can.
            Err(reason) => {
                self.slow = None;
                self.watched.standing.update(now, Err(reason.clone()));
            }
        }
        self.watched.server.update(now, sample);
        if let (Some(part), Some(pooled)) = (&mut self.watched.pools, pooled) {
            part.update(now, pooled);
        }
        if let Some(stored) = stored {
            self.watched.backups.update(now, stored);
        }
        if let Some(standing) = standing {
            self.watched.standing.update(now, Ok(standing));
            self.slow = Some(Instant::now());
        }
        &self.watched
    }

    /// Says goodbye.
    pub async fn close(self) {
        if let Some(session) = self.session {
            session.close().await;
        }
    }
}

/// The statistics, and from time to time the catalogs, all by one connection. One that fails is given up: the next look makes another.
async fn look_at_server(
    place: &Place,
    session: &mut Option<Session>,
    sizes: &mut Option<(Instant, BTreeMap<DatabaseName, Readable<u64>>)>,
    is_slow: bool,
) -> (Result<ServerSample, String>, Option<Standing>) {
    let outcome = tokio::time::timeout(ANSWER_TIMEOUT, async {
        if session.is_none() {
            let connected = Session::connect(&place.server).await;
            *session = Some(connected.map_err(|error| error.diagnostic().brief())?);
        }
        let Some(open) = session.as_ref() else { return Err("there is no session".to_owned()) };
        let mut standing = None;
        if is_slow {
            let read = activity::bytes(open).await.map_err(|diagnostic| diagnostic.brief())?;
            *sizes = Some((Instant::now(), read));
            let inventory = inspect_shared(open).await.map_err(|error| error.diagnostic().brief())?;
            standing = Some(pgisle_core::watch::standing(&place.spec, &inventory, &place.credentials));
        }
        let mut sample = statistics(open).await?;
        if let Some((_, sizes)) = sizes.as_ref().filter(|(at, _)| at.elapsed().as_secs() <= 3 * SLOW_S) {
            for (name, database) in &mut sample.databases {
                database.bytes = sizes.get(name).and_then(|bytes| bytes.known().copied());
            }
        }
        Ok((sample, standing))
    });
    let outcome = match outcome.await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("it does not answer within {} s", ANSWER_TIMEOUT.as_secs())),
    };
    match outcome {
        Ok((sample, standing)) => (Ok(sample), standing),
        Err(reason) => {
            // Dropping it ends the connection.
            *session = None;
            (Err(reason), None)
        }
    }
}

async fn statistics(session: &Session) -> Result<ServerSample, String> {
    let rows = session.query(SERVER, &[]).await.map_err(|error| crate::postgres::connect::describe(&error))?;
    let text: String = rows.first().map_or(Ok(String::new()), |row| row.try_get(0)).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("its answer cannot be understood: {error}"))
}

async fn look_at_backups(store: &BackupStore) -> Result<BTreeMap<ServiceName, BackupSample>, String> {
    // A folder that is not there holds no backups.
    let look = async { Ok::<_, StoreError>((catalog::list(store, None).await?, recover::proofs(store).await?)) };
    let looked = tokio::time::timeout(ANSWER_TIMEOUT, look).await;
    let looked = looked.map_err(|_| "the store does not answer".to_owned())?;
    let (listing, proofs) = looked.map_err(|error| error.diagnostic().brief())?;
    let mut all: BTreeMap<ServiceName, BackupSample> = BTreeMap::new();
    for backup in &listing.backups {
        let sample = all.entry(backup.service().clone()).or_default();
        let made = backup.id().begun();
        sample.newest = sample.newest.max(Some(made));
        if backup.verified.is_some() && sample.proved < Some(made) {
            (sample.proved, sample.bytes) = (Some(made), backup.manifest.data.bytes);
        }
    }
    for (service, proof) in proofs {
        all.entry(service).or_default().recovered = Some(proof.proved);
    }
    Ok(all)
}
