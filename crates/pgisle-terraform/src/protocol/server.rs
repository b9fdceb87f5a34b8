//! The calls that come over a connection: which there are, and what keeps one from harming the others.

use std::cell::RefCell;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};

use super::calls::{self, Answer, Refusal};
use super::grpc::{self, Code, Failure};
use super::lifetime::Lifetime;
use super::{log, translate, wire};
use crate::provider::Provider;

/// How long a connection may take to deliver the last answers once the end has come.
const FAREWELL: Duration = Duration::from_secs(1);

/// More calls at once than any `-parallelism`: when all of them are slow, `StopProvider` must get through beside them.
const CALLS_AT_ONCE_MAX: u32 = 10_000;

/// Serves a provider's calls.
pub(super) struct Server<P> {
    provider: Arc<P>,
    lifetime: Lifetime,
}

impl<P> Clone for Server<P> {
    fn clone(&self) -> Self {
        Self { provider: Arc::clone(&self.provider), lifetime: self.lifetime.clone() }
    }
}

impl<P: Provider> Server<P> {
    pub(super) fn new(provider: Arc<P>, lifetime: Lifetime) -> Self {
        note_panics();
        Self { provider, lifetime }
    }

    /// Serves one connection until the other side closes it, or until the end.
    pub(super) async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let lifetime = self.lifetime.clone();
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(CALLS_AT_ONCE_MAX);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let served = tokio::select! {
            served = &mut connection => served,
            () = lifetime.finished() => {
                connection.as_mut().graceful_shutdown();
                // Whoever still reads after that has what it asked for, or has gone.
                tokio::time::timeout(FAREWELL, &mut connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = served {
            log::debug(format_args!("a connection ended: {error}"));
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> grpc::Answer {
        let (head, body) = request.into_parts();
        if !grpc::is_call(&head.method, &head.headers) {
            return grpc::not_a_call();
        }
        let result = match grpc::message(body).await {
            Ok(message) => self.dispatch(head.uri.path(), message).await,
            Err(failure) => Err(failure),
        };
        grpc::answer(result)
    }

    async fn dispatch(&self, path: &str, message: Bytes) -> Result<Vec<u8>, Failure> {
        let Some(call) = path.strip_prefix("/tfplugin6.Provider/") else { return self.dispatch_plugin(path) };
        match call {
            "GetMetadata" => self.call(message, nothing, calls::metadata).await,
            "GetProviderSchema" => self.call(message, nothing, calls::schema).await,
            "ValidateProviderConfig" => self.call(message, nothing, calls::validate_provider).await,
            "ValidateResourceConfig" => self.call(message, nothing, calls::validate_resource).await,
            "ValidateDataResourceConfig" => self.call(message, nothing, calls::validate_data_source).await,
            "UpgradeResourceState" => self.call(message, nothing, calls::upgrade).await,
            "ConfigureProvider" => self.call(message, nothing, calls::configure).await,
            "ReadResource" => self.call(message, calls::unread, calls::read).await,
            "PlanResourceChange" => self.call(message, nothing, calls::plan).await,
            "ApplyResourceChange" => self.call(message, calls::unapplied, calls::apply).await,
            "ImportResourceState" => self.call(message, nothing, calls::import).await,
            "MoveResourceState" => self.call(message, nothing, calls::move_state).await,
            "ReadDataSource" => self.call(message, nothing, calls::read_data_source).await,
            "GetFunctions" => self.call(message, nothing, calls::functions).await,
            "StopProvider" => self.call(message, nothing, calls::stop).await,
            _ => Err(unimplemented(path)),
        }
    }

    /// What go-plugin asks of every plugin. It can do without its standard streams and its broker.
    fn dispatch_plugin(&self, path: &str) -> Result<Vec<u8>, Failure> {
        match path {
            "/plugin.GRPCController/Shutdown" => {
                self.lifetime.end();
                Ok(wire::Empty {}.encode_to_vec())
            }
            "/grpc.health.v1.Health/Check" => Ok(wire::Health { status: wire::SERVING }.encode_to_vec()),
            _ => Err(unimplemented(path)),
        }
    }

    /// Makes one call. It runs to its end even when Terraform hangs up, because half a change is worse than one that nobody waits
    /// for; and a panic in it ends it alone.
    async fn call<Q, A, F>(
        &self,
        message: Bytes,
        otherwise: impl FnOnce(&Q) -> A,
        call: impl FnOnce(Arc<P>, Q) -> F,
    ) -> Result<Vec<u8>, Failure>
    where
        Q: Message + Default,
        A: Answer,
        F: Future<Output = Result<A, Refusal>> + Send + 'static,
    {
        let request = Q::decode(message).map_err(|_| Failure::new(Code::InvalidArgument, "the message is not what is expected"))?;
        let mut otherwise = otherwise(&request);
        let running = self.lifetime.running();
        let called = AssertUnwindSafe(call(Arc::clone(&self.provider), request)).catch_unwind();
        let task = tokio::spawn(async move {
            let result = called.await.unwrap_or_else(|_payload| Err(Box::new(panicked())));
            drop(running);
            result
        });
        let result = task.await.map_err(|_| Failure::new(Code::Internal, "the provider is ending"))?;
        Ok(result
            .unwrap_or_else(|refusal| {
                otherwise.tell(*refusal);
                otherwise
            })
            .encode_to_vec())
    }
}

fn nothing<Q, A: Default>(_: &Q) -> A {
    A::default()
}

fn unimplemented(path: &str) -> Failure {
    Failure::new(Code::Unimplemented, format!("there is no {path}"))
}

thread_local! {
    /// Where the last panic of this thread was.
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes where a panic is, and tells the log no more than that: its text may hold what is secret, unless it is the source's own.
fn note_panics() {
    static NOTED: Once = Once::new();
    NOTED.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
            let text = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("its text is withheld");
            log::error(format_args!("panic at {place}: {text}"));
            PANICKED_AT.set(Some(place));
        }));
    });
}

/// What is told after a panic on this thread.
fn panicked() -> wire::Diagnostic {
    let place = PANICKED_AT.take().unwrap_or_else(|| "an unknown place".to_owned());
    translate::error(
        "the provider failed inside",
        format!(
            "It panicked at {place}. This is a bug: please report this line with the versions of Terraform and of the provider. What \
             was being changed may be half done; planning again shows what is."
        ),
    )
}
