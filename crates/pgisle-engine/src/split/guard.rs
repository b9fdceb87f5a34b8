//! What stands guard over both sides while a home moves: a fence on the new home's tables, and, on the way back, the old tables' own
//! fences and triggers, which let the changes pass and fire for nobody.

use std::collections::BTreeMap;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::split::{Job, Moved, Strategy};
use pgisle_core::sql::Statement;
use pgisle_core::sql::content::act_as;
use pgisle_core::sql::homecoming::{COLUMNS, FIRING, Firing, act_as_oneself};
use pgisle_core::sql::split::{DROP_PROGRESS, FENCE_ALONE, FENCE_TRIGGER, FENCED, Gate, PUBLISHED, create_gate, drop_fence};

use super::run::Ground;
use super::{Request, SplitError, journal};
use crate::fault;
use crate::postgres::Session;

/// What would fire on the old tables, by the tables' owner.
pub(super) struct Arms {
    by_owner: BTreeMap<RoleName, Vec<Firing>>,
    is_superuser: bool,
}

impl Arms {
    /// Looks at the old tables.
    pub(super) async fn read(control: &Session, ground: &Ground) -> Result<Self, SplitError> {
        let failed = || SplitError::query("look at the triggers of the old tables");
        let (schemas, names): (Vec<&str>, Vec<&str>) = ground.tables().unzip();
        let rows = control.query(FIRING, &[&schemas, &names]).await.map_err(failed())?;
        let firing = |row: &tokio_postgres::Row| {
            let (schema, table, name) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            Ok(Firing { schema, table, name, is_rule: row.try_get(3)?, enabled: row.try_get(4)? })
        };
        let firing = rows.iter().map(firing).collect::<Result<Vec<_>, tokio_postgres::Error>>().map_err(failed())?;
        let mut by_owner: BTreeMap<RoleName, Vec<Firing>> = BTreeMap::new();
        for table in &ground.moved.tables {
            let own = firing.iter().filter(|one| one.schema == table.schema && one.table == table.name).cloned();
            let fence = Firing {
                schema: table.schema.clone(),
                table: table.name.clone(),
                name: FENCE_TRIGGER.to_owned(),
                is_rule: false,
                enabled: "A".to_owned(),
            };
            by_owner.entry(table.owner.clone()).or_default().extend(own.chain([fence]));
        }
        Ok(Self { by_owner, is_superuser: ground.is_superuser })
    }

    /// Opens the tables to the transaction at hand, and to no other: all others wait until it ends. It acts as their owner then.
    pub(super) fn disarm(&self) -> Vec<Statement> {
        let mut statements = self.each(Firing::disable);
        statements.extend(self.by_owner.keys().next().filter(|_| !self.is_superuser).map(act_as));
        statements
    }

    /// Has everything fire again as it did; the fences only where they are to stay.
    pub(super) fn rearm(&self, with_fences: bool) -> Vec<Statement> {
        // What waits for the end of the transaction would be in the way.
        let mut statements = vec![Statement::new("SET CONSTRAINTS ALL IMMEDIATE")];
        let kept = |firing: &Firing| with_fences || firing.name != FENCE_TRIGGER;
        statements.extend(self.each_of(kept, Firing::enable));
        statements.push(act_as_oneself());
        statements
    }

    fn each(&self, change: impl Fn(&Firing) -> Statement) -> Vec<Statement> {
        self.each_of(|_| true, change)
    }

    fn each_of(&self, wanted: impl Fn(&Firing) -> bool, change: impl Fn(&Firing) -> Statement) -> Vec<Statement> {
        let mut statements = Vec::new();
        for (owner, firing) in &self.by_owner {
            statements.extend((!self.is_superuser).then(|| act_as(owner)));
            statements.extend(firing.iter().filter(|firing| wanted(firing)).map(&change));
        }
        statements
    }
}

/// Puts an open fence on the tables of the new home, which says that they are in `target`.
pub(super) async fn raise(
    home: &mut Session,
    job: &Job,
    owner: &RoleName,
    target: &DatabaseName,
    is_superuser: bool,
) -> Result<(), SplitError> {
    let failed = || SplitError::query("prepare the fence in the new home");
    home.batch("BEGIN").await.map_err(failed())?;
    for statement in FENCE_ALONE {
        home.batch(statement).await.map_err(failed())?;
    }
    for statement in create_gate(&job.service) {
        home.run(statement.expose()).await.map_err(failed())?;
    }
    home.batch("COMMIT").await.map_err(failed())?;
    fault::after(fault::Moment::Statement);
    journal::set(home, &job.service, Gate::Open).await?;
    for (schema, name) in &job.tables {
        journal::fence(home, (schema, name, owner), is_superuser, &job.service, target).await?;
    }
    Ok(())
}

/// Takes that fence away again, table by table: those who write take several in an order of their own. Where it cannot be, it stands
/// open, and the next call takes it away.
pub(super) async fn lower(request: &Request<'_>, job: &Job, is_superuser: bool, attempts: u32) -> Result<(), SplitError> {
    let doing = "take the fence off the new home";
    let mut home = request.session(&job.database).await?;
    let owner = request.service.owner();
    for row in home.query(FENCED, &[]).await.map_err(SplitError::query(doing))? {
        let (schema, name): (String, String) =
            (row.try_get(0).map_err(SplitError::query(doing))?, row.try_get(1).map_err(SplitError::query(doing))?);
        let owner = (!is_superuser).then_some(&owner);
        let drop = [drop_fence(&schema, &name)];
        journal::alter_patiently(&mut home, Some((&schema, &name)), owner, doing, &drop, attempts).await?;
    }
    let outcome = journal::alter_patiently(&mut home, None, None, doing, &[Statement::new(DROP_PROGRESS)], attempts).await;
    home.close().await;
    outcome
}

/// What keeps everyone from writing to a new home from its first moment on: a transaction of ours that is open. Once both sides are
/// noted it ends, and so it does when pgisle is killed.
pub(super) struct Seal {
    /// In the new database, until it is to be renamed.
    home: Session,
    holder: Session,
}

impl Seal {
    /// Puts the fence on the tables of a database that is to be the home, open still.
    pub(super) async fn prepare(
        request: &Request<'_>,
        job: &Job,
        database: &DatabaseName,
        is_superuser: bool,
    ) -> Result<Self, SplitError> {
        let mut home = request.session(database).await?;
        raise(&mut home, job, &request.service.owner(), &job.database, is_superuser).await?;
        let holder = Session::connect(request.apply.connect).await?;
        Ok(Self { home, holder })
    }

    /// The session in the database that is to be the home.
    pub(super) fn home(&self) -> &Session {
        &self.home
    }

    /// Closes it until the transaction ends, and leaves the database.
    pub(super) async fn shut(mut self, job: &Job) -> Result<Session, SplitError> {
        self.holder.batch("BEGIN").await.map_err(SplitError::query("keep the new home shut"))?;
        let number = journal::transaction_number(&self.holder).await?;
        journal::set(&mut self.home, &job.service, Gate::DecidedBy(number)).await?;
        self.home.close().await;
        Ok(self.holder)
    }
}

/// The columns of tables, by schema and name.
type Shapes = BTreeMap<(String, String), Vec<String>>;

async fn shapes(session: &Session) -> Result<Shapes, SplitError> {
    let failed = || SplitError::query("look at the tables' columns");
    let rows = session.query(COLUMNS, &[]).await.map_err(failed())?;
    let shape = |row: &tokio_postgres::Row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?));
    rows.iter().map(shape).collect::<Result<_, tokio_postgres::Error>>().map_err(failed())
}

/// What was made or changed in the new home since has no place in the shared database.
pub(super) async fn check_shapes(control: &Session, home: &Session, job: &Job) -> Result<(), SplitError> {
    let (old, new) = (shapes(control).await?, shapes(home).await?);
    let mut differences = differences(&old, &new, job, ["shared database", "new home"]);
    let made = new.keys().filter(|table| !job.tables.contains(table));
    differences.extend(made.map(|(schema, name)| format!("table {schema}.{name} was made in the new home")));
    if differences.is_empty() {
        return Ok(());
    }
    Err(Diagnostic::error(Code::SPLIT_STATE, format!("the tables of service \"{}\" have changed since the cutover", job.service))
        .detail(format!("{}.", differences.join("; ")))
        .hint("Make the same change to the tables of the shared database, or undo it in the new home; then roll back. What was made since must be moved or dropped first.")
        .into())
}

/// What was changed in the shared database since the new one was made would be lost. With changes that follow, the tables must be
/// the very ones that are followed.
pub(super) async fn check_copy(control: &Session, copy: &Session, moved: &Moved, job: &Job) -> Result<(), SplitError> {
    let failed = || SplitError::query("look at what is followed");
    let (old, new) = (shapes(control).await?, shapes(copy).await?);
    let mut differences = differences(&old, &new, job, ["shared database", "copy"]);
    if job.strategy == Strategy::Stream {
        let rows = control.query(PUBLISHED, &[&job.slot()]).await.map_err(failed())?;
        let name = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
        let followed = rows.iter().map(name).collect::<Result<Vec<(String, String)>, tokio_postgres::Error>>().map_err(failed())?;
        let tables = moved.tables.iter().filter(|table| !table.is_partitioned);
        let lost = tables.filter(|table| !followed.iter().any(|(schema, name)| *schema == table.schema && *name == table.name));
        differences.extend(lost.map(|table| format!("table {}.{} is not the one that is followed", table.schema, table.name)));
    }
    if differences.is_empty() { Ok(()) } else { Err(changed_since(job, &format!("{}.", differences.join("; ")))) }
}

/// Something of what moves is not what it was.
pub(super) fn changed_since(job: &Job, detail: &str) -> SplitError {
    Diagnostic::error(Code::SPLIT_STATE, format!("what moves for service \"{}\" has changed since the split began", job.service))
        .detail(detail)
        .hint("Nothing has moved. Begin again:")
        .command(format!("pgisle split run {}", job.service))
        .into()
}

fn differences(old: &Shapes, new: &Shapes, job: &Job, [here, there]: [&str; 2]) -> Vec<String> {
    let mut differences = Vec::new();
    for table in &job.tables {
        let name = format!("{}.{}", table.0, table.1);
        match (old.get(table), new.get(table)) {
            (None, _) => differences.push(format!("table {name} is not in the {here} any more")),
            (_, None) => differences.push(format!("table {name} is not in the {there} any more")),
            (Some(old), Some(new)) => {
                let only = |these: &[String], those: &[String], place: &str| {
                    let only = these.iter().filter(|column| !those.contains(column));
                    only.map(|column| format!("{name} has column {column} in the {place} only")).collect::<Vec<_>>()
                };
                differences.extend(only(new, old, there));
                differences.extend(only(old, new, here));
            }
        }
    }
    differences
}
