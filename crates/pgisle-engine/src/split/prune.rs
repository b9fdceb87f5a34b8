//! Pruning a clone: what is not the service's is dropped, and what stays is given to the owner role, with the privileges that others
//! had on it taken away. It happens in a database that nobody else can enter, so whatever fails takes the clone with it and nothing
//! else.

use std::collections::{BTreeSet, VecDeque};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::{ExtensionName, RoleName, SchemaName};
use pgisle_core::plan::{Action, SchemaGrant};
use pgisle_core::sql::clone::{
    DEFAULT_PRIVILEGES, EXTENSIONS, KEPT, OUT_OF_REACH, POINTERS, Reach, SHAPE, UNCLAIMED, alter_owner, drop_extension,
    drop_objects, drops_several, revoke_all, revoke_default, unlink_unpointed,
};
use pgisle_core::sql::content::act_as;
use pgisle_core::sql::split::DROP_PROGRESS;
use pgisle_core::sql::{Statement, together};

use super::run::Ground;
use super::{Request, SplitError};
use crate::backup::restore::stage;
use crate::fault;
use crate::postgres::Session;

/// So many tables are dropped in one transaction: each takes locks, of which the server has a limited number.
const TABLES_PER_TRANSACTION: usize = 100;

/// So many statements are sent as one message.
const BATCH: usize = 200;

/// So many large objects are dropped in one transaction.
const LARGE_OBJECTS_PER_TRANSACTION: u32 = 2_000;

/// What was dropped may have held something else back: so often it is tried again.
const PASSES_MAX: u32 = 20;

/// No commit waits of a database that may yet be dropped.
const PRUNING: &str = "SET synchronous_commit = off; SET client_min_messages = warning";

/// `dependent_objects_still_exist`.
const NEEDED: &str = "2BP01";

/// `insufficient_privilege`.
const FORBIDDEN: &str = "42501";

/// So many of others' objects are named.
const SHOWN_MAX: usize = 5;

/// Something that is dropped.
#[derive(Debug, Clone)]
struct Object {
    rank: i32,
    kind: String,
    identity: String,
    owner: RoleName,
}

/// Up to this rank things go with all that needs them; from there on they stay while something that stays needs them.
const CASCADE_RANK_MAX: i32 = 3;

/// Leaves nothing in a clone but what the service owns, needs or is to have.
pub(super) async fn prune(
    request: &Request<'_>,
    ground: &Ground,
    session: &mut Session,
    extensions: &BTreeSet<ExtensionName>,
) -> Result<(), SplitError> {
    session.batch(PRUNING).await.map_err(SplitError::query("prepare to prune the clone"))?;
    let relations: Vec<u32> = ground.moved.relations.iter().copied().collect();
    let before = shape(session, &relations).await?;
    drop_unclaimed(session, ground, &relations).await?;
    // Event triggers are gone by now: nothing looks at this.
    session.batch(DROP_PROGRESS).await.map_err(SplitError::query("drop the journal's copy"))?;
    fault::after(fault::Moment::Statement);
    if shape(session, &relations).await? != before {
        return Err(Diagnostic::error(Code::SPLIT_FAILED, "part of a table that moves depends on what stays")
            .detail("Dropping what is not the service's would take a column, a default, an index, a trigger or a policy of its tables along.")
            .hint("See what crosses with `pgisle split plan`, or take the strategy stream or copy, which say what is missing.")
            .into());
    }
    unlink_large_objects(session, &relations).await?;
    drop_extensions(session, ground, extensions).await?;
    hand_over(request, session, ground).await?;
    take_default_privileges(session, ground).await
}

/// A digest of what relations are made of.
pub(super) async fn shape(session: &Session, relations: &[u32]) -> Result<String, SplitError> {
    let failed = || SplitError::query("look at the tables of the clone");
    let rows = session.query(SHAPE, &[&relations]).await.map_err(failed())?;
    rows.first().map_or(Ok(String::new()), |row| row.try_get(0)).map_err(failed())
}

/// Whoever is no superuser acts as the owner of what it drops.
pub(super) async fn check_owners(shared: &Session, ground: &Ground) -> Result<(), SplitError> {
    let failed = || SplitError::query("look whose objects are in the shared database");
    let relations: Vec<u32> = ground.moved.relations.iter().copied().collect();
    let objects = unclaimed(shared, ground, &relations).await?;
    let owners: Vec<&str> = objects.iter().map(|object| object.owner.as_str()).collect();
    let takes = if ground.server_major() >= 16 { "SET" } else { "MEMBER" };
    let rows = shared.query(OUT_OF_REACH, &[&owners, &takes]).await.map_err(failed())?;
    let owners = rows.iter().map(|row| row.try_get(0)).collect::<Result<BTreeSet<String>, _>>().map_err(failed())?;
    if owners.is_empty() {
        return Ok(());
    }
    let theirs = objects.iter().filter(|object| owners.contains(object.owner.as_str()));
    let theirs: Vec<String> = theirs.map(|object| format!("{} {} of \"{}\"", object.kind, object.identity, object.owner)).collect();
    let more = if theirs.len() > SHOWN_MAX { format!(" and {} more", theirs.len() - SHOWN_MAX) } else { String::new() };
    let shown = theirs.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    Err(Diagnostic::error(Code::SPLIT_OWNER, "the administrator cannot drop in a clone what others own")
        .detail(format!("It may not act as the owner of {shown}{more}."))
        .hint("Grant it these roles, work as a superuser, or take the strategy stream or copy.")
        .into())
}

async fn unclaimed(session: &Session, ground: &Ground, relations: &[u32]) -> Result<Vec<Object>, SplitError> {
    let failed = || SplitError::query("look at what is not the service's");
    let functions: Vec<u32> = ground.moved.functions.iter().copied().collect();
    let types: Vec<&str> = ground.moved.types.iter().map(String::as_str).collect();
    let mut objects = Vec::new();
    for row in session.query(UNCLAIMED, &[&relations, &functions, &types]).await.map_err(failed())? {
        let (rank, kind, identity) =
            (row.try_get(0).map_err(failed())?, row.try_get(1).map_err(failed())?, row.try_get(2).map_err(failed())?);
        objects.push(Object { rank, kind, identity, owner: RoleName::observed(row.try_get::<_, String>(3).map_err(failed())?) });
    }
    Ok(objects)
}

async fn drop_unclaimed(session: &mut Session, ground: &Ground, relations: &[u32]) -> Result<(), SplitError> {
    let objects = unclaimed(session, ground, relations).await?;
    let (sure, careful): (Vec<Object>, Vec<Object>) = objects.into_iter().partition(|object| object.rank <= CASCADE_RANK_MAX);
    for group in sure.chunk_by(is_alike) {
        let several = group.first().is_some_and(|object| drops_several(&object.kind));
        for part in group.chunks(if several { TABLES_PER_TRANSACTION } else { 1 }) {
            drop_group(session, ground, part, Reach::Cascade).await?;
        }
    }
    drop_carefully(session, ground, careful).await
}

fn is_alike(one: &Object, other: &Object) -> bool {
    one.rank == other.rank && one.kind == other.kind && one.owner == other.owner
}

/// Drops what nothing needs that stays; what was dropped may have been what needed something else.
async fn drop_carefully(session: &mut Session, ground: &Ground, objects: Vec<Object>) -> Result<(), SplitError> {
    let mut left: VecDeque<Vec<Object>> = objects.chunk_by(is_alike).map(<[Object]>::to_vec).collect();
    for _ in 0..PASSES_MAX {
        let mut again = VecDeque::new();
        let before: usize = left.iter().map(Vec::len).sum();
        for group in std::mem::take(&mut left) {
            let several = group.first().is_some_and(|object| drops_several(&object.kind));
            if group.len() > 1 && several && drop_if_unneeded(session, ground, &group).await? {
                continue;
            }
            for object in group {
                let one = vec![object];
                if !drop_if_unneeded(session, ground, &one).await? {
                    again.push_back(one);
                }
            }
        }
        left = again;
        if left.is_empty() || left.iter().map(Vec::len).sum::<usize>() == before {
            break;
        }
    }
    Ok(())
}

async fn drop_if_unneeded(session: &mut Session, ground: &Ground, group: &[Object]) -> Result<bool, SplitError> {
    match drop_group(session, ground, group, Reach::Restrict).await {
        Ok(()) => Ok(true),
        Err(SplitError::Query { source, .. }) if is(&source, NEEDED) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is(error: &tokio_postgres::Error, sqlstate: &str) -> bool {
    error.code().is_some_and(|code| code.code() == sqlstate)
}

async fn drop_group(session: &mut Session, ground: &Ground, group: &[Object], reach: Reach) -> Result<(), SplitError> {
    let Some(Object { kind, owner, .. }) = group.first() else { return Ok(()) };
    let identities: Vec<&str> = group.iter().map(|object| object.identity.as_str()).collect();
    let Some(drop) = drop_objects(kind, &identities, reach) else { return Ok(()) };
    let doing = format!("drop a {kind} in the clone");
    run_as(session, (!ground.is_superuser).then_some(owner), vec![drop], &doing).await
}

/// Runs statements in one transaction, as another role where that is needed.
async fn run_as(session: &mut Session, role: Option<&RoleName>, statements: Vec<Statement>, doing: &str) -> Result<(), SplitError> {
    let all: Vec<Statement> = role.map(act_as).into_iter().chain(statements).collect();
    let message = together(&all);
    session.run(message.expose()).await.map_err(SplitError::query(doing))?;
    fault::after(fault::Moment::Statement);
    Ok(())
}

/// Large objects belong to no table: what no column of the service's tables points to is not the service's.
async fn unlink_large_objects(session: &mut Session, relations: &[u32]) -> Result<(), SplitError> {
    let failed = || SplitError::query("drop large objects in the clone");
    let mut pointers = Vec::new();
    for row in session.query(POINTERS, &[&relations]).await.map_err(failed())? {
        pointers.push((row.try_get(0).map_err(failed())?, row.try_get(1).map_err(failed())?, row.try_get(2).map_err(failed())?));
    }
    let unlink = unlink_unpointed(&pointers, LARGE_OBJECTS_PER_TRANSACTION);
    loop {
        let unlinked = session.answer(&unlink).await.map_err(failed())?.unwrap_or_default();
        fault::after(fault::Moment::Statement);
        if unlinked.is_empty() || unlinked == "0" {
            return Ok(());
        }
    }
}

/// Extensions that nothing of the service's needs and the file does not give it. One that cannot be dropped stays.
async fn drop_extensions(session: &mut Session, ground: &Ground, wanted: &BTreeSet<ExtensionName>) -> Result<(), SplitError> {
    let failed = || SplitError::query("drop extensions in the clone");
    let rows = session.query(EXTENSIONS, &[]).await.map_err(failed())?;
    for row in rows {
        let name = ExtensionName::observed(row.try_get::<_, String>(0).map_err(failed())?);
        if wanted.contains(&name) || ground.moved.extensions.contains_key(name.as_str()) {
            continue;
        }
        match session.run(drop_extension(&name).expose()).await {
            Err(error) if !is(&error, NEEDED) && !is(&error, FORBIDDEN) => return Err(failed()(error)),
            _ => fault::after(fault::Moment::Statement),
        }
    }
    Ok(())
}

/// Gives everything to the owner role, and takes from others what they were granted on it.
async fn hand_over(request: &Request<'_>, session: &mut Session, ground: &Ground) -> Result<(), SplitError> {
    let failed = || SplitError::query("give the tables of the clone to the owner role");
    let owner = request.service.owner();
    // Whoever owns a table must be allowed to make one.
    let grant = vec![SchemaGrant { grantees: vec![owner.clone()], privileges: ["CREATE", "USAGE"].into() }];
    let public = SchemaName::observed("public");
    stage::transact(session, &[Action::FenceSchema { schema: public, act_as: None, revoke: Vec::new(), grant }]).await?;
    let (mut gifts, mut revokes) = (Vec::new(), Vec::new());
    for row in session.query(KEPT, &[]).await.map_err(failed())? {
        let (kind, identity, held_by): (String, String, String) =
            (row.try_get(0).map_err(failed())?, row.try_get(1).map_err(failed())?, row.try_get(2).map_err(failed())?);
        let (is_free, mut grantees): (bool, Vec<String>) = (row.try_get(3).map_err(failed())?, row.try_get(4).map_err(failed())?);
        if is_free && held_by != owner.as_str() {
            gifts.extend(alter_owner(&kind, &identity, &owner));
        }
        let is_public = kind == "schema" && identity == "public";
        // Everybody may call a function, use a type and see `public`, unless someone has said otherwise; the file says it for schemas.
        let by_default = matches!(kind.as_str(), "function" | "procedure" | "aggregate" | "type") || is_public;
        grantees.retain(|grantee| {
            grantee != owner.as_str() && !(by_default && grantee.is_empty()) && !(is_public && grantee == "pg_database_owner")
        });
        revokes.extend(revoke_all(&kind, &identity, &grantees).map(|statement| (is_public, statement)));
    }
    let (of_admin, of_owner): (Vec<_>, Vec<_>) = revokes.into_iter().partition(|(is_public, _)| *is_public);
    let statements = |revokes: Vec<(bool, Statement)>| revokes.into_iter().map(|(_, statement)| statement).collect::<Vec<_>>();
    let as_owner = (!ground.is_superuser).then_some(&owner);
    for (role, all) in [(None, gifts), (None, statements(of_admin)), (as_owner, statements(of_owner))] {
        for part in all.chunks(BATCH) {
            run_as(session, role, part.to_vec(), "give the tables of the clone to the owner role").await?;
        }
    }
    Ok(())
}

/// Takes the default privileges back that were set in the shared database: the file says which there are.
async fn take_default_privileges(session: &mut Session, ground: &Ground) -> Result<(), SplitError> {
    let failed = || SplitError::query("take back default privileges in the clone");
    for row in session.query(DEFAULT_PRIVILEGES, &[]).await.map_err(failed())? {
        let (role, schema, kind, grantee): (String, String, String, String) = (
            row.try_get(0).map_err(failed())?,
            row.try_get(1).map_err(failed())?,
            row.try_get(2).map_err(failed())?,
            row.try_get(3).map_err(failed())?,
        );
        let role = RoleName::observed(role);
        let Some(revoke) = revoke_default(&role, &schema, &kind, &grantee) else { continue };
        run_as(session, (!ground.is_superuser).then_some(&role), vec![revoke], "take back default privileges in the clone").await?;
    }
    Ok(())
}
