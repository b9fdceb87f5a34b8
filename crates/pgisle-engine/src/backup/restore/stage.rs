//! The new database and the login that fills it: made closed, marked, opened to nobody else, and taken away again.

use std::collections::{BTreeMap, BTreeSet};

use pgisle_core::backup::restore::{Leftover, Purpose, leftovers, loader_name, staging_name};
use pgisle_core::credential::{SCRAM_SALT_BYTES, Verifier};
use pgisle_core::inventory::{AvailableExtension, Grantee, Inventory};
use pgisle_core::marker::{Kind, Marker, RestoreMark};
use pgisle_core::name::{DatabaseName, ExtensionName, ParameterName, RoleName, SchemaName, ServiceName};
use pgisle_core::plan::{Action, DatabaseChange, DatabaseGrant, DbaStatement, MembershipOptions, SchemaGrant};
use pgisle_core::secret::Secret;
use pgisle_core::sql::Statement;
use pgisle_core::sql::restore::{GIVE_UP, create_extension, create_schema, hand_over};

use super::Site;
use super::error::RestoreError;
use crate::credential::system_random;
use crate::fault;
use crate::local::server::random_password;
use crate::postgres::{ConnectOptions, Session};

/// Beside those that load side by side, the login needs one session for all else and one to hand over what it owns, and a server
/// counts for a moment those that have just left.
const FURTHER_CONNECTIONS: u32 = 4;

/// The new database, and who fills it.
pub(crate) struct Stage {
    pub(crate) database: DatabaseName,
    pub(crate) loader: RoleName,
    password: Secret,
    pub(crate) mark: RestoreMark,
    purpose: Purpose,
}

impl Stage {
    /// How the login reaches the new database.
    pub(crate) fn connect(&self, site: &Site<'_>) -> ConnectOptions {
        let mut options = site.connect().to_database(&self.database).as_login(&self.loader, self.password.clone());
        // Building an index takes as long as it takes.
        options.statement_timeout_ms = 0;
        options
    }
}

/// Runs what actions say, in one transaction.
pub(crate) async fn transact(session: &mut Session, actions: &[Action]) -> Result<(), RestoreError> {
    let doing = |action: &Action| RestoreError::query(action.summary());
    session.batch("BEGIN").await.map_err(RestoreError::query("begin a transaction"))?;
    for action in actions {
        for statement in action.statements() {
            if let Err(error) = session.run(statement.expose()).await {
                // When even this fails the session is gone, and the failure at hand says more.
                let _ = session.batch("ROLLBACK").await;
                return Err(doing(action)(error));
            }
            fault::after(fault::Moment::Statement);
        }
    }
    session.batch("COMMIT").await.map_err(RestoreError::query("commit"))?;
    fault::after(fault::Moment::Statement);
    Ok(())
}

/// Runs statements one by one.
pub(crate) async fn run(session: &mut Session, doing: &str, statements: &[Statement]) -> Result<(), RestoreError> {
    for statement in statements {
        session.run(statement.expose()).await.map_err(RestoreError::query(doing))?;
        fault::after(fault::Moment::Statement);
    }
    Ok(())
}

/// Makes the login and the database, or takes up the one that waits for its extensions.
pub(crate) async fn make(
    site: &Site<'_>,
    session: &mut Session,
    inventory: &Inventory,
    purpose: Purpose,
    source: &str,
) -> Result<Stage, RestoreError> {
    let waiting = inventory.databases.iter().find_map(|(name, database)| {
        let marker = database.marker()?;
        let waits = marker.kind == purpose.kind() && marker.restore.is_some_and(|mark| mark.waiting);
        (waits && site.is_ours(name, inventory, source)).then(|| name.clone())
    });
    let is_new = waiting.is_none();
    let stage = login(site, session, inventory, purpose, source, waiting).await?;
    if is_new {
        let locale = inventory.databases.get(&site.service.database).map(|live| live.collate.clone());
        let create = Action::CreateDatabase { database: stage.database.clone(), locale };
        run(session, &create.summary(), &create.statements()).await?;
    }
    let marker = site.marker(purpose.kind(), &stage.database, stage.mark.clone());
    transact(session, &opening_actions(&stage.database, &site.service.owner(), &stage.loader, &marker)).await?;
    Ok(stage)
}

/// Makes the login, whose marker promises a database that somebody else is about to make.
pub(crate) async fn promise(
    site: &Site<'_>,
    session: &mut Session,
    inventory: &Inventory,
    purpose: Purpose,
    source: &str,
) -> Result<Stage, RestoreError> {
    login(site, session, inventory, purpose, source, None).await
}

/// Makes the login for a database, which has a name of its own where there is none yet.
async fn login(
    site: &Site<'_>,
    session: &mut Session,
    inventory: &Inventory,
    purpose: Purpose,
    source: &str,
    database: Option<DatabaseName>,
) -> Result<Stage, RestoreError> {
    let mut at = crate::clock::now();
    while inventory.databases.contains_key(&staging_name(&site.service.database, purpose, at)) {
        at = pgisle_core::moment::Moment::from_unix_s(at.unix_s() + 1);
    }
    let database = database.unwrap_or_else(|| staging_name(&site.service.database, purpose, at));
    let mark = RestoreMark { source: source.to_owned(), at, waiting: false, drill: purpose == Purpose::Drill };
    let marker = site.marker(purpose.kind(), &database, mark.clone());
    let password = random_password().map_err(|_| RestoreError::Random)?;
    let loader = loader_name(&site.service.owner(), purpose);
    transact(session, &loader_actions(site, inventory, &loader, &password, &marker)).await?;
    Ok(Stage { database, loader, password, mark, purpose })
}

/// Marks a database that was promised, takes PUBLIC's privileges away, and opens it to the administrator and nobody else.
pub(crate) async fn open_bare(site: &Site<'_>, session: &mut Session, stage: &Stage) -> Result<(), RestoreError> {
    let Stage { database, mark, purpose, .. } = stage;
    let nothing = DatabaseGrant { grantees: vec![Grantee::Public], privileges: None, grant_option_only: false };
    let actions = [
        Action::FenceDatabase { database: database.clone(), revoke: vec![nothing], grant: Vec::new() },
        Action::MarkDatabase { database: database.clone(), marker: site.marker(purpose.kind(), database, mark.clone()) },
        Action::AlterDatabase { database: database.clone(), changes: vec![DatabaseChange::AllowConnections(true)] },
    ];
    transact(session, &actions).await
}

/// Takes up a database that an earlier run filled: its login gets another password, the first being forgotten.
pub(crate) async fn take_up(
    site: &Site<'_>,
    session: &mut Session,
    database: &DatabaseName,
    purpose: Purpose,
    source: &str,
) -> Result<Stage, RestoreError> {
    let password = random_password().map_err(|_| RestoreError::Random)?;
    let loader = loader_name(&site.service.owner(), purpose);
    let mut salt = [0_u8; SCRAM_SALT_BYTES];
    system_random(&mut salt);
    let verifier = Some(Verifier::compute(&password, &salt));
    transact(session, &[Action::SetPassword { role: loader.clone(), verifier }]).await?;
    let mark = RestoreMark { source: source.to_owned(), at: crate::clock::now(), waiting: false, drill: false };
    Ok(Stage { database: database.clone(), loader, password, mark, purpose })
}

fn loader_actions(site: &Site<'_>, inventory: &Inventory, loader: &RoleName, password: &Secret, marker: &Marker) -> Vec<Action> {
    let mut salt = [0_u8; SCRAM_SALT_BYTES];
    system_random(&mut salt);
    let owner = site.service.owner();
    let role = ParameterName::observed("role");
    let options = (inventory.server.major() >= 16).then_some(MembershipOptions::SetAndInherit);
    vec![
        Action::CreateRole {
            role: loader.clone(),
            connection_limit: Some(FURTHER_CONNECTIONS.saturating_add(u32::try_from(site.request.parallelism).unwrap_or(u32::MAX))),
            verifier: Some(Verifier::compute(password, &salt)),
            marker: marker.clone(),
        },
        Action::GrantMembership { role: owner.clone(), member: loader.clone(), options },
        Action::SetRoleParameters {
            role: loader.clone(),
            parameters: BTreeMap::from([(role, owner.as_str().to_owned())]),
            reset: BTreeSet::new(),
        },
    ]
}

fn opening_actions(database: &DatabaseName, owner: &RoleName, loader: &RoleName, marker: &Marker) -> Vec<Action> {
    let grant = |role: &RoleName, privileges: &[&'static str]| DatabaseGrant {
        grantees: vec![Grantee::Role(role.clone())],
        privileges: Some(privileges.iter().copied().collect()),
        grant_option_only: false,
    };
    let nothing = DatabaseGrant { grantees: vec![Grantee::Public], privileges: None, grant_option_only: false };
    vec![
        Action::FenceDatabase {
            database: database.clone(),
            revoke: vec![nothing],
            grant: vec![grant(owner, &["CREATE", "TEMPORARY"]), grant(loader, &["CONNECT"])],
        },
        Action::MarkDatabase { database: database.clone(), marker: marker.clone() },
        Action::AlterDatabase { database: database.clone(), changes: vec![DatabaseChange::AllowConnections(true)] },
    ]
}

/// Makes the extensions, as the administrator and before anything of the dump is there. Gives the schemas that it made for them.
pub(crate) async fn extend(
    site: &Site<'_>,
    stage: &Stage,
    inventory: &Inventory,
    extensions: &BTreeMap<String, Option<String>>,
) -> Result<BTreeSet<String>, RestoreError> {
    let owner = site.service.owner();
    let mut session = Session::connect(&site.connect().to_database(&stage.database)).await?;
    let public = SchemaName::observed("public");
    let privileges = BTreeSet::from(["CREATE", "USAGE"]);
    let grant = vec![SchemaGrant { grantees: vec![owner.clone()], privileges }];
    transact(&mut session, &[Action::FenceSchema { schema: public, act_as: None, revoke: Vec::new(), grant }]).await?;
    let none = BTreeMap::new();
    let available = inventory.available_extensions.known().unwrap_or(&none);
    let (mut made, mut reasons, mut statements) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (name, schema) in ordered(extensions) {
        let name = ExtensionName::observed(name);
        let schema = own_schema(available.get(&name), schema.as_deref());
        let mut needed = Vec::new();
        if let Some(schema) = schema.as_ref().filter(|schema| !matches!(schema.as_str(), "public" | "pg_catalog")) {
            needed.push(create_schema(schema, &owner));
            made.insert(schema.as_str().to_owned());
        }
        run(&mut session, "make the schema of an extension", &needed).await?;
        let create = create_extension(&name, schema.as_ref());
        if let Err(error) = session.run(create.expose()).await {
            let Some(error) = error.as_db_error() else {
                return Err(RestoreError::query("make an extension")(error));
            };
            reasons.push(format!("{name}: {}.", error.message()));
            statements.push(DbaStatement { database: Some(stage.database.clone()), sql: create.to_string() });
        }
        fault::after(fault::Moment::Statement);
    }
    session.close().await;
    if reasons.is_empty() {
        return Ok(made);
    }
    wait_for_extensions(site, stage).await?;
    Err(RestoreError::Extensions { database: stage.database.clone(), reasons, statements })
}

/// Those that others build on come first: by name they need not.
fn ordered(extensions: &BTreeMap<String, Option<String>>) -> Vec<(&String, &Option<String>)> {
    // What stands in a manifest says nothing about that; these are the ones that other extensions of PostgreSQL's own need.
    let rank =
        |name: &str| !matches!(name, "cube" | "hstore" | "ltree" | "plpython3u" | "plperl" | "plperlu" | "vector" | "postgis");
    let mut ordered: Vec<_> = extensions.iter().collect();
    ordered.sort_by_key(|(name, _)| rank(name));
    ordered
}

/// Where an extension goes: none when it insists on a schema of its own, which it makes itself.
fn own_schema(available: Option<&AvailableExtension>, wanted: Option<&str>) -> Option<SchemaName> {
    let insists = available.is_some_and(|extension| extension.schema.is_some());
    if insists { None } else { wanted.map(SchemaName::observed) }
}

/// Marks the new database as waiting, and takes its login away until somebody goes on.
async fn wait_for_extensions(site: &Site<'_>, stage: &Stage) -> Result<(), RestoreError> {
    let mut session = Session::connect(site.connect()).await?;
    let mark = RestoreMark { waiting: true, ..stage.mark.clone() };
    let marker = site.marker(stage.purpose.kind(), &stage.database, mark);
    let revoke = DatabaseGrant { grantees: vec![Grantee::Role(stage.loader.clone())], privileges: None, grant_option_only: false };
    let actions = [
        Action::FenceDatabase { database: stage.database.clone(), revoke: vec![revoke], grant: Vec::new() },
        Action::MarkDatabase { database: stage.database.clone(), marker },
        Action::DropRole { role: stage.loader.clone() },
    ];
    transact(&mut session, &actions).await?;
    session.close().await;
    Ok(())
}

/// Hands to the owner role whatever the login still owns itself, as a dump can make it do.
pub(crate) async fn hand_everything_over(site: &Site<'_>, stage: &Stage) -> Result<(), RestoreError> {
    let mut session = Session::connect(&stage.connect(site)).await?;
    let statements = [Statement::new("SET ROLE NONE"), hand_over(&site.service.owner()), Statement::new(GIVE_UP)];
    let outcome = run(&mut session, "hand over what the login owns", &statements).await;
    session.close().await;
    outcome
}

/// Takes away what restores of this service have left, all but what waits for this very source.
pub(crate) async fn clean(
    site: &Site<'_>,
    session: &mut Session,
    inventory: &Inventory,
    keep_for: Option<&str>,
) -> Result<Vec<Leftover>, RestoreError> {
    let loader = loader_name(&site.service.owner(), Purpose::Restore);
    let all = leftovers(inventory, site.project(), site.environment());
    let mut removed = Vec::new();
    for leftover in all {
        match &leftover {
            Leftover::Staging { database, service, waiting, .. } if *service == site.service.name => {
                if *waiting && keep_for.is_some_and(|source| site.is_ours(database, inventory, source)) {
                    continue;
                }
                drop_database(session, inventory, database).await?;
            }
            // Cut names of two services can be the same.
            Leftover::Loader { role, service } if *service == site.service.name || *role == loader => {
                drop_loader(session, role).await?;
            }
            _ => continue,
        }
        removed.push(leftover);
    }
    Ok(removed)
}

/// Drops a database of a restore. Whoever is still in it is made to leave.
pub(crate) async fn drop_database(
    session: &mut Session,
    inventory: &Inventory,
    database: &DatabaseName,
) -> Result<(), RestoreError> {
    // The remains of an interrupted drop take no other command.
    if !inventory.databases.get(database).is_some_and(pgisle_core::inventory::Database::is_invalid) {
        let changes = vec![DatabaseChange::AllowConnections(false)];
        transact(session, &[Action::AlterDatabase { database: database.clone(), changes }]).await?;
        super::swap::end_sessions(session, &inventory.admin, inventory.server.major(), database).await?;
    }
    let drop = Action::DropDatabase { database: database.clone() };
    run(session, &drop.summary(), &drop.statements()).await
}

pub(crate) async fn drop_loader(session: &mut Session, loader: &RoleName) -> Result<(), RestoreError> {
    transact(session, &[Action::DropRole { role: loader.clone() }]).await
}

impl Site<'_> {
    /// The marker of something that this restore makes.
    pub(crate) fn marker(&self, kind: Kind, database: &DatabaseName, mark: RestoreMark) -> Marker {
        let mut marker = Marker::new(self.project(), self.environment(), kind);
        marker.service = Some(self.service.name.clone());
        marker.database = Some(database.clone());
        marker.restore = Some(mark);
        marker
    }

    /// Whether a waiting database is this service's and waits for this source.
    pub(crate) fn is_ours(&self, database: &DatabaseName, inventory: &Inventory, source: &str) -> bool {
        let marker = inventory.databases.get(database).and_then(pgisle_core::inventory::Database::marker);
        marker.is_some_and(|marker| {
            let is_service = |name: &ServiceName| *name == self.service.name;
            marker.service.as_ref().is_some_and(is_service) && marker.restore.is_some_and(|mark| mark.source == source)
        })
    }
}
