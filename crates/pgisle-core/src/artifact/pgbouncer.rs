//! PgBouncer's configuration: one alias per service, no `*`, and the identical verifiers that the server has, so that it passes
//! SCRAM through and holds no password.

use std::fmt::Write as _;

use crate::artifact::escape::{double_quoted, pgbouncer_value};
use crate::artifact::naming::{pooler_alias, reader_alias};
use crate::artifact::{Artifact, Endpoint, Pooler, header};
use crate::budget;
use crate::credential::{Credential, Credentials};
use crate::name::RoleName;
use crate::spec::{PoolMode, Service, Settings, Spec, SslMode};

/// The path of the configuration.
pub(crate) const INI_PATH: &str = "pgbouncer/pgbouncer.ini";

/// The path of the users' verifiers.
pub(crate) const USERLIST_PATH: &str = "pgbouncer/userlist.txt";

/// Stands before the aliases that lead to standbys.
pub const READERS_MARK: &str = "; For reading, on the standbys: one after the other gets a new connection.";

/// The version from which prepared statements work in transaction mode.
const VERSION_PREPARED_STATEMENTS: (u32, u32) = (1, 21);

/// How many prepared statements are kept per server connection: the default of PgBouncer 1.24.
const MAX_PREPARED_STATEMENTS: u32 = 200;

pub(crate) fn artifacts(spec: &Spec, endpoint: &Endpoint, credentials: &Credentials) -> Vec<Artifact> {
    let Some(pooler) = &endpoint.pooler else { return Vec::new() };
    vec![
        Artifact::open(INI_PATH, ini(spec, endpoint, pooler, credentials)),
        Artifact::secret(USERLIST_PATH, userlist(spec, credentials)),
    ]
}

/// PgBouncer's console user.
pub(crate) fn console_user(settings: &Settings, credentials: &Credentials) -> RoleName {
    let made = credentials.pgbouncer.as_ref().map(|login| login.role.clone());
    made.unwrap_or_else(|| settings.pgbouncer_user())
}

fn ini(spec: &Spec, endpoint: &Endpoint, pooler: &Pooler, credentials: &Credentials) -> String {
    let settings = &spec.settings;
    let mut text = header(spec, ";");
    write_aliases(&mut text, spec, endpoint, pooler);
    let _ = write!(
        text,
        "\n[pgbouncer]\n\
         listen_addr = {}\n\
         listen_port = {}\n\
         unix_socket_dir =\n\
         \n\
         ; Logins prove themselves by SCRAM, to PgBouncer and through it to the server.\n\
         auth_type = scram-sha-256\n\
         auth_file = {}/userlist.txt\n\
         admin_users = {}\n",
        pooler.listen_address,
        pooler.port,
        pooler.directory,
        console_user(settings, credentials),
    );
    if settings.create_monitoring_user {
        let _ = writeln!(text, "stats_users = {}", settings.monitoring_user());
    }
    write_tls(&mut text, endpoint, pooler);
    let _ = write!(
        text,
        "\npool_mode = {}\n\
         default_pool_size = {}\n\
         reserve_pool_size = {}\n\
         max_client_conn = {}\n\
         server_idle_timeout = {}\n\
         \n\
         ; A server that has refused is asked again after this many seconds; the default is 15, and clients get the old answer meanwhile.\n\
         server_login_retry = 1\n\
         \n\
         ; JDBC and sqlx send this one, and it changes nothing that matters. Nothing else is ignored: a client that asks for an option\n\
         ; that PgBouncer cannot keep shall be told, not misled.\n\
         ignore_startup_parameters = extra_float_digits\n",
        settings.pgbouncer_pool_mode,
        settings.pgbouncer_default_pool_size,
        settings.pgbouncer_reserve_pool_size,
        settings.pgbouncer_max_client_conn,
        settings.pgbouncer_server_idle_timeout,
    );
    if settings.pgbouncer_pool_mode != PoolMode::Session && version(settings) >= VERSION_PREPARED_STATEMENTS {
        let _ = write!(
            text,
            "\n; Prepared statements follow a client from one server connection to the next (PgBouncer 1.21 and later).\n\
             max_prepared_statements = {MAX_PREPARED_STATEMENTS}\n"
        );
    }
    text
}

/// An alias for each service, and one more where a standby serves its reads.
fn write_aliases(text: &mut String, spec: &Spec, endpoint: &Endpoint, pooler: &Pooler) {
    text.push_str("\n[databases]\n");
    let line = |service: &Service, alias: &str, host: &str, port: u16| {
        let pool = budget::pool(&spec.settings, service);
        let database = pooler.homes.get(&service.name).unwrap_or(&service.database);
        format!(
            "{alias} = host={} port={port} dbname={} pool_size={} max_db_connections={}\n",
            pgbouncer_value(host),
            pgbouncer_value(database.as_str()),
            pool.size,
            pool.max_connections(),
        )
    };
    for service in spec.services.values() {
        text.push_str(&line(service, pooler_alias(service), &endpoint.host, endpoint.port));
    }
    let readers: Vec<&Service> = spec.services.values().filter(|service| !endpoint.readers(service).is_empty()).collect();
    if let Some((_, port)) = endpoint.standbys.first().filter(|_| !readers.is_empty()) {
        let hosts: Vec<&str> = endpoint.standbys.iter().map(|(host, _)| host.as_str()).collect();
        let _ = writeln!(text, "\n{READERS_MARK}");
        for service in readers {
            // One port for all of them: whoever names others was refused.
            text.push_str(&line(service, &reader_alias(service), &hosts.join(","), *port));
        }
    }
}

fn write_tls(text: &mut String, endpoint: &Endpoint, pooler: &Pooler) {
    let directory = &pooler.directory;
    if endpoint.is_encrypted() {
        let _ = write!(
            text,
            "\n; Services come by TLS. PgBouncer's own certificate and key are yours to put here; IMPLEMENTATION_GUIDE.md tells how.\n\
             client_tls_sslmode = require\n\
             client_tls_cert_file = {directory}/tls/server.crt\n\
             client_tls_key_file = {directory}/tls/server.key\n"
        );
    }
    let _ = writeln!(text, "\nserver_tls_sslmode = {}", endpoint.sslmode);
    if matches!(endpoint.sslmode, SslMode::VerifyCa | SslMode::VerifyFull) {
        let _ = writeln!(text, "server_tls_ca_file = {directory}/tls/root.crt");
    }
}

/// Every login that may come in, with its verifier. None as long as any is missing: half a list would lock the others out.
fn userlist(spec: &Spec, credentials: &Credentials) -> Option<String> {
    let mut text = header(spec, ";");
    let mut write = |login: &Credential| {
        let _ = writeln!(text, "{} {}", double_quoted(login.role.as_str()), double_quoted(login.verifier.expose()));
    };
    for service in spec.services.values() {
        let logins = credentials.services.get(&service.name)?;
        // During a rotation both slots log in.
        logins.logins().for_each(&mut write);
    }
    if spec.settings.create_monitoring_user {
        write(credentials.monitoring.as_ref()?);
    }
    write(credentials.pgbouncer.as_ref()?);
    Some(text)
}

/// Major and minor of `pgbouncer_version`; the oldest one when it is not a version.
fn version(settings: &Settings) -> (u32, u32) {
    let mut numbers = settings.pgbouncer_version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
