//! What the trials have shown, put to what the catalogs say: one cause is one finding, with all that was seen of it.

use crate::diagnostic::{Code, Severity};
use crate::name::RoleName;

use super::cast::{Cast, Standing};
use super::fix::Fix;
use super::leak::{Evidence, Leak, PathStep, Who};
use super::report::{Attempt, Entry, Probe};
use super::trial::{ActAs, Outcome, Reach};

/// A leak that was seen, and what was seen.
pub(super) struct Finding {
    leak: Leak,
    seen: String,
}

/// What a login to a database where it has no business shows, or a refusal at home.
pub(super) fn of_attempt(cast: &Cast<'_>, attempt: &Attempt) -> Option<Finding> {
    let Attempt { service, login, database, entry, .. } = attempt;
    let standing = cast.standing(database);
    let is_home = match (&standing, service) {
        (Standing::Island(island), Some(service)) => island.name == *service,
        (Standing::Island(_), None) => true,
        _ => false,
    };
    let seen = format!("logged in to {database}");
    let (code, severity, what, hint) = match (entry, is_home) {
        (Entry::Denied(because), true) => {
            let hint = "`pgisle apply` sets passwords, privileges and limits as the spec wants them.";
            (Code::LEAK_LOGIN, Severity::Error, PathStep::Fact { what: format!("the server refused: {because}") }, hint)
        }
        (Entry::Entered, false) if service.is_some() => {
            let severity = match standing {
                Standing::Island(_) | Standing::Restored(_) => Severity::Error,
                Standing::Maintenance if cast.spec.settings.fence_maintenance_databases => Severity::Error,
                Standing::Shared | Standing::Maintenance | Standing::Other => Severity::Warning,
            };
            let hint = "Find who grants CONNECT: the catalogs that pgisle could read do not tell.";
            (Code::LEAK_CONNECT, severity, PathStep::Did { what: seen.clone() }, hint)
        }
        _ => return None,
    };
    let from = match service {
        Some(service) => Who::Service { service: service.clone(), login: login.clone() },
        None => Who::Monitoring { login: login.clone() },
    };
    let path = vec![PathStep::Role { role: login.clone() }, what];
    Some(Finding { leak: leak((code, severity), from, Some(database), path, Fix::new(hint)), seen })
}

/// The server asks for no password, so every service can log in as every other one. When that is so for all of them it is one
/// finding.
pub(super) fn of_open_logins(open: &[RoleName], attempts: &[Attempt]) -> Vec<Finding> {
    let at_home = |login: &RoleName| attempts.iter().find(|attempt| attempt.login == *login);
    let is_all = attempts.iter().filter(|attempt| attempt.service.is_some()).all(|attempt| {
        let of_service = |login: &RoleName| at_home(login).is_some_and(|open| open.service == attempt.service);
        open.iter().any(of_service)
    });
    open.iter()
        .map(|login| {
            let seen = format!("logged in as {login} with a wrong password");
            let path = vec![PathStep::Everyone, PathStep::Did { what: seen.clone() }];
            let to = at_home(login).map(|attempt| &attempt.database).filter(|_| !is_all);
            let fix = Fix::new("pg_hba.conf trusts this address. Have it ask for a password: scram-sha-256.");
            Finding { leak: leak((Code::LEAK_ROLE, Severity::Error), Who::Everyone, to, path, fix), seen }
        })
        .collect()
}

/// What a trial that went wrong shows.
pub(super) fn of_probe(probe: &Probe) -> Option<Finding> {
    let Outcome::Failed(because) = &probe.outcome else { return None };
    let Probe { who, database, title, code, reaches, act_as, .. } = probe;
    let login = match who {
        Who::Service { login, .. } | Who::Monitoring { login } => login.clone(),
        Who::Outsider { role } => role.clone(),
        Who::Everyone => return None,
    };
    let acting = if *act_as == ActAs::Login { " as itself" } else { "" };
    let seen = format!("could {title}{acting} in {database}");
    let (step, hint) = if *code == Code::VERIFY_BROKEN {
        let what = format!("should {title} in {database}: {because}");
        (PathStep::Fact { what }, "`pgisle plan` shows what differs from the spec, and `pgisle apply` mends it.")
    } else {
        let hint = "Find the grant or membership behind it: the catalogs that pgisle could read do not tell.";
        (PathStep::Did { what: seen.clone() }, hint)
    };
    let to = match reaches {
        Reach::Here => Some(database),
        Reach::Database(database) => Some(database),
        Reach::Cluster => None,
    };
    let path = vec![PathStep::Role { role: login }, step];
    Some(Finding { leak: leak((*code, Severity::Error), who.clone(), to, path, Fix::new(hint)), seen })
}

fn leak(
    (code, severity): (Code, Severity),
    from: Who,
    to: Option<&crate::name::DatabaseName>,
    path: Vec<PathStep>,
    fix: Fix,
) -> Leak {
    let Fix { hint, commands } = fix;
    Leak { code, severity, evidence: Evidence::Probe, from, to: to.cloned(), path, seen: Vec::new(), hint, commands }
}

impl Finding {
    /// Adds what was seen to the leak that explains it, or else as a leak of its own.
    pub(super) fn merge_into(self, leaks: &mut Vec<Leak>) {
        let Self { leak: found, seen } = self;
        let same = |leak: &Leak| leak.code == found.code && leak.to == found.to;
        let explaining = |leak: &&mut Leak| explains(leak, &found);
        let mut known: Vec<&mut Leak> = leaks.iter_mut().filter(explaining).collect();
        // Of several, the one that says the same is told of it.
        let place = known.iter().position(|leak| same(leak)).unwrap_or_default();
        let Some(leak) = known.get_mut(place) else { return leaks.push(found) };
        let seen =
            if leak.from == Who::Everyone && found.from != Who::Everyone { format!("{} {seen}", name(&found.from)) } else { seen };
        if leak.evidence == Evidence::Catalog {
            leak.evidence = Evidence::Both;
        }
        // As the login or as its owner role is the same thing seen twice; so is what is in the path.
        let what = |text: &str| text.replace(" as itself", "");
        let in_path = |step: &PathStep| matches!(step, PathStep::Did { what: did } if what(did) == what(&seen));
        if !leak.seen.iter().any(|known| what(known) == what(&seen)) && !leak.path.iter().any(in_path) {
            leak.seen.push(seen);
        }
    }
}

fn name(who: &Who) -> String {
    match who {
        Who::Everyone => "everyone".to_owned(),
        Who::Service { service, .. } => service.to_string(),
        Who::Monitoring { login } => login.to_string(),
        Who::Outsider { role } => role.to_string(),
    }
}

/// True when one is why the other was seen.
fn explains(leak: &Leak, found: &Leak) -> bool {
    let same_party = match (leak.from.service(), found.from.service()) {
        (Some(one), Some(other)) => one == other,
        (None, None) => leak.from == found.from,
        _ => false,
    };
    let is_fault = |code| matches!(code, Code::VERIFY_BROKEN | Code::LEAK_LOGIN);
    if is_fault(leak.code) || is_fault(found.code) || leak.severity > found.severity || !(same_party || leak.from == Who::Everyone)
    {
        return false;
    }
    let is = |attribute| leak.path.contains(&PathStep::Attribute { attribute });
    let granted = |privilege| {
        leak.path.iter().any(|step| matches!(step, PathStep::Granted { privileges, .. } if privileges.contains(privilege)))
    };
    let here = leak.to == found.to;
    let alike = here && leak.code == found.code;
    let implied = match leak.code {
        _ if is("SUPERUSER") => true,
        // Who acts as one of an island's roles has the island.
        Code::LEAK_ROLE => here,
        Code::LEAK_CONNECT | Code::LEAK_CREATE => {
            here && found.code == Code::LEAK_CREATE && (granted("TEMPORARY") || granted("CREATE"))
        }
        Code::LEAK_OWNER => here && matches!(found.code, Code::LEAK_LIMIT | Code::LEAK_CONNECT | Code::LEAK_CREATE),
        Code::LEAK_PREDEFINED_ROLE => matches!(found.code, Code::LEAK_READ | Code::LEAK_SYSTEM | Code::LEAK_PREDEFINED_ROLE),
        Code::LEAK_ATTRIBUTE if is("CREATEROLE") => {
            matches!(
                found.code,
                Code::LEAK_ATTRIBUTE | Code::LEAK_LIMIT | Code::LEAK_OWNER | Code::LEAK_ROLE | Code::LEAK_PREDEFINED_ROLE
            )
        }
        // A probe's is of the cluster, a grant's of the database that it was found in.
        Code::LEAK_SYSTEM => found.code == Code::LEAK_SYSTEM,
        _ => false,
    };
    alike || implied
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::name::{DatabaseName, ServiceName};

    fn chat() -> Who {
        Who::Service { service: ServiceName::new("chat").unwrap(), login: RoleName::new("link_chat_user").unwrap() }
    }

    fn of(code: Code, from: Who, to: Option<&str>, step: PathStep) -> Leak {
        let to = to.map(|name| DatabaseName::new(name).unwrap());
        leak((code, Severity::Error), from, to.as_ref(), vec![step], Fix::new("Mend it."))
    }

    fn in_catalog(code: Code, from: Who, to: Option<&str>, step: PathStep) -> Leak {
        Leak { evidence: Evidence::Catalog, ..of(code, from, to, step) }
    }

    fn seen(code: Code, to: Option<&str>, what: &str) -> Finding {
        let step = PathStep::Did { what: what.to_owned() };
        Finding { leak: of(code, chat(), to, step), seen: what.to_owned() }
    }

    fn granted(privileges: &str) -> PathStep {
        PathStep::Granted { privileges: privileges.to_owned(), on: "database link_users".to_owned(), grantable: false }
    }

    #[test]
    fn what_a_leak_explains_is_part_of_it() {
        let mut leaks = vec![in_catalog(Code::LEAK_CONNECT, Who::Everyone, Some("link_users"), granted("CONNECT, TEMPORARY"))];
        seen(Code::LEAK_CONNECT, Some("link_users"), "logged in").merge_into(&mut leaks);
        seen(Code::LEAK_CREATE, Some("link_users"), "made a table").merge_into(&mut leaks);
        seen(Code::LEAK_CREATE, Some("link_users"), "made a table as itself").merge_into(&mut leaks);
        assert_eq!((leaks.len(), leaks[0].evidence), (1, Evidence::Both));
        assert_eq!(leaks[0].seen, ["chat logged in", "chat made a table"]);
    }

    #[test]
    fn what_it_does_not_explain_stands_alone() {
        let mut leaks = vec![in_catalog(Code::LEAK_CONNECT, Who::Everyone, Some("link_users"), granted("CONNECT"))];
        seen(Code::LEAK_CONNECT, Some("link_ai"), "logged in").merge_into(&mut leaks);
        seen(Code::LEAK_CREATE, Some("link_users"), "made a table").merge_into(&mut leaks);
        seen(Code::LEAK_READ, Some("link_users"), "read the canary").merge_into(&mut leaks);
        // Tried in two ways, it is still one.
        seen(Code::LEAK_READ, Some("link_users"), "read the canary as itself").merge_into(&mut leaks);
        assert_eq!((leaks.len(), leaks[0].evidence), (4, Evidence::Catalog));
        assert!(leaks.iter().all(|leak| leak.seen.is_empty()), "{leaks:#?}");
    }

    #[test]
    fn faults_are_never_explained_by_leaks() {
        let superuser = PathStep::Attribute { attribute: "SUPERUSER" };
        let mut leaks = vec![in_catalog(Code::LEAK_ATTRIBUTE, chat(), None, superuser)];
        seen(Code::VERIFY_BROKEN, Some("link_chat"), "no extension").merge_into(&mut leaks);
        seen(Code::LEAK_READ, Some("link_users"), "read the canary").merge_into(&mut leaks);
        assert_eq!(leaks.len(), 2);
        assert_eq!(leaks[0].seen, ["read the canary"]);
    }
}
