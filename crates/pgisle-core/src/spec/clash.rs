//! Checks across settings and services: names that would meet, and numbers that do not fit each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::budget;
use crate::credential::Slot;
use crate::diagnostic::{Code, Diagnostic};
use crate::name::{NAME_BYTES_MAX, RoleName, ServiceName};

use super::model::{PoolMode, Service, Settings, SslMode};
use super::resolved::Resolved;
use super::service::Found;
use super::text::{At, Texts};

/// Checks everything that takes more than one value to see.
pub(super) fn check(
    texts: &Texts<'_>,
    settings: &Settings,
    resolved: &Resolved,
    services: &BTreeMap<ServiceName, Found>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let clash = Clash { texts, settings, resolved };
    clash.lengths(services, diagnostics);
    let mistaken = clash.databases(services, diagnostics);
    clash.roles(services, &mistaken, diagnostics);
    clash.file_names(services, diagnostics);
    clash.tables(services, diagnostics);
    clash.tls(diagnostics);
    for found in services.values() {
        clash.limits(found, diagnostics);
    }
    clash.clients(services, diagnostics);
}

struct Clash<'a> {
    texts: &'a Texts<'a>,
    settings: &'a Settings,
    resolved: &'a Resolved,
}

/// What a name is taken for.
struct Taken {
    what: String,
    at: At,
}

fn about(service: &Service) -> String {
    format!("service \"{}\"", service.name)
}

impl Clash<'_> {
    /// "Taken by …", with the place where there is one.
    fn taken_by(&self, taken: &Taken) -> String {
        match self.texts.place(taken.at) {
            Some(place) => format!("It is {}, at {place}.", taken.what),
            None => format!("It is {}.", taken.what),
        }
    }

    /// Names with their suffixes must fit whole: what PostgreSQL cuts could be another service's name.
    fn lengths(&self, services: &BTreeMap<ServiceName, Found>, diagnostics: &mut Vec<Diagnostic>) {
        for Found { service, at, resolved } in services.values() {
            let bases = [("database", service.database.as_str(), "_migrator"), ("user", service.user.as_str(), "_b")];
            for (setting, base, suffix) in bases {
                let bytes = base.len() + suffix.len();
                if bytes > NAME_BYTES_MAX {
                    let place = if resolved.is_given(setting) { resolved.at(setting) } else { *at };
                    diagnostics.push(
                        Diagnostic::error(
                            Code::SPEC_NAME,
                            format!("the {setting} name \"{base}\" leaves no room for \"{suffix}\""),
                        )
                        .at(self.texts.place(place))
                        .about(about(service))
                        .detail(format!("\"{base}{suffix}\" has {bytes} bytes, and PostgreSQL cuts names at {NAME_BYTES_MAX}."))
                        .hint(format!("Choose a shorter name, or set {setting}.")),
                    );
                }
            }
        }
    }

    /// Checks the databases' names, and gives the services whose name is mistaken.
    fn databases<'s>(
        &self,
        services: &'s BTreeMap<ServiceName, Found>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> BTreeSet<&'s ServiceName> {
        let mut mistaken = BTreeSet::new();
        let mut taken: BTreeMap<String, Taken> = BTreeMap::new();
        let setting = |name: &str, what: &str| Taken { what: what.to_owned(), at: self.resolved.at(name) };
        taken.insert(
            self.settings.maintenance_database.to_string(),
            setting("maintenance_database", "the database that pgisle connects to"),
        );
        taken.insert(self.settings.postgres_database.to_string(), setting("postgres_database", "the shared database"));
        for Found { service, at, resolved } in services.values() {
            let place = if resolved.is_given("database") { resolved.at("database") } else { *at };
            let name = service.database.as_str();
            if service.database.is_reserved() || name.starts_with("template") {
                diagnostics.push(self.reserved("database", name, place, service));
                mistaken.insert(&service.name);
                continue;
            }
            // `<database>_ro` is the alias for reading in PgBouncer.
            for name in [name.to_owned(), format!("{name}_ro")] {
                let own = Taken { what: format!("the database of service \"{}\"", service.name), at: place };
                if !self.claim("database", &mut taken, name, own, service, diagnostics) {
                    mistaken.insert(&service.name);
                    break;
                }
            }
        }
        mistaken
    }

    fn roles(&self, services: &BTreeMap<ServiceName, Found>, mistaken: &BTreeSet<&ServiceName>, diagnostics: &mut Vec<Diagnostic>) {
        let mut taken: BTreeMap<String, Taken> = BTreeMap::new();
        let setting = |name: &str, what: &str| Taken { what: what.to_owned(), at: self.resolved.at(name) };
        for role in &self.settings.trusted_roles {
            taken.insert(role.to_string(), setting("trusted_roles", "a trusted role"));
        }
        taken.insert(self.settings.monitoring_user().to_string(), setting("name_prefix", "the monitoring login"));
        taken.insert(self.settings.postgres_username.to_string(), setting("postgres_username", "the administrator"));
        taken.insert("pgbouncer".to_owned(), Taken { what: "PgBouncer's own user".to_owned(), at: At::BUILT_IN });
        taken.insert("postgres".to_owned(), Taken { what: "the server's own superuser".to_owned(), at: At::BUILT_IN });
        if self.settings.monitoring_user() == self.settings.postgres_username {
            diagnostics.push(
                Diagnostic::error(
                    Code::SPEC_CONFLICT,
                    format!("the administrator is \"{}\", the name of the monitoring login", self.settings.postgres_username),
                )
                .at(self.texts.place(self.resolved.at("postgres_username")))
                .hint("Choose another name_prefix."),
            );
        }
        for Found { service, at, resolved } in services.values() {
            let database_at = if resolved.is_given("database") { resolved.at("database") } else { *at };
            let user_at = if resolved.is_given("user") { resolved.at("user") } else { database_at };
            let roles: [(RoleName, &str, At); 4] = [
                (service.login(Slot::A), "the login", user_at),
                (service.login(Slot::B), "the second login", user_at),
                (service.owner(), "the owner role", database_at),
                (service.migrator(), "the migrator", database_at),
            ];
            // With names that are too long, the derived ones are not what they will be; that is reported already.
            let is_cut = service.database.as_str().len() + Service::SUFFIX_BYTES_MAX > NAME_BYTES_MAX
                || service.user.as_str().len() + "_b".len() > NAME_BYTES_MAX;
            // Roles that follow from a mistaken database would only repeat that.
            let own_user_only = mistaken.contains(&service.name);
            let is_checked = |place: &At| !is_cut && (!own_user_only || (resolved.is_given("user") && *place == user_at));
            for (role, what, place) in roles.into_iter().filter(|(_, _, place)| is_checked(place)) {
                if role.is_reserved() {
                    diagnostics.push(self.reserved("role", role.as_str(), place, service));
                    break;
                }
                let own = Taken { what: format!("{what} of service \"{}\"", service.name), at: place };
                self.claim("role", &mut taken, role.to_string(), own, service, diagnostics);
            }
        }
    }

    /// Takes a name, and says whether it was free.
    fn claim(
        &self,
        kind: &str,
        taken: &mut BTreeMap<String, Taken>,
        name: String,
        own: Taken,
        service: &Service,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> bool {
        let first = taken.get(&name);
        if let Some(first) = first {
            let setting = if kind == "database" { "database" } else { "user or database" };
            diagnostics.push(
                Diagnostic::error(Code::SPEC_DUPLICATE, format!("{kind} \"{name}\" would be two things at once"))
                    .at(self.texts.place(own.at))
                    .about(about(service))
                    .detail(format!("{} It would also be {}.", self.taken_by(first), own.what))
                    .hint(format!("Set another {setting} for the service.")),
            );
            return false;
        }
        taken.insert(name, own);
        true
    }

    fn reserved(&self, kind: &str, name: &str, at: At, service: &Service) -> Diagnostic {
        let detail = match kind {
            "database" => "The server or PgBouncer keeps this name for itself.",
            _ => "PostgreSQL keeps this name for itself.",
        };
        Diagnostic::error(Code::SPEC_NAME, format!("{kind} \"{name}\" is reserved"))
            .at(self.texts.place(at))
            .about(about(service))
            .detail(detail)
            .hint("Choose another name.")
    }

    /// Services become Kubernetes Secrets and environment files, in which `_` and `-` are one.
    fn file_names(&self, services: &BTreeMap<ServiceName, Found>, diagnostics: &mut Vec<Diagnostic>) {
        let mut taken: BTreeMap<String, &Found> = BTreeMap::new();
        for found in services.values() {
            let file_name = found.service.name.as_str().replace('_', "-");
            match taken.get(&file_name) {
                Some(first) => diagnostics.push(
                    Diagnostic::error(
                        Code::SPEC_DUPLICATE,
                        format!("services \"{}\" and \"{}\" differ only in - and _", first.service.name, found.service.name),
                    )
                    .at(self.texts.place(found.at))
                    .about(about(&found.service))
                    .detail(format!(
                        "Both would have the Secret \"{file_name}-db-credentials\". The other is at {}.",
                        first.service.place
                    )),
                ),
                None => {
                    taken.insert(file_name, found);
                }
            }
        }
    }

    fn tables(&self, services: &BTreeMap<ServiceName, Found>, diagnostics: &mut Vec<Diagnostic>) {
        let mut taken: BTreeMap<String, (&Service, At)> = BTreeMap::new();
        for Found { service, resolved, .. } in services.values() {
            for item in resolved.items("tables") {
                let table = if item.text.contains('.') { item.text.clone() } else { format!("public.{}", item.text) };
                match taken.get(&table) {
                    Some((owner, first)) => {
                        let first = self.texts.place(*first).map(|place| format!("The first is at {place}.")).unwrap_or_default();
                        let summary = if owner.name == service.name {
                            format!("table \"{}\" is listed twice", item.text)
                        } else {
                            format!(
                                "table \"{}\" is claimed by two services, \"{}\" and \"{}\"",
                                item.text, owner.name, service.name
                            )
                        };
                        diagnostics.push(
                            Diagnostic::error(Code::SPEC_DUPLICATE, summary)
                                .at(self.texts.place(item.at))
                                .about(about(service))
                                .detail(first)
                                .hint("A table moves to one database. Leave it with the service that writes it."),
                        );
                    }
                    None => {
                        taken.insert(table, (service, item.at));
                    }
                }
            }
        }
    }

    fn tls(&self, diagnostics: &mut Vec<Diagnostic>) {
        let settings = self.settings;
        if settings.enable_ssl && settings.postgres_sslmode == SslMode::Disable {
            diagnostics.push(
                Diagnostic::warning(Code::SPEC_CONFLICT, "enable_ssl is true and postgres_sslmode is \"disable\"")
                    .at(self.texts.place(self.resolved.at("postgres_sslmode")))
                    .detail("Nothing is encrypted: neither pgisle's own connection nor the services'.")
                    .hint("Set enable_ssl = false where that is meant, or postgres_sslmode = \"require\"."),
            );
        }
        for (given, missing) in [("postgres_sslcert", "postgres_sslkey"), ("postgres_sslkey", "postgres_sslcert")] {
            if self.resolved.text(given).is_some() && self.resolved.text(missing).is_none() {
                diagnostics.push(
                    Diagnostic::error(Code::SPEC_CONFLICT, format!("{given} is given without {missing}"))
                        .at(self.texts.place(self.resolved.at(given)))
                        .hint("A client certificate and its key belong together."),
                );
            }
        }
    }

    /// A pool that can never fill is an error; a limit that only many instances together reach is a warning.
    fn limits(&self, found: &Found, diagnostics: &mut Vec<Diagnostic>) {
        let Found { service, at, resolved } = found;
        let place_of = |own: &str, global: &str| {
            let place = [resolved.at(own), self.resolved.at(global), *at];
            self.texts.place(place.into_iter().find(|at| *at != At::BUILT_IN).unwrap_or(*at))
        };
        let pool = service.pool_size;
        let pool_place = || place_of("pool_size", "pgbouncer_default_pool_size");
        let limits = [("login", service.connection_limit.0), ("database", service.database_connection_limit.0)];
        for (whose, limit) in limits {
            if pool > limit {
                diagnostics.push(
                    Diagnostic::error(
                        Code::SPEC_CONFLICT,
                        format!("the pool of {pool} connections is larger than the {whose}'s limit of {limit}"),
                    )
                    .at(pool_place())
                    .about(about(service))
                    .hint("Make the pool smaller, or raise the limit."),
                );
                return;
            }
        }
        let (login, database) = (service.connection_limit.0, service.database_connection_limit.0);
        if login > database {
            diagnostics.push(
                Diagnostic::warning(
                    Code::SPEC_CONFLICT,
                    format!("the login may hold {login} connections, and its database takes {database}"),
                )
                .at(place_of("connection_limit", "user_connection_limit"))
                .about(about(service))
                .detail("The smaller number holds."),
            );
        }
        if let Some(diagnostic) = self.pools(service) {
            diagnostics.push(diagnostic.at(pool_place()).about(about(service)));
        }
    }

    /// All of a service's pools together against the limits of its login and its database.
    fn pools(&self, service: &Service) -> Option<Diagnostic> {
        let settings = self.settings;
        let (login, database) = (u64::from(service.connection_limit.0), u64::from(service.database_connection_limit.0));
        let warning = |text: String| Diagnostic::warning(Code::SPEC_CONFLICT, text);
        let raise = "Raise connection_limit and database_connection_limit, or make the pool smaller.";
        if !settings.enable_pgbouncer {
            let (demand, limit) = (budget::clients(service), login.min(database));
            return (demand > limit).then(|| {
                warning(format!("all instances together may open {demand} connections, and the limit is {limit}"))
                    .detail("Under full load some connections are refused.")
                    .hint(raise)
            });
        }
        let (wanted, cap) = (u64::from(budget::wanted(settings, service)), budget::cap(settings, service));
        if wanted > login {
            // PgBouncer's file never promises more than the server gives.
            let waits = match settings.pgbouncer_pool_mode {
                PoolMode::Session => " In session mode a client keeps its connection, so the others wait until one leaves.",
                PoolMode::Transaction | PoolMode::Statement => "",
            };
            return Some(
                warning(format!("PgBouncer's pool should hold {wanted} connections, and the login may hold {login}"))
                    .detail(format!("It is made no larger than the limit.{waits}"))
                    .hint(raise),
            );
        }
        let limit = login.min(database);
        (cap > limit).then(|| {
            warning(format!("PgBouncer, its reserve counted, may open {cap} connections, and the limit is {limit}"))
                .detail("Under full load some connections are refused.")
                .hint(raise)
        })
    }

    /// PgBouncer must take every client that the services can be.
    fn clients(&self, services: &BTreeMap<ServiceName, Found>, diagnostics: &mut Vec<Diagnostic>) {
        let settings = self.settings;
        let clients: u64 =
            services.values().map(|found| u64::from(found.service.instances) * u64::from(found.service.pool_size)).sum();
        let taken = u64::from(settings.pgbouncer_max_client_conn) * u64::from(settings.pgbouncer_instances);
        if settings.enable_pgbouncer && clients > taken {
            diagnostics.push(
                Diagnostic::warning(
                    Code::SPEC_CONFLICT,
                    format!("the services' pools have {clients} clients, and PgBouncer takes {taken}"),
                )
                .at(self.texts.place(self.resolved.at("pgbouncer_max_client_conn")))
                .hint(format!(
                    "Set pgbouncer_max_client_conn = {}.",
                    clients.div_ceil(u64::from(settings.pgbouncer_instances.max(1)))
                )),
            );
        }
    }
}
