//! What the monitoring login tries: it goes everywhere, reads, and must not write.

use std::collections::BTreeSet;

use pgisle_core::name::DatabaseName;
use pgisle_core::spec::MonitoringAccess;
use pgisle_core::verify::{LoginKind, Observed, Unproved, monitoring_reads_canary, monitoring_trials, victims};

use super::Run;
use super::login::Login;
use super::rehearsal;

/// Tries what the monitoring login should be able to do, and what it should not.
pub(super) async fn observe(run: &Run<'_>, canaries: &BTreeSet<DatabaseName>) -> Observed {
    let mut observed = Observed::default();
    let spec = run.request.spec;
    if !spec.settings.create_monitoring_user {
        return observed;
    }
    let Some(credential) = &run.request.credentials.monitoring else {
        observed.unproved.push(Unproved {
            what: "monitoring login".to_owned(),
            because: "Its password is not in the credential store, so it could not log in.".to_owned(),
        });
        return observed;
    };
    let login = Login { service: None, credential, kind: LoginKind::Monitoring };
    let databases = run.all_databases();
    for service in spec.services.values().filter(|service| databases.contains(&service.database)) {
        let (attempt, session) = login.enter(run.request.services, &service.database, true).await;
        observed.attempts.push(attempt);
        let Some(session) = session else { continue };
        // Becoming others is the same everywhere, so each island's roles are tried in that island alone.
        let victims = victims(spec, run.inventory, None, std::slice::from_ref(&service.database));
        let has_canary = canaries.contains(&service.database);
        let mut trials = monitoring_trials(&victims, has_canary);
        if has_canary && spec.settings.monitoring_access == MonitoringAccess::Data {
            trials.push(monitoring_reads_canary());
        }
        observed.probes.extend(rehearsal::run(&session, &login.who(), &service.database, &trials).await);
        session.close().await;
    }
    observed
}
