//! From the host's name to something that speaks PostgreSQL's protocol.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::doctor::{Check, Checked, Place, Refusal, mute, no_such_host, remedy, stranger};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream, lookup_host};

use crate::postgres::{ConnectError, ConnectOptions, Host};

/// How long each of these may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The request for TLS that every server since 7.1 answers with one letter: its length, and 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// How much of a stranger's answer is shown.
const SHOWN_CHARS: usize = 40;

/// What was looked at, and whether PostgreSQL was found.
pub(super) async fn reach(options: &ConnectOptions, place: &Place) -> (Vec<Checked>, bool) {
    let mut checks = Vec::new();
    let found = match &options.host {
        Host::Socket(folder) => {
            checks.push(Checked::new(Check::Name, format!("a Unix socket in {}", folder.display()), Vec::new()));
            let socket = folder.join(format!(".s.PGSQL.{}", options.port));
            let opened = tokio::time::timeout(PATIENCE, UnixStream::connect(socket)).await;
            match opened.map_err(|_| silent(options)).and_then(|opened| opened.map_err(|source| refused(options, source))) {
                Ok(stream) => protocol(stream, options, place, &mut checks).await,
                Err(error) => unreached(&error, place, &mut checks),
            }
        }
        Host::Tcp(name) => match resolve(name, options.port).await {
            Ok(addresses) => {
                let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
                let seen = if shown == [name.clone()] {
                    format!("{name} is an address")
                } else {
                    format!("{name} is {}", shown.join(", "))
                };
                checks.push(Checked::new(Check::Name, seen, Vec::new()));
                match connect(&addresses, options).await {
                    Ok(stream) => protocol(stream, options, place, &mut checks).await,
                    Err(error) => unreached(&error, place, &mut checks),
                }
            }
            Err(reason) => {
                checks.push(Checked::failed(Check::Name, remedy(no_such_host(name, &reason), &Refusal::NoSuchHost, place)));
                false
            }
        },
    };
    (checks, found)
}

/// Whether the host is this machine.
pub(super) async fn is_local(host: &str) -> bool {
    host.starts_with('/') || resolve(host, 0).await.is_ok_and(|found| found.iter().all(|address| address.ip().is_loopback()))
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::time::timeout(PATIENCE, lookup_host((name, port))).await;
    let mut found: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    found.dedup();
    if found.is_empty() { Err("it has no address".to_owned()) } else { Ok(found) }
}

async fn connect(addresses: &[SocketAddr], options: &ConnectOptions) -> Result<TcpStream, ConnectError> {
    let mut last = silent(options);
    for address in addresses {
        match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => last = refused(options, source),
            Err(_) => last = silent(options),
        }
    }
    Err(last)
}

fn refused(options: &ConnectOptions, source: io::Error) -> ConnectError {
    ConnectError::Refused { endpoint: options.endpoint(), source }
}

fn silent(options: &ConnectOptions) -> ConnectError {
    ConnectError::Timeout { endpoint: options.endpoint(), waited: PATIENCE }
}

fn unreached(error: &ConnectError, place: &Place, checks: &mut Vec<Checked>) -> bool {
    checks.push(Checked::failed(Check::Port, remedy(error.diagnostic(), &error.refusal(), place)));
    false
}

/// Asks for TLS, without taking it, and looks at the answer.
async fn protocol<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    options: &ConnectOptions,
    place: &Place,
    checks: &mut Vec<Checked>,
) -> bool {
    checks.push(Checked::new(Check::Port, format!("{} takes connections", options.endpoint()), Vec::new()));
    let asked = async {
        stream.write_all(&SSL_REQUEST).await?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).await?;
        Ok::<_, io::Error>(answer[..length].to_vec())
    };
    let Ok(answered) = tokio::time::timeout(PATIENCE, asked).await else {
        checks.push(Checked::failed(Check::Protocol, mute(&options.endpoint(), options.port, PATIENCE.as_secs())));
        return false;
    };
    let strange = match answered {
        Ok(answer) if answer == b"S" || answer == b"N" => None,
        Ok(answer) if answer.is_empty() => {
            Some("It ends the connection at once, as a proxy does with nothing behind it, or a firewall.".to_owned())
        }
        Ok(answer) => {
            let text: String = String::from_utf8_lossy(&answer).chars().take(SHOWN_CHARS).collect();
            Some(format!("It answers {:?}.", text.trim_end()))
        }
        Err(error) => {
            Some(format!("It breaks the connection off, as a proxy does with nothing behind it, or a firewall: {error}."))
        }
    };
    let Some(seen) = strange else {
        checks.push(Checked::new(Check::Protocol, "it speaks PostgreSQL's", Vec::new()));
        return true;
    };
    let finding: Diagnostic = stranger(&options.endpoint(), &seen);
    checks.push(Checked::failed(Check::Protocol, remedy(finding, &Refusal::Stranger, place)));
    false
}
