//! The administrator's part: reading what is deep inside of the islands, and the canaries.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use pgisle_core::credential::Slot;
use pgisle_core::inventory::{AclItem, Grantee, Readable};
use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::spec::Service;
use pgisle_core::sql::Statement;
use pgisle_core::verify::{
    DefinerFunction, ForeignServer, Interior, ObjectGrants, ObjectPlace, SystemGrant, SystemObject, Unproved, find_canary,
    plant_canary, remove_canary,
};
use serde::Deserialize;
use tokio_postgres::types::Type;

use super::Run;
use crate::postgres::Session;
use crate::postgres::connect::describe;

/// What stands ready before anything is tried.
pub(super) struct Prepared {
    pub(super) interiors: BTreeMap<DatabaseName, Readable<Interior>>,
    /// The databases with a canary.
    pub(super) canaries: BTreeSet<DatabaseName>,
    pub(super) unproved: Vec<Unproved>,
}

/// What came of one database.
enum Planted {
    Yes,
    No,
    Failed(String),
}

/// Reads the interiors, removes what a killed run left, and plants canaries where they are wanted.
pub(super) async fn prepare(run: &Run<'_>) -> Prepared {
    let inventory = run.inventory;
    let open = run.request.spec.services.values().filter(|service| {
        inventory.databases.get(&service.database).is_some_and(|database| database.allow_connections && !database.is_invalid())
    });
    let mut looks = std::pin::pin!(
        futures_util::stream::iter(open)
            .map(async |service| {
                let found = Box::pin(prepare_one(run, service)).await;
                (run.advance)();
                (service.database.clone(), found)
            })
            .buffer_unordered(run.parallelism())
    );
    let mut prepared = Prepared { interiors: BTreeMap::new(), canaries: BTreeSet::new(), unproved: Vec::new() };
    while let Some((database, (interior, planted))) = looks.next().await {
        match planted {
            Planted::Yes => drop(prepared.canaries.insert(database.clone())),
            Planted::No => {}
            Planted::Failed(because) => {
                prepared.unproved.push(Unproved { what: format!("canary in database \"{database}\""), because });
            }
        }
        prepared.interiors.insert(database, interior);
    }
    prepared
}

async fn prepare_one(run: &Run<'_>, service: &Service) -> (Readable<Interior>, Planted) {
    let options = run.request.connect.to_database(&service.database).for_purpose("verify");
    let session = match Session::connect(&options).await {
        Ok(session) => session,
        Err(error) => return (Readable::Hidden(error.words()), Planted::No),
    };
    let interior = interior(run, service, &session).await;
    let planted = plant(run, service, &session).await;
    session.close().await;
    (interior, planted)
}

async fn plant(run: &Run<'_>, service: &Service, session: &Session) -> Planted {
    let found = match session.answer(&find_canary()).await {
        Ok(found) => found.as_deref() == Some("t"),
        Err(error) => return Planted::Failed(describe(&error)),
    };
    if found && let Err(error) = transact(session, remove_canary(service)).await {
        return Planted::Failed(describe(&error));
    }
    if !(run.request.options.canary && run.request.options.dynamic) {
        return Planted::No;
    }
    match transact(session, plant_canary(service, "canary")).await {
        Ok(()) => Planted::Yes,
        Err(error) => Planted::Failed(describe(&error)),
    }
}

async fn transact(session: &Session, statements: Vec<Statement>) -> Result<(), tokio_postgres::Error> {
    for statement in &statements {
        if let Err(error) = session.answer(statement).await {
            // The error that counts is the first one; a transaction that cannot be ended ends with the session.
            let _ = session.batch("ROLLBACK").await;
            return Err(error);
        }
    }
    Ok(())
}

/// Removes the canaries, and says which could not be.
pub(super) async fn remove_canaries(run: &Run<'_>, canaries: &BTreeSet<DatabaseName>) -> Vec<Unproved> {
    let planted = run.request.spec.services.values().filter(|service| canaries.contains(&service.database));
    let mut removals = std::pin::pin!(
        futures_util::stream::iter(planted)
            .map(async |service| {
                let result = Box::pin(remove_one(run, service)).await;
                (run.advance)();
                (service, result)
            })
            .buffer_unordered(run.parallelism())
    );
    let mut left = Vec::new();
    while let Some((service, result)) = removals.next().await {
        if let Err(because) = result {
            let what = format!("canary in database \"{}\" is left behind; the next run removes it", service.database);
            left.push(Unproved { what, because });
        }
    }
    left
}

async fn remove_one(run: &Run<'_>, service: &Service) -> Result<(), String> {
    let options = run.request.connect.to_database(&service.database).for_purpose("verify");
    let session = Session::connect(&options).await.map_err(|error| error.words())?;
    let removed = transact(&session, remove_canary(service)).await.map_err(|error| describe(&error));
    session.close().await;
    removed
}

/// One ACL item: grantee (none for PUBLIC), grantor, privilege, grantable.
type ItemDocument = (Option<String>, String, String, bool);

/// Grantee, privileges, how many objects, one of them, of which kind, and where.
type GrantDocument = (Option<String>, Vec<String>, u64, String, String, String);

#[derive(Deserialize)]
struct InteriorDocument {
    grants: Vec<GrantDocument>,
    system_grants: Vec<(Option<String>, Vec<String>, String, String)>,
    definer_functions: Vec<FunctionDocument>,
    foreign_servers: Vec<ServerDocument>,
}

#[derive(Deserialize)]
struct FunctionDocument {
    signature: String,
    owner: String,
    acl: Vec<ItemDocument>,
}

#[derive(Deserialize)]
struct ServerDocument {
    name: String,
    wrapper: String,
    database: Option<String>,
    host: Option<String>,
    acl: Vec<ItemDocument>,
    mappings: Vec<Option<String>>,
}

async fn interior(run: &Run<'_>, service: &Service, session: &Session) -> Readable<Interior> {
    let settings = &run.request.spec.settings;
    let own = [service.owner(), service.application(), service.login(Slot::A), service.login(Slot::B), service.migrator()];
    let above = [run.inventory.admin.role.clone(), settings.postgres_username.clone()];
    let names = |roles: &[RoleName]| -> Vec<String> { roles.iter().map(|role| role.as_str().to_owned()).collect() };
    let above = [&names(&above)[..], &names(&settings.trusted_roles)].concat();
    let of_no_interest = [&names(&own)[..], &above].concat();
    let monitoring = settings.create_monitoring_user.then(|| settings.monitoring_user().as_str().to_owned());
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&of_no_interest, Type::TEXT_ARRAY), (&monitoring, Type::TEXT), (&above, Type::TEXT_ARRAY)];
    match session.query_typed_text(include_str!("interior.sql"), &parameters).await {
        Ok(text) => match serde_json::from_str::<InteriorDocument>(&text) {
            Ok(document) => Readable::Known(document.into_interior()),
            Err(error) => Readable::Hidden(format!("the server's answer cannot be understood: {error}")),
        },
        Err(error) => Readable::Hidden(describe(&error)),
    }
}

fn grantee(name: Option<String>) -> Grantee {
    name.map_or(Grantee::Public, |name| Grantee::Role(RoleName::observed(name)))
}

fn items(documents: Vec<ItemDocument>) -> BTreeSet<AclItem> {
    let item = |(to, grantor, privilege, grantable)| AclItem {
        grantee: grantee(to),
        grantor: RoleName::observed(grantor),
        privilege,
        grantable,
    };
    documents.into_iter().map(item).collect()
}

impl InteriorDocument {
    fn into_interior(self) -> Interior {
        let Self { grants, system_grants, definer_functions, foreign_servers } = self;
        let grants = grants.into_iter().filter_map(|(to, privileges, count, example, kind, place)| {
            let place = match kind.as_str() {
                "tables" => ObjectPlace::Tables { schema: place },
                "sequences" => ObjectPlace::Sequences { schema: place },
                _ => ObjectPlace::LargeObject { oid: place.parse().ok()? },
            };
            Some(ObjectGrants { grantee: grantee(to), privileges, count, example, place })
        });
        let system = system_grants.into_iter().map(|(to, privileges, kind, name)| {
            let on = match kind.as_str() {
                "catalog" => SystemObject::Catalog { name },
                "routine" => SystemObject::Routine { signature: name },
                _ => SystemObject::Parameter { name },
            };
            SystemGrant { grantee: grantee(to), privileges, on }
        });
        let functions = definer_functions.into_iter().map(|FunctionDocument { signature, owner, acl }| DefinerFunction {
            signature,
            owner: RoleName::observed(owner),
            acl: items(acl),
        });
        let servers = foreign_servers.into_iter().map(|ServerDocument { name, wrapper, database, host, acl, mappings }| {
            let mappings = mappings.into_iter().map(grantee).collect();
            ForeignServer { name, wrapper, database, host, acl: items(acl), mappings }
        });
        Interior {
            grants: grants.collect(),
            system_grants: system.collect(),
            definer_functions: functions.collect(),
            foreign_servers: servers.collect(),
        }
    }
}
