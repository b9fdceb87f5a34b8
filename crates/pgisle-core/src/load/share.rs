//! How many clients each service gets: as many as it will have, never so many that somebody else is refused.

use serde::Serialize;

use crate::budget;
use crate::diagnostic::{Code, Diagnostic};
use crate::name::ServiceName;
use crate::spec::{PoolMode, Service, Spec};

/// What one process may hold open beside the files it needs: a usual limit is 1024.
pub const CLIENTS_MAX: u32 = 900;

/// The least that is left to others.
const RESERVE_MIN: u32 = 5;

/// The part of the server that is left to others: one in so many.
const RESERVE_PART: u32 = 10;

/// What the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Its connections, without those that are reserved.
    pub usable: u32,
    /// How many of them are taken, by whomever.
    pub taken: u32,
}

impl Room {
    /// What a load leaves free, whatever is asked of it.
    #[must_use]
    pub fn reserve(self) -> u32 {
        (self.usable / RESERVE_PART).max(RESERVE_MIN)
    }

    /// What a load may take.
    #[must_use]
    pub fn left(self) -> u32 {
        self.usable.saturating_sub(self.taken).saturating_sub(self.reserve())
    }

    /// Whether so many taken connections are so many that a load must give way: half of what it was to leave is gone.
    #[must_use]
    pub fn is_short(self, taken: u32) -> bool {
        self.usable.saturating_sub(taken) < self.reserve() / 2
    }
}

/// What bounds the clients besides the spec.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    /// What the server has.
    pub room: Room,
    /// How many sessions a service's login has already.
    pub sessions: &'a dyn Fn(&Service) -> u32,
    /// The clients that the PgBouncer takes that the load comes through, if it comes through one that is not ours.
    pub pooler_clients: Option<u32>,
    /// Whether the load comes through PgBouncer at all.
    pub is_pooled: bool,
}

/// One service's clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The service.
    pub service: ServiceName,
    /// How many clients.
    pub clients: u32,
}

/// A bound, and whose it is.
struct Bound {
    clients: u32,
    what: String,
    hint: &'static str,
}

/// Gives each service its clients: `wanted`, or as many as its instances' pools hold, or as many as there is room for.
///
/// # Errors
/// What does not fit: more than there is room for was asked for, or there is no room at all.
pub fn shares(spec: &Spec, wanted: Option<u32>, bounds: &Bounds<'_>) -> Result<Vec<Share>, Diagnostic> {
    let count = u32::try_from(spec.services.len()).unwrap_or(u32::MAX).max(1);
    let usual = |service: &Service| wanted.unwrap_or_else(|| service.instances.saturating_mul(service.pool_size)).max(1);
    let total: u64 = spec.services.values().map(|service| u64::from(usual(service))).sum();
    let mut shares = Vec::new();
    for service in spec.services.values() {
        let clients = usual(service);
        // What all have together is divided as the wishes are.
        let part = |of: u32| {
            if wanted.is_some() {
                return of / count;
            }
            u32::try_from(u64::from(of) * u64::from(clients) / total.max(1)).unwrap_or(of).max(of.min(1))
        };
        let bound = tightest(spec, service, bounds, part);
        if bound.clients == 0 || (wanted.is_some() && clients > bound.clients) {
            return Err(refusal(service, clients, count, &bound, bounds.room));
        }
        shares.push(Share { service: service.name.clone(), clients: clients.min(bound.clients) });
    }
    let clients = shares.iter().fold(0_u32, |sum, share| sum.saturating_add(share.clients));
    // A client each is more than there is room for: only then does rounding up matter.
    if clients > bounds.room.left() {
        let bound = server_bound(bounds.room.left() / count, bounds.room);
        return spec.services.values().next().map_or(Ok(shares), |first| Err(refusal(first, 1, count, &bound, bounds.room)));
    }
    Ok(shares)
}

fn server_bound(clients: u32, room: Room) -> Bound {
    Bound {
        clients,
        what: format!(
            "the server has {} connections for services, {} of them are taken, and {} are left to others",
            room.usable,
            room.taken,
            room.reserve()
        ),
        hint: "Ask for fewer clients, or raise max_connections on a cluster that you measure on.",
    }
}

/// What lets the fewest clients of a service in.
fn tightest(spec: &Spec, service: &Service, bounds: &Bounds<'_>, part: impl Fn(u32) -> u32) -> Bound {
    let settings = &spec.settings;
    let sessions = (bounds.sessions)(service);
    let mut all = vec![
        server_bound(part(bounds.room.left()), bounds.room),
        Bound {
            clients: part(CLIENTS_MAX),
            what: format!("a load has {CLIENTS_MAX} clients at most"),
            hint: "Ask for fewer clients of each service.",
        },
        Bound {
            clients: service.connection_limit.0.saturating_sub(sessions),
            what: format!("login \"{}\" may hold {} connections and holds {sessions}", service.user, service.connection_limit),
            hint: "Ask for fewer clients, or raise connection_limit.",
        },
        Bound {
            clients: service.database_connection_limit.0.saturating_sub(sessions),
            what: format!(
                "database \"{}\" takes {} connections and has {sessions}",
                service.database, service.database_connection_limit
            ),
            hint: "Ask for fewer clients, or raise database_connection_limit.",
        },
    ];
    if let Some(clients) = bounds.pooler_clients {
        all.push(Bound {
            clients: part(clients),
            what: format!("PgBouncer takes {clients} clients of all services together"),
            hint: "Ask for fewer clients, or raise pgbouncer_max_client_conn.",
        });
    }
    if bounds.is_pooled && settings.pgbouncer_pool_mode == PoolMode::Session {
        all.push(Bound {
            clients: budget::pool(settings, service).size,
            what: "in pool mode session every client keeps a server connection, and all others wait until it leaves".to_owned(),
            hint: "Ask for fewer clients, or set pgbouncer_pool_mode = \"transaction\".",
        });
    }
    let first = all.remove(0);
    all.into_iter().fold(first, |least, bound| if bound.clients < least.clients { bound } else { least })
}

fn refusal(service: &Service, clients: u32, count: u32, bound: &Bound, room: Room) -> Diagnostic {
    let Bound { clients: most, what, hint } = bound;
    let number = if clients == 1 {
        "not even 1 client of each service fits".to_owned()
    } else {
        format!("{clients} clients of each service do not fit")
    };
    let finding = Diagnostic::error(Code::LOAD_REFUSED, format!("{number}: {what}"));
    let finding = finding.about(format!("service \"{}\"", service.name)).detail(format!(
        "Nothing was started. {count} services would want {} connections without pools, and a load leaves {} free on this server.",
        u64::from(clients) * u64::from(count),
        room.reserve()
    ));
    let finding = finding.hint(*hint);
    if *most > 0 { finding.command(format!("pgisle verify -load -clients={most}")) } else { finding }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::spec::{LayerKind, Sources, load};

    fn spec(extra: &str) -> Spec {
        let mut sources = Sources::new();
        let services = "service \"a\" {\n  instances = 3\n}\nservice \"b\" {}\n";
        sources.push(LayerKind::SpecFile, "pgisle.hcl", format!("pgbouncer_pool_mode = \"transaction\"\n{extra}\n{services}"));
        load(&sources).spec.unwrap()
    }

    fn clients(spec: &Spec, wanted: Option<u32>, usable: u32, taken: u32) -> Result<Vec<u32>, Diagnostic> {
        let none = |_: &Service| 0;
        let bounds = Bounds { room: Room { usable, taken }, sessions: &none, pooler_clients: Some(100), is_pooled: true };
        shares(spec, wanted, &bounds).map(|shares| shares.iter().map(|share| share.clients).collect())
    }

    #[test]
    fn a_load_takes_what_the_pools_hold_and_there_is_room_for() {
        let spec = spec("");
        assert_eq!(clients(&spec, None, 197, 7), Ok(vec![30, 10]));
        assert_eq!(clients(&spec, Some(40), 197, 7), Ok(vec![40, 40]));
        // A tenth is left to others: 60 less 6 and 34 is 20, in the proportion of the wishes.
        assert_eq!(clients(&spec, None, 60, 34), Ok(vec![15, 5]));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let refused = |spec: &Spec, wanted, usable, taken| clients(spec, wanted, usable, taken).unwrap_err();
        let of_server = refused(&spec(""), Some(40), 60, 34);
        assert_eq!((of_server.code, of_server.commands), (Code::LOAD_REFUSED, vec!["pgisle verify -load -clients=10".to_owned()]));
        let of_pooler = refused(&spec("user_connection_limit = 60"), Some(51), 500, 0);
        assert!(of_pooler.summary.contains("PgBouncer takes 100 clients"), "{of_pooler}");
        let of_login = refused(&spec("user_connection_limit = 20"), Some(21), 500, 0);
        assert!(of_login.summary.contains("may hold 20 connections"), "{of_login}");
        let mut in_session = spec("");
        in_session.settings.pgbouncer_pool_mode = PoolMode::Session;
        let of_mode = refused(&in_session, Some(31), 500, 0);
        assert!(of_mode.summary.contains("pool mode session"), "{of_mode}");
        // Not even one each.
        assert_eq!(refused(&spec(""), None, 10, 4).code, Code::LOAD_REFUSED);
    }

    #[test]
    fn the_last_connections_are_nobodys_to_take() {
        let room = Room { usable: 97, taken: 0 };
        assert_eq!((room.reserve(), room.left()), (9, 88));
        assert!(!room.is_short(93) && room.is_short(94));
        assert_eq!(Room { usable: 20, taken: 18 }.left(), 0);
    }
}
