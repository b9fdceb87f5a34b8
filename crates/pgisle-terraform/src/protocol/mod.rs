//! Speaks with Terraform: go-plugin's handshake, then tfplugin6 over gRPC on a private socket.
//!
//! Terraform starts the process, announces its certificate in the environment, and reads one line from standard output
//! ([`handshake`]). It connects to the [`socket`] with mutual [`tls`]; [`server`] takes its calls, [`grpc`] frames them, [`wire`] has
//! their messages. [`calls`] turns each into a call of the [`Provider`], with what [`translate`], [`msgpack`] and [`json`] make of
//! schemas and values. [`lifetime`] knows when it is over.

mod calls;
mod grpc;
mod handshake;
mod json;
mod lifetime;
mod log;
mod msgpack;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod translate;
mod wire;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::provider::Provider;
use handshake::{Refused, Start};
use lifetime::{Lifetime, Signals};
use server::Server;
use socket::{Socket, SocketError};
use tls::TlsError;

/// How long a connection may take to say who it is. Terraform takes milliseconds.
const TLS_HANDSHAKE: Duration = Duration::from_secs(10);

/// After an error of the listener, such as too many open files, it is not tried again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the process serves no more, or never did.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the system gives no signals")]
    Signals(#[source] io::Error),
    #[error("the system gives no event queue")]
    Runtime(#[source] io::Error),
    #[error("the provider cannot be set up")]
    Provider(#[source] io::Error),
    #[error("standard output cannot be written")]
    Output(#[source] io::Error),
}

/// Makes a provider and serves it to the Terraform that started this process, until it has no more to ask. `address` is what
/// configurations call the provider, as `registry.terraform.io/namespace/name`; with `-debug` among the arguments it is told to the
/// user.
pub fn serve<P: Provider>(
    arguments: impl IntoIterator<Item = OsString>,
    address: &str,
    make: impl FnOnce() -> io::Result<P>,
) -> ExitCode {
    match try_serve(arguments, address, make) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(source) = cause {
                text = format!("{text}: {source}");
                cause = source.source();
            }
            // Nobody is left to tell when that fails.
            let _unread = io::stderr().write_all(format!("{text}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn try_serve<P: Provider>(
    arguments: impl IntoIterator<Item = OsString>,
    address: &str,
    make: impl FnOnce() -> io::Result<P>,
) -> Result<(), ServeError> {
    let start = handshake::look(arguments, |name| std::env::var_os(name))?;
    let provider = Arc::new(make().map_err(ServeError::Provider)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Runtime)?;
    runtime.block_on(async {
        // Before the first word, because Terraform may be interrupted right after it.
        let signals = Signals::catch().map_err(ServeError::Signals)?;
        let socket = Socket::open()?;
        let (tls, greeting) = match &start {
            Start::Plugin { client_certificate } => {
                let (config, certificate) = tls::server(client_certificate)?;
                (Some(config), handshake::line(socket.path(), &certificate))
            }
            Start::Debug => (None, handshake::reattach(address, socket.path())),
        };
        let mut output = io::stdout();
        output.write_all(greeting.as_bytes()).and_then(|()| output.flush()).map_err(ServeError::Output)?;
        listen(&socket, tls, signals, provider).await;
        Ok(())
    })
}

/// Serves whoever connects until the end.
async fn listen<P: Provider>(socket: &Socket, tls: Option<Arc<ServerConfig>>, mut signals: Signals, provider: Arc<P>) {
    let lifetime = Lifetime::new();
    let server = Server::new(Arc::clone(&provider), lifetime.clone());
    let acceptor = tls.map(TlsAcceptor::from);
    let is_debug = acceptor.is_none();
    let mut connections = JoinSet::new();
    let end = async {
        tokio::select! {
            // With -debug one process serves many runs.
            () = lifetime.ended(), if !is_debug => {}
            () = lifetime::parent_gone(), if !is_debug => {}
            () = signals.end(is_debug) => {}
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            accepted = socket.accept() => match accepted {
                Ok(stream) => {
                    connections.spawn(connection(stream, acceptor.clone(), server.clone(), lifetime.clone()));
                }
                Err(error) => {
                    log::error(format_args!("no connection can be taken: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    lifetime.finish(|| provider.stop()).await;
    while connections.join_next().await.is_some() {}
}

async fn connection<P: Provider>(stream: UnixStream, acceptor: Option<TlsAcceptor>, server: Server<P>, lifetime: Lifetime) {
    let Some(acceptor) = acceptor else { return server.serve(stream).await };
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(TLS_HANDSHAKE, acceptor.accept(stream)) => accepted,
        () = lifetime.finished() => return,
    };
    match accepted {
        Ok(Ok(stream)) => server.serve(stream).await,
        Ok(Err(error)) => log::error(format_args!("a connection was refused: {error}")),
        Err(_) => log::error(format_args!("a connection was refused: it did not say who it is in time")),
    }
}
