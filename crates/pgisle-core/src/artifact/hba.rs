//! Lines for the server's `pg_hba.conf`: the second fence. A login of a service reaches its own database and is rejected for
//! every other, whatever anyone may grant.

use std::fmt::Write as _;

use crate::artifact::escape::double_quoted;
use crate::artifact::{Artifact, Endpoint, header};
use crate::credential::Slot;
use crate::diagnostic::{Code, Diagnostic};
use crate::name::RoleName;
use crate::spec::{Access, Service, Spec};

/// The file's path.
pub(crate) const PATH: &str = "pg_hba.conf.fragment";

const USAGE: &str = "\
#
# The first line that matches wins, so these must stand before all other lines of pg_hba.conf.
# PostgreSQL 16 and later: put this at its top, with the path where you keep the file on the server:
#
#   include pg_hba.conf.fragment
#
# PostgreSQL 15: paste the lines there. Then, as an administrator: SELECT pg_reload_conf();
# and look for mistakes: SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL;
#
# Both login slots of each service are listed, so a rotation needs no change here.
#
# TYPE   DATABASE   USER   ADDRESS   METHOD
";

pub(crate) fn artifact(spec: &Spec, endpoint: &Endpoint) -> Artifact {
    let mut text = header(spec, "#") + USAGE;
    let host = if endpoint.is_encrypted() { "hostssl" } else { "host" };
    for service in spec.services.values() {
        let _ = writeln!(text, "\n# {}", service.name);
        write_login(&mut text, host, &double_quoted(service.database.as_str()), &logins(service));
    }
    let settings = &spec.settings;
    if settings.create_monitoring_user {
        text.push_str("\n# Monitoring: every service's database, and the one where the cluster's statistics are read.\n");
        let databases = spec.services.values().map(|service| &service.database).chain([&settings.maintenance_database]);
        let databases: Vec<_> = databases.map(|database| double_quoted(database.as_str())).collect();
        write_login(&mut text, host, &databases.join(","), &[settings.monitoring_user()]);
    }
    Artifact::open(PATH, text)
}

fn logins(service: &Service) -> Vec<RoleName> {
    let mut logins = vec![service.login(Slot::A), service.login(Slot::B)];
    if service.access == Access::Split {
        logins.push(service.migrator());
    }
    logins
}

fn write_login(text: &mut String, host: &str, databases: &str, logins: &[RoleName]) {
    let logins: Vec<_> = logins.iter().map(|login| double_quoted(login.as_str())).collect();
    let logins = logins.join(",");
    let _ = writeln!(text, "local    {databases}  {logins}  scram-sha-256");
    let _ = writeln!(text, "{host:8} {databases}  {logins}  all  scram-sha-256");
    let _ = writeln!(text, "local    all  {logins}  reject");
    let _ = writeln!(text, "host     all  {logins}  all  reject");
}

/// Names that PostgreSQL 16 and later would take for a regular expression, even in quotes.
pub(crate) fn problems(spec: &Spec) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for service in spec.services.values() {
        for (kind, name) in [("database", service.database.as_str()), ("role", service.user.as_str())] {
            if name.starts_with('/') {
                diagnostics.push(
                    Diagnostic::error(Code::SPEC_NAME, format!("{kind} \"{name}\" begins with a slash"))
                        .at(service.place.clone())
                        .about(format!("service \"{}\"", service.name))
                        .detail("In pg_hba.conf a name that begins with a slash is a regular expression and matches others, too.")
                        .hint("Give it a name that begins with a letter."),
                );
            }
        }
    }
    diagnostics
}
