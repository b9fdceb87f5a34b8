//! The PgBouncer that the services come through: the user's, or, where none answers, one of ours on the same generated files.

use std::time::Duration;

use pgisle_core::artifact::{self, Artifact, Endpoint, Pooler, pooler_alias};
use pgisle_core::load::Way;
use pgisle_core::name::DatabaseName;
use pgisle_core::spec::{Service, Spec, SslMode};

use super::client;
use super::place::Place;
use super::{Request, logins};
use crate::postgres::tls::{Roots, TlsOptions};
use crate::postgres::{ConnectOptions, Host};

/// How long a PgBouncer may take to let the first client in.
const PATIENCE: Duration = Duration::from_secs(3);

/// What ours takes besides the clients of the load.
const SPARE_CLIENTS: u32 = 20;

/// A PgBouncer that lets the services in.
pub(super) struct Front {
    host: String,
    port: u16,
    tls: TlsOptions,
    /// Why it is ours.
    private_because: Option<String>,
    /// It ends with this.
    _place: Option<Place>,
}

impl Front {
    /// How a service's client comes through it.
    pub(super) fn entrance(&self, request: &Request<'_>, service: &Service) -> Option<ConnectOptions> {
        let login = logins(request, service)?;
        let mut options = request.services.as_login(&login.role, login.secret.clone());
        options.host = Host::parse(&self.host);
        options.port = self.port;
        options.tls = self.tls.clone();
        Some(options.to_database(&DatabaseName::observed(pooler_alias(service))))
    }

    /// The clients that it takes, where that is not up to us.
    pub(super) fn clients_max(&self, spec: &Spec) -> Option<u32> {
        self.private_because.is_none().then_some(spec.settings.pgbouncer_max_client_conn)
    }

    pub(super) fn way(&self, spec: &Spec) -> Way {
        let processes = if self.private_because.is_some() { 1 } else { spec.settings.pgbouncer_instances.max(1) };
        let pools = spec.services.values().map(|service| pgisle_core::budget::pool(&spec.settings, service).max_connections());
        Way::Pooled {
            address: format!("{}:{}", self.host, self.port),
            private_because: self.private_because.clone(),
            pool_mode: spec.settings.pgbouncer_pool_mode,
            connections_max: pools.fold(0, u32::saturating_add).saturating_mul(processes),
        }
    }
}

/// Finds the one that the load is to come through. The reason, as a clause, when there is none.
pub(super) async fn find(request: &Request<'_>) -> Result<Front, String> {
    let settings = &request.spec.settings;
    let Some(first) = request.spec.services.values().next() else { return Err("there is no service".to_owned()) };
    if !settings.enable_pgbouncer {
        return Err("enable_pgbouncer is false, so the services come through no pool".to_owned());
    }
    let theirs = Front {
        host: settings.pgbouncer_host.clone(),
        port: settings.pgbouncer_port,
        // As of PgBouncer's console: whoever has no verifier of the login cannot answer it.
        tls: if request.endpoint.is_encrypted() {
            TlsOptions::new(SslMode::Require, Roots::Default, None)
        } else {
            TlsOptions::disabled()
        },
        private_because: None,
        _place: None,
    };
    let Some(mut entrance) = theirs.entrance(request, first) else { return Err(no_password(first)) };
    entrance.connect_timeout = PATIENCE;
    match client::connect(&entrance).await {
        Ok(welcome) => {
            welcome.close().await;
            Ok(theirs)
        }
        Err(reason) => {
            let because = format!("{}:{} did not let \"{}\" in: {reason}", theirs.host, theirs.port, entrance.user);
            let place = Place::take(request.project, settings.environment).await;
            private(request, request.spec, place.map_err(|reason| format!("{because}; and {reason}"))?, &because).await
        }
    }
}

/// Starts one of ours, on the files that a spec makes.
pub(super) async fn private(request: &Request<'_>, spec: &Spec, mut place: Place, because: &str) -> Result<Front, String> {
    let clients = (pgisle_core::load::CLIENTS_MAX + SPARE_CLIENTS).to_string();
    let roots = server_roots(request, &place)?;
    let mut settings = vec![("client_tls_sslmode", "disable"), ("max_client_conn", clients.as_str())];
    settings.extend(roots.as_deref().map(|roots| ("server_tls_ca_file", roots)));
    let pooler = place.start(&files(request, spec), settings).await?;
    Ok(Front {
        host: "127.0.0.1".to_owned(),
        port: pooler.port,
        tls: TlsOptions::disabled(),
        private_because: Some(because.to_owned()),
        _place: Some(place),
    })
}

/// The files, leading to the server by the way that we know, which is not always the services' own.
fn files(request: &Request<'_>, spec: &Spec) -> Vec<Artifact> {
    let Endpoint { pooler, .. } = request.endpoint.clone();
    let endpoint = Endpoint {
        host: request.services.host.to_string(),
        port: request.services.port,
        sslmode: request.services.tls.mode(),
        sslrootcert: spec.settings.postgres_sslrootcert.clone(),
        // What it measures goes to the primary.
        standbys: Vec::new(),
        pooler: pooler.map(|pooler| Pooler { listen_address: "127.0.0.1".to_owned(), ..pooler }),
    };
    artifact::generate(spec, &endpoint, request.credentials)
}

/// The file of the authorities that PgBouncer checks the server's certificate with, where it is to check it: a copy, because it may
/// run as another account than we.
fn server_roots(request: &Request<'_>, place: &Place) -> Result<Option<String>, String> {
    if !matches!(request.services.tls.mode(), SslMode::VerifyCa | SslMode::VerifyFull) {
        return Ok(None);
    }
    let given = request.spec.settings.postgres_sslrootcert.clone();
    let file = given.ok_or("a PgBouncer of ours checks the server's certificate only with postgres_sslrootcert")?;
    let text =
        std::fs::read_to_string(request.project.join(&file)).map_err(|error| format!("\"{file}\" cannot be read: {error}"))?;
    place.keep("roots.crt", &text).map(|path| Some(path.display().to_string()))
}

pub(super) fn no_password(service: &Service) -> String {
    format!("the password of service \"{}\" is not known here", service.name)
}
