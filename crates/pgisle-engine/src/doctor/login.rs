//! Getting in: the administrator, the services, monitoring.

use std::time::Duration;

use futures_util::StreamExt as _;
use pgisle_core::credential::Credential;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::doctor::{Check, Checked, Place, Refusal, remedy};
use pgisle_core::name::DatabaseName;
use pgisle_core::spec::{Service, SslMode};

use super::{Patient, place_of};
use crate::postgres::{ConnectError, ConnectOptions, Session};
use crate::verify::service_address;

/// How long a login may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Lets the administrator in; both checks, and the session.
pub(super) async fn administrator(options: &ConnectOptions, place: &Place) -> (Vec<Checked>, Option<Session>) {
    let error = match Session::connect(options).await {
        Ok(session) => {
            let seen = format!("\"{}\" gets into \"{}\"", place.user, place.database);
            return (vec![Checked::new(Check::Administrator, seen, Vec::new())], Some(session));
        }
        Err(error) => error,
    };
    let finding = remedy(error.diagnostic(), &error.refusal(), place);
    let checks = match &error {
        ConnectError::Tls { .. } | ConnectError::TlsFile(_) => {
            vec![Checked::failed(Check::Tls, finding), Checked::skipped(Check::Administrator, "TLS failed")]
        }
        ConnectError::Pooled { .. } => {
            vec![Checked::failed(Check::Protocol, finding), Checked::skipped(Check::Administrator, "protocol failed")]
        }
        ConnectError::Version { .. } => {
            vec![Checked::new(Check::Administrator, "gets in", Vec::new()), Checked::failed(Check::Server, finding)]
        }
        // Whoever was refused by the server has come through the handshake.
        _ => vec![Checked::new(Check::Tls, tls_seen(options, None), Vec::new()), Checked::failed(Check::Administrator, finding)],
    };
    (checks, None)
}

/// What there is to say about TLS that works.
pub(super) fn tls_seen(options: &ConnectOptions, version: Option<&str>) -> String {
    match (options.tls.mode(), version) {
        (SslMode::Disable, _) => "off, as it was asked for".to_owned(),
        (mode, Some(version)) => format!("{version}, {mode}"),
        (mode, None) => mode.to_string(),
    }
}

/// Lets every service in, as services do it: with the stored password, at their address.
pub(super) async fn services(patient: &Patient<'_>, connect: &ConnectOptions) -> Checked {
    let Some(credentials) = patient.credentials else {
        return Checked::skipped(Check::Logins, "the passwords cannot be read");
    };
    let address = &address(patient, connect);
    let (known, unknown): (Vec<&Service>, Vec<&Service>) =
        patient.services.iter().partition(|service| credentials.services.contains_key(&service.name));
    let tried = futures_util::stream::iter(known).map(async |service: &Service| {
        let Some(logins) = credentials.services.get(&service.name) else { return Vec::new() };
        // Under a rotation both slots work; the one that waits for its turn need not.
        let used = [Some(&logins.active), logins.migrator.as_ref()].into_iter().flatten();
        let database = &service.database;
        let mut findings = Vec::new();
        for login in used {
            findings.extend(enter(patient, address, login, database).await);
        }
        findings
    });
    let findings: Vec<Vec<Diagnostic>> = tried.buffered(patient.parallelism.max(1)).collect().await;
    let mut findings: Vec<Diagnostic> = findings.into_iter().flatten().collect();
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(|service| service.name.as_str()).collect();
        findings.push(
            Diagnostic::error(Code::CREDENTIAL_MISSING, format!("there is no login yet for {}", names.join(", ")))
                .detail("The credential store has no password for them.")
                .hint("Have them made:")
                .command("pgisle apply"),
        );
    }
    let seen = match (patient.services.len(), findings.len()) {
        (0, _) => "the file has no service".to_owned(),
        (all, 0) => format!("{all} of {all} services get in"),
        (_, wrong) => format!("{wrong} wrong"),
    };
    Checked::new(Check::Logins, seen, findings)
}

/// Lets monitoring in.
pub(super) async fn monitoring(patient: &Patient<'_>, connect: &ConnectOptions) -> Checked {
    let settings = &patient.spec.settings;
    if !settings.create_monitoring_user {
        return Checked::skipped(Check::Monitoring, "create_monitoring_user is false");
    }
    let Some(credentials) = patient.credentials else {
        return Checked::skipped(Check::Monitoring, "the passwords cannot be read");
    };
    let Some(login) = &credentials.monitoring else {
        let finding = Diagnostic::error(Code::CREDENTIAL_MISSING, "monitoring has no login yet");
        let finding = finding.detail("Its password is not in the credential store.").hint("Have it made:").command("pgisle apply");
        return Checked::failed(Check::Monitoring, finding);
    };
    match enter(patient, &address(patient, connect), login, &settings.maintenance_database).await {
        None => Checked::new(Check::Monitoring, format!("\"{}\" gets in", login.role), Vec::new()),
        Some(finding) => Checked::new(Check::Monitoring, "refused", vec![finding]),
    }
}

fn address(patient: &Patient<'_>, connect: &ConnectOptions) -> ConnectOptions {
    service_address(connect, &patient.spec.settings)
}

async fn enter(patient: &Patient<'_>, address: &ConnectOptions, login: &Credential, database: &DatabaseName) -> Option<Diagnostic> {
    let options = address.as_login(&login.role, login.secret.clone()).to_database(database);
    match Session::connect(&options).await {
        Ok(session) => {
            session.close().await;
            None
        }
        Err(error) => Some(refused(patient, &options, &error).await),
    }
}

/// What pgisle has made, it can put right; the rest is the server's.
async fn refused(patient: &Patient<'_>, options: &ConnectOptions, error: &ConnectError) -> Diagnostic {
    let summary = format!("\"{}\" does not get into \"{}\"", options.user, options.database);
    let found = error.diagnostic();
    let refusal = error.refusal();
    let finding = Diagnostic { code: Code::DOCTOR_LOGIN, summary, ..found };
    let place = place_of(options, patient.is_dev).await;
    match refusal {
        Refusal::WrongPassword => finding
            .hint("The server has another password than the credential store. Give it the stored one again:")
            .command("pgisle apply"),
        Refusal::MayNotLogIn | Refusal::NoRole | Refusal::NoDatabase | Refusal::Closed => {
            finding.hint("Someone has changed what pgisle made. Put it right:").command("pgisle apply")
        }
        Refusal::RoleFull | Refusal::DatabaseFull => {
            let finding = finding.hint("Its limit is reached: see \"connections\". Raise connection_limit or database_connection_limit of the service, or make its pools smaller, and:");
            finding.command("pgisle apply")
        }
        Refusal::Other if error.sqlstate() == Some("42501") => {
            finding.hint("Someone has taken a right away that pgisle gave. Put it right:").command("pgisle apply")
        }
        other => remedy(finding, &other, &place),
    }
}
