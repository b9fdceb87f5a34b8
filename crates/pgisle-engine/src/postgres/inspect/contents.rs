//! What is inside of one database, read catalog by catalog and put together here.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::error::Error;
use std::str::FromStr;

use pgisle_core::inventory::{Contents, DefaultAcl, DefaultAclObjects, HiddenRelations, InstalledExtension, Schema, parse_acl};
use pgisle_core::name::{ExtensionName, RoleName, SchemaName};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, SimpleQueryRow};

use super::InspectError;
use crate::postgres::session::Session;

/// What is read.
const WHAT: &str = "the database's contents";
/// The numbers of catalogs, from their headers.
const PG_TYPE: u32 = 1247;
const PG_PROC: u32 = 1255;
const PG_CLASS: u32 = 1259;
const PG_NAMESPACE: u32 = 2615;
const PG_EXTENSION: u32 = 3079;
/// Whatever has a lower number came with the server (`FirstNormalObjectId`).
const FIRST_OWN_OID: u32 = 16_384;

/// A row that is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("field {field} of {row:?} makes no sense")]
struct Malformed {
    field: usize,
    row: Vec<Option<String>>,
}

type Answer<T> = Result<T, Box<dyn Error + Send + Sync>>;

pub(super) async fn read(session: &Session, readers: &BTreeSet<RoleName>) -> Result<Contents, InspectError> {
    let answers = session.query_each(include_str!("contents.sql")).await.map_err(refused)?;
    let (mut contents, own) = assemble(&answers).map_err(|source| InspectError::Document { what: WHAT, source })?;
    let readers: Vec<&str> = readers.iter().map(RoleName::as_str).collect();
    let OwnObjects { namespaces, relations, functions, types } = own;
    let numbers = |oids: &BTreeSet<u32>| oids.iter().copied().collect::<Vec<u32>>();
    let (relations, functions, types) = (numbers(&relations), numbers(&functions), numbers(&types));
    let readers: [(&(dyn ToSql + Sync), Type); 1] = [(&readers, Type::TEXT_ARRAY)];
    // What there is none of is not asked for: a query costs more than what it finds.
    let (relations, functions, types) = futures_util::try_join!(
        rows_about(session, include_str!("own_relations.sql"), &relations, &readers),
        rows_about(session, include_str!("own_functions.sql"), &functions, &[]),
        rows_about(session, include_str!("own_types.sql"), &types, &[]),
    )?;
    add_relations(&mut contents, &namespaces, &relations).map_err(refused)?;
    for row in functions.iter().chain(&types) {
        let (owner, objects): (String, i64) = (row.try_get(0).map_err(refused)?, row.try_get(1).map_err(refused)?);
        *contents.objects_by_owner.entry(RoleName::observed(owner)).or_default() += objects.unsigned_abs();
    }
    Ok(contents)
}

fn refused(source: tokio_postgres::Error) -> InspectError {
    InspectError::Query { what: WHAT, source: Box::new(source) }
}

async fn rows_about(
    session: &Session,
    sql: &'static str,
    oids: &[u32],
    more: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, InspectError> {
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let oids: (&(dyn ToSql + Sync), Type) = (&oids, Type::OID_ARRAY);
    let parameters: Vec<_> = std::iter::once(oids).chain(more.iter().cloned()).collect();
    session.query_typed(sql, &parameters).await.map_err(refused)
}

/// What somebody made, and no extension.
#[derive(Default)]
struct OwnObjects {
    /// Names of the schemas that are not the system's, by number.
    namespaces: BTreeMap<u32, SchemaName>,
    relations: BTreeSet<u32>,
    functions: BTreeSet<u32>,
    types: BTreeSet<u32>,
}

/// What the first answers say; of the objects that somebody owns, only the schemas are counted so far.
fn assemble(answers: &[Vec<SimpleQueryRow>]) -> Answer<(Contents, OwnObjects)> {
    let [namespaces, extensions, default_acls, dependencies] = answers else {
        return Err(format!("{} answers to 4 questions", answers.len()).into());
    };
    let mut names = BTreeMap::new();
    for row in namespaces {
        names.insert(number(row, 0)?, SchemaName::observed(text(row, 1)?));
    }
    let name_of = |row, field| -> Answer<Option<SchemaName>> { Ok(names.get(&number(row, field)?).cloned()) };
    let mut contents = Contents {
        schemas: BTreeMap::new(),
        extensions: BTreeMap::new(),
        default_acls: Vec::new(),
        objects_by_owner: BTreeMap::new(),
        hidden_relations: BTreeSet::new(),
        data_bytes: None,
    };
    // What is in a schema that came after the schemas were read came after this look, too.
    for row in extensions {
        if let Some(schema) = name_of(row, 2)? {
            let extension = InstalledExtension { version: text(row, 1)?.to_owned(), schema };
            contents.extensions.insert(ExtensionName::observed(text(row, 0)?), extension);
        }
    }
    for row in default_acls {
        let is_for_all_schemas = number(row, 1)? == 0;
        let schema = name_of(row, 1)?;
        // A kind of objects that a later PostgreSQL may have is left out.
        if let (Some(objects), true) = (objects_of_default_acl(text(row, 2)?), is_for_all_schemas || schema.is_some()) {
            let role = RoleName::observed(text(row, 0)?);
            contents.default_acls.push(DefaultAcl { role, schema, objects, acl: parse_acl(text(row, 3)?)? });
        }
    }
    contents.default_acls.sort();
    let members = members_of_extensions(dependencies)?;
    let mut own = OwnObjects::default();
    for row in namespaces {
        let (oid, name, owner) = (number(row, 0)?, text(row, 1)?, RoleName::observed(text(row, 2)?));
        if name == "information_schema" || name.starts_with("pg_") {
            continue;
        }
        if oid >= FIRST_OWN_OID && !members.contains(&(PG_NAMESPACE, oid)) {
            *contents.objects_by_owner.entry(owner.clone()).or_default() += 1;
        }
        own.namespaces.insert(oid, SchemaName::observed(name));
        contents.schemas.insert(SchemaName::observed(name), Schema { owner, acl: parse_acl(text(row, 3)?)? });
    }
    own.add(dependencies, &members)?;
    Ok((contents, own))
}

/// Catalog and number of each.
fn members_of_extensions(dependencies: &[SimpleQueryRow]) -> Answer<HashSet<(u32, u32)>> {
    let mut members = HashSet::new();
    for row in dependencies {
        if number(row, 2)? == PG_EXTENSION && text(row, 4)? == "e" {
            members.insert((number(row, 0)?, number(row, 1)?));
        }
    }
    Ok(members)
}

impl OwnObjects {
    /// Each relation, function and type that can stand alone depends on its schema.
    fn add(&mut self, dependencies: &[SimpleQueryRow], members: &HashSet<(u32, u32)>) -> Answer<()> {
        for row in dependencies {
            let (catalog, oid) = (number(row, 0)?, number(row, 1)?);
            let lives_here = number(row, 2)? == PG_NAMESPACE && self.namespaces.contains_key(&number(row, 3)?);
            if !lives_here || members.contains(&(catalog, oid)) {
                continue;
            }
            match catalog {
                PG_CLASS => self.relations.insert(oid),
                PG_PROC => self.functions.insert(oid),
                PG_TYPE => self.types.insert(oid),
                _ => false,
            };
        }
        Ok(())
    }
}

fn add_relations(
    contents: &mut Contents,
    namespaces: &BTreeMap<u32, SchemaName>,
    rows: &[Row],
) -> Result<(), tokio_postgres::Error> {
    // The same for each reader.
    let mut relations_of = BTreeMap::new();
    for row in rows {
        let (owner, namespace, reader): (String, u32, Option<String>) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (relations, hidden): (i64, i64) = (row.try_get(3)?, row.try_get(4)?);
        let owner = RoleName::observed(owner);
        relations_of.insert((owner.clone(), namespace), relations.unsigned_abs());
        if let (Some(reader), Some(schema), 1..) = (reader, namespaces.get(&namespace), hidden) {
            let (reader, schema, relations) = (RoleName::observed(reader), schema.clone(), hidden.unsigned_abs());
            contents.hidden_relations.insert(HiddenRelations { reader, owner, schema, relations });
        }
    }
    for ((owner, _), relations) in relations_of {
        *contents.objects_by_owner.entry(owner).or_default() += relations;
    }
    Ok(())
}

fn objects_of_default_acl(letter: &str) -> Option<DefaultAclObjects> {
    match letter {
        "r" => Some(DefaultAclObjects::Tables),
        "S" => Some(DefaultAclObjects::Sequences),
        "f" => Some(DefaultAclObjects::Functions),
        "T" => Some(DefaultAclObjects::Types),
        "n" => Some(DefaultAclObjects::Schemas),
        "L" => Some(DefaultAclObjects::LargeObjects),
        _ => None,
    }
}

fn text(row: &SimpleQueryRow, field: usize) -> Result<&str, Malformed> {
    row.try_get(field).ok().flatten().ok_or_else(|| malformed(row, field))
}

fn number(row: &SimpleQueryRow, field: usize) -> Result<u32, Malformed> {
    u32::from_str(text(row, field)?).map_err(|_| malformed(row, field))
}

fn malformed(row: &SimpleQueryRow, field: usize) -> Malformed {
    let row = (0..row.len()).map(|field| row.try_get(field).ok().flatten().map(str::to_owned)).collect();
    Malformed { field, row }
}
