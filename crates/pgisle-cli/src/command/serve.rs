//! `pgisle serve`.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::secret::Secret;
use pgisle_engine::watch::Watcher;
use tokio::net::TcpListener;

use crate::args::address::{self, Address};
use crate::project::Project;
use crate::report::Report;
use crate::serve::{self, Access};
use crate::session::{Session, io_diagnostic};

/// Where the token is looked for when no file is named.
const TOKEN_VARIABLE: &str = "PGISLE_SERVE_TOKEN";

/// Less can be guessed.
const TOKEN_LENGTH_MIN: usize = 16;

/// The port, unless another is named.
const PORT: u16 = 7654;

/// Serve a page, metrics and an API that show how the islands are.
///
/// Looks at the cluster every few seconds, by one connection as the monitoring login, and at PgBouncer's console. Shows connections of
/// each service against its limits, waits in its pools, sizes, replication, the last proved backup, drift and leaks, what is wrong,
/// and what it was like before. Everything is read-only, and what cannot be seen any more is marked as old or left out.
///
/// It listens on this machine alone. To listen elsewhere, give a token; whoever knows it gets in, as a bearer token or as the password
/// of any user. Put it behind a proxy that speaks TLS.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle serve
  Watching. Open http://127.0.0.1:7654/ (Ctrl-C ends it)

  $ pgisle serve -listen=0.0.0.0:7654 -token-file=/etc/pgisle/token

  $ curl -s http://127.0.0.1:7654/metrics | grep pgisle_up
  $ curl -s http://127.0.0.1:7654/api/v1/board | jq '.services[].connections'
  $ curl -sf http://127.0.0.1:7654/healthz     # fails when the server cannot be seen")]
pub(crate) struct Args {
    /// Listen here. Port 0 is any that is free.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1", value_parser = listen)]
    listen: Address,
    /// Look every so often.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = crate::watching::every)]
    every: Duration,
    /// Take the token from this file; without it from PGISLE_SERVE_TOKEN, where that is set.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Look at this PgBouncer instead of the one at pgbouncer_host and pgbouncer_port (can be repeated).
    #[arg(long, value_name = "HOST:PORT", value_parser = address::parse)]
    pooler: Vec<Address>,
}

/// An address to listen at, where port 0 is any.
fn listen(text: &str) -> Result<Address, String> {
    match text.strip_suffix(":0") {
        Some(host) => address::parse(host).map(|address| Address { port: Some(0), ..address }),
        None => address::parse(text),
    }
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let token = token(session, args).map_err(|diagnostic| vec![diagnostic])?;
    let mut project = Project::load(session).await?;
    let place = crate::watching::place(&mut project, &args.pooler)?;
    let listener = bind(&args.listen, token.is_some()).await.map_err(|diagnostic| vec![diagnostic])?;
    let address = listener.local_addr().map_err(|error| vec![cannot_listen(&args.listen, &error)])?;
    session.console.show(&format!("Watching. Open http://{address}/ (Ctrl-C ends it)\n"));
    session.console.find(&project.warnings);
    let every_s = args.every.as_secs();
    let access = Access { token, address };
    serve::serve(listener, access, Watcher::new(place, every_s), every_s).await;
    Ok(Report::new().member("serve", serde_json::json!({ "address": address.to_string() })))
}

fn token(session: &Session, args: &Args) -> Result<Option<Secret>, Diagnostic> {
    let text = match &args.token_file {
        Some(path) => {
            let path = session.path_given(path);
            let failed = |error: std::io::Error| io_diagnostic("the token cannot be read", &path, &error);
            if std::fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o077 != 0 {
                return Err(Diagnostic::error(Code::WATCH_TOKEN, format!("others can read {}", path.display()))
                    .hint("Take their rights away:")
                    .command(format!("chmod 600 {}", path.display())));
            }
            Some(std::fs::read_to_string(&path).map_err(failed)?)
        }
        None => std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()),
    };
    let token = text.map(|text| text.trim_end_matches(['\n', '\r']).to_owned());
    match &token {
        Some(token) if token.len() < TOKEN_LENGTH_MIN || !token.chars().all(|letter| letter.is_ascii_graphic()) => {
            Err(Diagnostic::error(Code::WATCH_TOKEN, "the token cannot be used")
                .detail(format!("It has {TOKEN_LENGTH_MIN} letters, digits or signs at least, and no spaces."))
                .hint("Make one:")
                .command("openssl rand -hex 24"))
        }
        _ => Ok(token.map(Secret::new)),
    }
}

async fn bind(address: &Address, has_token: bool) -> Result<TcpListener, Diagnostic> {
    let port = address.port.unwrap_or(PORT);
    let found = tokio::net::lookup_host((address.host.as_str(), port)).await.map_err(|error| cannot_listen(address, &error))?;
    let found: Vec<_> = found.collect();
    if !has_token && found.iter().any(|one| !one.ip().is_loopback()) {
        return Err(Diagnostic::error(Code::WATCH_TOKEN, format!("{} can be reached by others", address.host))
            .detail("Without a token, everyone who reaches it would see how the databases are.")
            .hint(format!("Give a token by -token-file or {TOKEN_VARIABLE}, or listen on {}.", IpAddr::V4(Ipv4Addr::LOCALHOST))));
    }
    TcpListener::bind(found.as_slice()).await.map_err(|error| cannot_listen(address, &error))
}

fn cannot_listen(address: &Address, error: &std::io::Error) -> Diagnostic {
    let port = address.port.unwrap_or(PORT);
    Diagnostic::error(Code::WATCH_LISTEN, format!("cannot listen at {}, port {port}", address.host))
        .detail(format!("The system says: {error}."))
        .hint("Choose another address or port with -listen; port 0 is any that is free.")
}
