//! What commands that watch the cluster begin with.

use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_engine::pooler::PoolerConsole;
use pgisle_engine::watch::Place;

use crate::args::address::Address;
use crate::project::Project;

/// Where to look, and as whom: as the monitoring login, which reads statistics and no settings of anybody's.
pub(crate) fn place(project: &mut Project, poolers: &[Address]) -> Result<Place, Vec<Diagnostic>> {
    let connect = project.connect_options()?.for_purpose("watch");
    let credentials = project.store()?.load().map_err(|error| vec![error.diagnostic()])?;
    let settings = &project.spec.settings;
    let Some(login) = credentials.monitoring.as_ref().filter(|_| settings.create_monitoring_user) else {
        return Err(vec![
            Diagnostic::error(Code::WATCH_LOGIN, "there is no monitoring login to watch with")
                .detail("It is made by `pgisle apply`, with create_monitoring_user = true.")
                .hint("Have it made:")
                .command("pgisle apply"),
        ]);
    };
    let server = connect.to_database(&settings.maintenance_database).as_login(&login.role, login.secret.clone());
    let consoles = project.pooler_consoles(&credentials, poolers).into_iter();
    // The same login is in stats_users: it looks, and cannot pause anybody.
    let consoles =
        consoles.map(|console| PoolerConsole { user: login.role.to_string(), password: login.secret.clone(), ..console });
    Ok(Place {
        spec: project.spec.clone(),
        credentials: credentials.without_secrets(),
        server,
        poolers: consoles.collect(),
        backups: project.backups()?,
    })
}

/// How often it is looked: whole seconds, and one at least.
pub(crate) fn every(text: &str) -> Result<Duration, String> {
    let every = pgisle_core::duration::parse(text)?;
    if every.as_secs() == 0 || every.subsec_nanos() > 0 {
        return Err("it is a whole number of seconds, 1s at least".to_owned());
    }
    Ok(every)
}
