//! Chooses the tables when many collections are migrated at once. Pure functions.

use std::collections::{BTreeMap, HashMap, HashSet};

use chroma::Collection;
use records::{DistanceSpace, MODEL_DIMENSION, Service, without_nul};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::postgres::{
    Presence, SharedTable, Table,
    jobs::{Job, JobStatus, Origin},
};
use uuid::Uuid;

use crate::report::GoneCollection;

/// PostgreSQL silently truncates longer names.
pub(crate) const MAX_NAME_BYTES: usize = 63;
/// Lengths of the suffix that makes a name unique; the second is used if the first is taken.
const SUFFIX_CHARS: [usize; 2] = [12, 32];

/// Target tables of collections.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// The definition of each table, without name, dimension and space.
    pub template: Table,
    /// Whether each collection gets its own table.
    pub target: Target,
}

/// Whether each collection gets its own table.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// One table per collection, named after it.
    OwnTables,
    /// One table per dimension and space.
    Shared {
        /// The name of the first table; others get a suffix.
        table: String,
        /// The column with the name of the row's collection.
        column: String,
    },
}

/// What exists before tables are chosen.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownTables {
    /// Names that are taken.
    pub(crate) taken: HashSet<String>,
    /// Tables of collections that Chroma clients see: also of those that were empty when they were migrated, and to which
    /// clients have added records here since.
    pub(crate) registered: HashMap<Uuid, Table>,
}

/// Names that no collection's table may have.
pub type IsReserved = fn(&str) -> bool;

/// Whether a collection of this origin would be migrated if the source had it.
pub type IsSelected = Box<dyn Fn(&Origin) -> bool + Send + Sync>;

/// The collections that earlier `jobs` have migrated from `source`, which has only `collections` now, and their tables.
pub(crate) fn gone(
    (source, collections): (&str, &[Collection]),
    jobs: &[Job],
    is_selected: &IsSelected,
) -> Vec<GoneCollection> {
    let existing: HashSet<Uuid> = collections.iter().map(|collection| collection.id).collect();
    let is_gone = |job: &&Job| {
        job.status != JobStatus::Undone
            && job.origin.source == source
            && !existing.contains(&job.origin.collection_id)
            && is_selected(&job.origin)
    };
    let mut seen: HashSet<(Uuid, &str)> = HashSet::new();
    // The newest job has the last name.
    let newest = jobs.iter().rev().filter(is_gone);
    let newest = newest.filter(|job| seen.insert((job.origin.collection_id, job.table_name.as_str())));
    let mut gone: Vec<GoneCollection> = newest
        .map(|job| GoneCollection {
            origin: job.origin.clone(),
            table: job.table_name.clone(),
            is_shared: Table::from_definition(job.table_name.clone(), &job.definition)
                .is_some_and(|table| table.shared.is_some()),
        })
        .collect();
    gone.reverse();
    gone
}

impl Placement {
    /// A table for each collection, with its documents in the column `document`: what `migrate collections` does without
    /// further flags.
    pub fn for_own_tables() -> Self {
        let template = Table {
            name: String::new(),
            text_column: "document".to_owned(),
            text: Presence::Optional,
            columns: Vec::new(),
            dimension: MODEL_DIMENSION,
            space: DistanceSpace::L2,
            shared: None,
        };
        Self { template, target: Target::OwnTables }
    }

    /// The part of the placement that identifies the command.
    pub(crate) fn definition(&self) -> Value {
        let mut definition = self.template.definition();
        if let Some(object) = definition.as_object_mut() {
            object.remove("dimension");
            object.remove("space");
        }
        match &self.target {
            Target::OwnTables => json!({"tables": "own", "columns": definition}),
            Target::Shared { table, column } => {
                json!({"tables": "shared", "table": table, "column": column, "columns": definition})
            }
        }
    }

    /// All candidate names for `collections`, to be looked up in the catalog.
    pub(crate) fn wanted_names(&self, collections: &[Collection]) -> Vec<String> {
        match &self.target {
            Target::OwnTables => collections.iter().flat_map(candidates).collect(),
            Target::Shared { .. } => Vec::new(),
        }
    }

    /// The table of each of `collections`, given earlier `jobs` and what exists.
    pub(crate) fn tables(
        &self,
        collections: &[Collection],
        jobs: &[Job],
        known: &KnownTables,
        is_reserved: IsReserved,
    ) -> Vec<Table> {
        let standing: Vec<&Job> = jobs.iter().filter(|job| job.status != JobStatus::Undone).collect();
        match &self.target {
            Target::OwnTables => self.own_tables(collections, &standing, known, is_reserved),
            Target::Shared { table, column } => {
                self.shared_tables(collections, &standing, &known.registered, (table, column))
            }
        }
    }

    fn own_tables(
        &self,
        collections: &[Collection],
        standing: &[&Job],
        known: &KnownTables,
        is_reserved: IsReserved,
    ) -> Vec<Table> {
        let mut migrated: HashMap<Uuid, Vec<&Job>> = HashMap::new();
        for job in standing {
            migrated.entry(job.origin.collection_id).or_default().push(job);
        }
        let mut used: HashSet<String> = standing.iter().map(|job| job.table_name.clone()).collect();
        let own = |collection: &Collection| {
            let definition = self.table(collection, String::new()).definition();
            let jobs = migrated.get(&collection.id).into_iter().flatten();
            let of_job =
                jobs.filter(|job| job.definition == definition).map(|job| job.table_name.clone()).next_back();
            let registered = || known.registered.get(&collection.id);
            let of_clients = || registered().filter(|table| table.definition() == definition);
            of_job.or_else(|| of_clients().map(|table| table.name.clone()))
        };
        let name = |collection: &Collection| {
            if let Some(name) = own(collection) {
                return name;
            }
            let is_free =
                |name: &String| !used.contains(name) && !known.taken.contains(name) && !is_reserved(name);
            let mut names = candidates(collection);
            // The last candidate has 128 bits of the id's digest, which is unique.
            let last = names.pop().unwrap_or_default();
            let name = names.into_iter().find(is_free).unwrap_or(last);
            used.insert(name.clone());
            name
        };
        let names: Vec<String> = collections.iter().map(name).collect();
        collections.iter().zip(names).map(|(collection, name)| self.table(collection, name)).collect()
    }

    fn shared_tables(
        &self,
        collections: &[Collection],
        standing: &[&Job],
        registered: &HashMap<Uuid, Table>,
        (base, column): (&str, &str),
    ) -> Vec<Table> {
        let key = |collection: &Collection| {
            (collection.dimension.unwrap_or(MODEL_DIMENSION), collection.space.as_str())
        };
        let first = standing.iter().find(|job| job.table_name == base).and_then(|job| {
            let table = Table::from_definition(base.to_owned(), &job.definition)?;
            Some((table.dimension, table.space.as_str()))
        });
        let most_frequent = || {
            let mut counts: BTreeMap<(usize, &str), usize> = BTreeMap::new();
            for collection in collections.iter().filter(|collection| collection.dimension.is_some()) {
                *counts.entry(key(collection)).or_default() += 1;
            }
            // Of several tables, the one with the smallest name.
            counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(key, _)| key)
        };
        let (dimension, space) =
            first.or_else(most_frequent).unwrap_or((MODEL_DIMENSION, DistanceSpace::L2.as_str()));
        let mut values = Values::new(registered, collections);
        let table = |collection: &Collection| {
            let (own_dimension, own_space) = key(collection);
            let mut name = base.to_owned();
            if own_dimension != dimension {
                name = format!("{name}_{own_dimension}");
            }
            if own_space != space {
                name = format!("{name}_{own_space}");
            }
            let value = values.of(collection, &name);
            let shared = SharedTable { column: column.to_owned(), id: collection.id, name: value };
            Table { shared: Some(shared), ..self.table(collection, name) }
        };
        collections.iter().map(table).collect()
    }

    fn table(&self, collection: &Collection, name: String) -> Table {
        Table {
            name,
            // Unknown and irrelevant for an empty collection.
            dimension: collection.dimension.unwrap_or(MODEL_DIMENSION),
            space: collection.space,
            ..self.template.clone()
        }
    }
}

/// What rows of a shared table have in the column of their collection. No two collections of a table have the same.
struct Values<'a> {
    registered: &'a HashMap<Uuid, Table>,
    /// The values of each table.
    taken: HashSet<(String, String)>,
    /// How many collections have a name.
    counts: HashMap<&'a str, usize>,
}

impl<'a> Values<'a> {
    fn new(registered: &'a HashMap<Uuid, Table>, collections: &'a [Collection]) -> Self {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for collection in collections {
            *counts.entry(&collection.name).or_default() += 1;
        }
        let value = |table: &Table| Some((table.name.clone(), table.shared.as_ref()?.name.clone()));
        Self { registered, taken: registered.values().filter_map(value).collect(), counts }
    }

    /// The value of `collection` in `table`: that which it has there already, or its name; prefixed by tenant and database
    /// if another collection has the same name and this one is not in the default database; and followed by its id if
    /// another one has that too, such as one of the same name that was deleted.
    fn of(&mut self, collection: &Collection, table: &str) -> String {
        let registered = self.registered.get(&collection.id).filter(|known| known.name == table);
        if let Some(shared) = registered.and_then(|known| known.shared.as_ref()) {
            return shared.name.clone();
        }
        let Collection { id, tenant, database, name, .. } = collection;
        let is_default = tenant == chroma::DEFAULT_TENANT && database == chroma::DEFAULT_DATABASE;
        let is_alone = self.counts.get(name.as_str()).is_none_or(|count| *count == 1);
        let full = || format!("{tenant}/{database}/{name}");
        let value = if is_default || is_alone { name.clone() } else { full() };
        for value in [value, full(), format!("{} ({id})", full())] {
            // PostgreSQL's text cannot contain NUL, and Chroma versions that validate names reject it.
            let value = without_nul(&value).into_owned();
            if self.taken.insert((table.to_owned(), value.clone())) {
                return value;
            }
        }
        id.to_string()
    }
}

/// Candidate names of a collection's table, best first: the collection's name if PostgreSQL and a shell accept it
/// unquoted; otherwise, or if it is taken, its valid characters followed by a digest of the collection's id, which
/// does not depend on other collections.
fn candidates(collection: &Collection) -> Vec<String> {
    let digest: String =
        Sha256::digest(collection.id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let plain = is_plain(&collection.name).then(|| collection.name.clone());
    let cleaned: String = collection
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .collect();
    let cleaned = cleaned.trim_start_matches("pg_");
    let suffixed = SUFFIX_CHARS.map(|length| {
        let kept = &cleaned[..cleaned.len().min(MAX_NAME_BYTES - 1 - length)];
        format!("{kept}_{}", &digest[..length])
    });
    plain.into_iter().chain(suffixed).collect()
}

fn is_plain(name: &str) -> bool {
    let is_service = Service::ALL.iter().any(|service| service.collection() == name);
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        // `pg_catalog` precedes other schemas in the search path.
        && !name.starts_with("pg_")
        && !is_service
}

#[cfg(test)]
mod tests {
    use records::Metadata;
    use store::postgres::Presence;

    use super::*;

    fn collection(id: u128, name: &str, dimension: usize) -> Collection {
        Collection {
            id: Uuid::from_u128(id),
            tenant: "default_tenant".into(),
            database: "default_database".into(),
            name: name.into(),
            space: DistanceSpace::Cosine,
            dimension: Some(dimension),
            metadata: Metadata::new(),
            configured: None,
            warnings: Vec::new(),
        }
    }

    fn placement(target: Target) -> Placement {
        let template = Table {
            name: String::new(),
            text_column: "document".into(),
            text: Presence::Optional,
            columns: Vec::new(),
            dimension: 0,
            space: DistanceSpace::L2,
            shared: None,
        };
        Placement { template, target }
    }

    fn names(target: Target, collections: &[Collection], taken: &[&str]) -> Vec<String> {
        let taken = taken.iter().map(|name| (*name).to_owned()).collect();
        let known = KnownTables { taken, ..KnownTables::default() };
        let tables = placement(target).tables(collections, &[], &known, |name| name == "runs");
        tables.into_iter().map(|table| table.name).collect()
    }

    #[test]
    fn every_collection_name_maps_to_a_unique_table_name() {
        let long = "web-search-".to_owned() + &"a".repeat(64);
        let all = [
            "docs",
            "docs",
            "Docs",
            "queries",
            "runs",
            "pg_class",
            "vector",
            "a b",
            "a_b",
            "",
            "日本語",
            "\"; drop table x",
            &long,
            "file-0a1b",
            "a.b-c_d",
        ];
        let collections: Vec<Collection> = (1..).zip(all).map(|(id, name)| collection(id, name, 3)).collect();
        let tables = names(Target::OwnTables, &collections, &["vector"]);
        assert_eq!(tables.iter().collect::<HashSet<_>>().len(), all.len(), "{tables:?}");
        for (table, name) in tables.iter().zip(all) {
            assert!((1..=MAX_NAME_BYTES).contains(&table.len()), "{table}");
            assert!(!table.starts_with("pg_") && table != "queries" && table != "runs" && table != "vector");
            assert!(
                table.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
                "{name}: {table}"
            );
        }
        for plain in ["docs", "Docs", "file-0a1b", "a.b-c_d", "a_b"] {
            assert!(tables.contains(&plain.to_owned()), "{plain}: {tables:?}");
        }
        let reversed: Vec<Collection> = collections.iter().rev().cloned().collect();
        let again = names(Target::OwnTables, &reversed, &["vector"]);
        let odd = |tables: &[String]| {
            tables.iter().filter(|name| name.starts_with("web")).cloned().collect::<Vec<_>>()
        };
        assert_eq!(odd(&tables), odd(&again), "a suffix does not depend on the others");
    }

    #[test]
    fn shared_tables_are_one_per_dimension_and_space() {
        let target = || Target::Shared { table: "chunks".into(), column: "collection_name".into() };
        let mut collections: Vec<Collection> =
            (1..=3).map(|id| collection(id, &format!("c{id}"), 384)).collect();
        collections.push(collection(4, "large", 1024));
        collections.push(Collection { space: DistanceSpace::L2, ..collection(5, "far", 384) });
        let tables = names(target(), &collections, &[]);
        assert_eq!(tables, ["chunks", "chunks", "chunks", "chunks_1024", "chunks_l2"]);
        let rows: HashSet<Uuid> = placement(target())
            .tables(&collections, &[], &KnownTables::default(), |_| false)
            .iter()
            .map(|table| table.row_id("1"))
            .collect();
        assert_eq!(rows.len(), collections.len(), "the same id in another collection is another row");
    }

    fn values(collections: &[Collection], known: &KnownTables) -> Vec<String> {
        let target = Target::Shared { table: "chunks".into(), column: "collection_name".into() };
        let tables = placement(target).tables(collections, &[], known, |_| false);
        tables.into_iter().filter_map(|table| Some(table.shared?.name)).collect()
    }

    #[test]
    fn no_two_collections_of_a_table_have_the_same_name_in_its_column_whichever_run_adds_them() {
        let of = |database: &str, id| Collection { database: database.into(), ..collection(id, "docs", 3) };
        let mut known = KnownTables::default();
        let mut add = |collection: &Collection| {
            let target = Target::Shared { table: "chunks".into(), column: "collection_name".into() };
            let tables = placement(target).tables(std::slice::from_ref(collection), &[], &known, |_| false);
            let table = tables.into_iter().next().expect("it has a table");
            let value = table.shared.as_ref().expect("it is shared").name.clone();
            known.registered.insert(collection.id, table);
            value
        };
        assert_eq!(add(&of("default_database", 1)), "docs");
        assert_eq!(add(&of("second", 2)), "default_tenant/second/docs");
        // It was deleted in the source, and created again.
        let again = of("second", 3);
        assert_eq!(add(&again), format!("default_tenant/second/docs ({})", again.id));
        assert_eq!(add(&of("default_database", 4)), "default_tenant/default_database/docs");
        for (id, value) in [(1, "docs"), (2, "default_tenant/second/docs")] {
            assert_eq!(add(&of("whatever", id)), value, "it keeps what its rows have");
        }
        let wide = collection(5, "docs", 4);
        assert_eq!(values(&[wide], &KnownTables::default()), ["docs"], "another table has other names");
    }

    #[test]
    fn same_names_are_distinguished_by_their_database() {
        let other = Collection { database: "second".into(), ..collection(2, "docs", 3) };
        let alone = Collection { database: "second".into(), ..collection(3, "notes", 3) };
        let all = [collection(1, "docs", 3), other, alone];
        assert_eq!(values(&all, &KnownTables::default()), ["docs", "default_tenant/second/docs", "notes"]);
    }
}
