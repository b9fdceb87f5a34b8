//! The page, the metrics and the API: what `pgisle serve` answers. Looking at the cluster goes on by itself; a request only reads what
//! was seen last, so that a thousand of them cost the server nothing.

mod access;
mod answer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pgisle_core::spec::Spec;
use pgisle_core::watch::{Board, History, Watched, board};
use pgisle_engine::clock::now;
use pgisle_engine::watch::Watcher;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

pub(crate) use access::Access;

/// So many clients at once; the others wait in the queue of the system.
const CLIENTS_MAX: usize = 128;

/// A client that has not sent its request by then is let go.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What answers are made of.
pub(crate) struct Seen {
    spec: Spec,
    access: Access,
    now: Mutex<Now>,
}

struct Now {
    watched: Option<Watched>,
    history: History,
}

impl Seen {
    /// Everything as it is now; none before the first look.
    fn board(&self) -> Option<Board> {
        let seen = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        seen.watched.as_ref().map(|watched| board(&self.spec, watched, now()))
    }

    /// Reads from what was before.
    fn history<T>(&self, read: impl FnOnce(&History) -> T) -> T {
        read(&self.now.lock().unwrap_or_else(PoisonError::into_inner).history)
    }

    fn update(&self, watched: &Watched) {
        let mut seen = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        seen.history.record(&board(&self.spec, watched, now()));
        seen.watched = Some(watched.clone());
    }
}

/// Serves until it is told to stop.
pub(crate) async fn serve(listener: TcpListener, access: Access, mut watcher: Watcher, every_s: u64) {
    let now = Mutex::new(Now { watched: None, history: History::new(every_s) });
    let seen = Arc::new(Seen { spec: watcher.spec().clone(), access, now });
    let looking = async {
        let mut tick = tokio::time::interval(Duration::from_secs(every_s));
        // A look that took long is not made up for.
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            seen.update(watcher.look().await);
        }
    };
    tokio::select! {
        () = looking => {}
        () = answering(listener, &seen) => {}
        () = stopped() => {}
    }
    watcher.close().await;
}

async fn answering(listener: TcpListener, seen: &Arc<Seen>) {
    let routes = answer::routes(Arc::clone(seen));
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Such as too many open files: others may be let go of by then.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT);
            // That a client has gone is no news.
            let _gone = http.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

/// Waits for Ctrl-C, or for what an init system sends.
async fn stopped() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
