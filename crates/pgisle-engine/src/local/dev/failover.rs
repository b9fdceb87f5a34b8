//! A takeover of the private cluster, step by step: its primary is killed, its standby becomes the primary, and what was the primary
//! becomes the standby.
//!
//! The order is what keeps two servers from taking writes: the old primary is dead, then its data directory is fenced, then the
//! decision is written down, then the standby is promoted. Whoever is killed in between leaves what the next [`super::up`] ends.

use std::path::Path;

use super::pair::{self, Follower, Pair, Part, Two};
use super::state::{self, State};
use super::{DevCluster, Layout, Place};
use crate::fault;
use crate::local::pooler::{self, Lead};
use crate::local::replica;
use crate::local::server::{self, StopMode};
use crate::local::surroundings::{self, Lock};
use crate::local::{Installation, LocalError};
use crate::postgres::Session;

/// Both servers, held against anyone who would start or stop them.
pub(crate) struct Takeover {
    layout: Layout,
    place: Place,
    installation: Installation,
    /// The primary, before and after.
    primary: DevCluster,
    pair: Pair,
    _lock: Lock,
}

impl Takeover {
    /// Takes both servers, and writes down that a failover is under way. None when there is no standby.
    pub(crate) async fn begin(project: &Path) -> Result<Option<Self>, LocalError> {
        let layout = Layout::of(project)?;
        layout.prepare()?;
        let lock = surroundings::lock(&layout.lock()).await?;
        let Some(State { mut cluster, pair: Some(pair) }) = state::read(&layout.folder)? else { return Ok(None) };
        let place = layout.place().await;
        (cluster.data, cluster.log) = (place.data(pair.primary), place.log(pair.primary));
        let installation = Installation::find(Some(cluster.major))
            .await
            .map_err(|_| LocalError::MajorGone { data: cluster.data.clone(), major: cluster.major })?;
        let mut takeover = Self { layout, place, installation, primary: cluster, pair, _lock: lock };
        takeover.pair.is_failing_over = true;
        takeover.save()?;
        Ok(Some(takeover))
    }

    fn save(&self) -> Result<(), LocalError> {
        state::save(&self.layout.folder, &State { cluster: self.primary.clone(), pair: Some(self.pair) })
    }

    /// Which server takes writes, at this moment.
    pub(crate) fn primary(&self) -> &DevCluster {
        &self.primary
    }

    /// The other one, as one would connect to it.
    pub(crate) fn other(&self) -> DevCluster {
        let node = self.pair.primary.other();
        DevCluster {
            port: self.pair.standby_port,
            socket_folder: self.place.socket_folder(node),
            data: self.place.data(node),
            log: self.place.log(node),
            ..self.primary.clone()
        }
    }

    /// Has the primary wait with each commit until the standby has it on its disk, or not.
    pub(crate) fn set_synchronous(&self, is_synchronous: bool) -> Result<(), LocalError> {
        let DevCluster { data, port, socket_folder, .. } = &self.primary;
        pair::write_settings(data, self.layout.account(), *port, socket_folder, &Part::Primary { is_synchronous })?;
        server::reload(data);
        Ok(())
    }

    /// Has the standby get nothing any more, as a network that is too slow would, until the primary is killed.
    pub(crate) fn hold_back(&self, follower: Follower) {
        if let Some(sender) = rustix::process::Pid::from_raw(follower.sender) {
            server::signal(sender, rustix::process::Signal::STOP);
        }
    }

    /// Makes sure that the old primary cannot come back and take writes: whoever starts it gets a server that only reads.
    pub(crate) fn fence(&mut self) -> Result<(), LocalError> {
        // It is dead, or is by now: nothing that still lives of it may go on with its log.
        server::kill(&self.primary.data);
        replica::fence(&self.primary.data, self.layout.account())?;
        fault::stage("failover.fenced");
        let successor = self.other();
        self.pair = self.pair.turned(self.primary.port);
        self.primary = successor;
        self.save()?;
        fault::stage("failover.decided");
        Ok(())
    }

    /// Promotes the one that was chosen, and waits until it takes writes.
    pub(crate) async fn promote(&self) -> Result<(), LocalError> {
        Box::pin(pair::promote(&self.primary)).await?;
        fault::stage("failover.promoted");
        Ok(())
    }

    /// Has PgBouncer lead there, readers too: there is no standby at this moment.
    pub(crate) async fn repoint(&self) -> Result<(), LocalError> {
        self.lead(None).await?;
        fault::stage("failover.repointed");
        Ok(())
    }

    async fn lead(&self, standby: Option<u16>) -> Result<(), LocalError> {
        let lead = Lead { primary: self.primary.port, standby };
        pooler::lead(&self.place.pooler(), self.layout.account(), lead).await.map(drop)
    }

    /// Starts the old primary where it was, as somebody would who does not know of the takeover. It is fenced, and follows nobody.
    pub(crate) async fn start_old(&mut self) -> Result<(), LocalError> {
        let (node, wanted) = (self.pair.primary.other(), self.pair.standby_port);
        let two = self.two();
        let port = two.start(node, wanted, |_| Part::Primary { is_synchronous: false }).await?;
        self.pair.standby_port = port;
        self.save()?;
        fault::stage("failover.old_started");
        Ok(())
    }

    /// Makes the old primary the new one's standby.
    pub(crate) async fn rejoin(&mut self) -> Result<(), LocalError> {
        let node = self.pair.primary.other();
        // At a checkpoint: pg_rewind takes only what was stopped in order.
        server::stop(&self.place.data(node), StopMode::Fast).await?;
        let session = Box::pin(Session::connect(&self.primary.connect_options())).await.map_err(LocalError::Connect)?;
        let mut two = self.two();
        let outcome = Box::pin(two.rejoin_anew(&session, node)).await;
        session.close().await;
        let pair = two.pair;
        outcome?;
        self.pair = pair;
        self.save()?;
        fault::stage("failover.rejoined");
        // Readers find a standby again.
        self.lead(Some(self.pair.standby_port)).await
    }

    /// How the standby follows; none when it does not.
    pub(crate) async fn follower(&self, session: &Session) -> Result<Option<Follower>, LocalError> {
        pair::follower(session).await
    }

    fn two(&self) -> Two<'_> {
        Two { layout: &self.layout, place: &self.place, installation: &self.installation, primary: &self.primary, pair: self.pair }
    }
}
