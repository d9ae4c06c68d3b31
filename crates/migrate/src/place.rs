//! Which table a collection goes into when many are migrated at once. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use chroma::Collection;
use records::{DistanceSpace, MODEL_DIMENSION, Service, without_nul};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::postgres::{
    SharedTable, Table,
    jobs::{Job, JobStatus},
};
use uuid::Uuid;

/// Longer names are cut by PostgreSQL without a word.
pub(crate) const MAX_NAME_BYTES: usize = 63;
/// Characters of a suffix that tells two names apart; where that is not enough, all of them.
const SUFFIX_CHARS: [usize; 2] = [12, 32];

/// Where collections go.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// The table of each, but for its name, dimension and space.
    pub template: Table,
    /// Whether each has a table of its own.
    pub target: Target,
}

/// Whether each collection has a table of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// It has, named after it.
    OwnTables,
    /// They share one for each dimension and space.
    Shared {
        /// The name of the first; further ones have a suffix.
        table: String,
        /// The column with the name of a row's collection.
        column: String,
    },
}

/// Names that no collection may have its table by.
pub type IsReserved = fn(&str) -> bool;

impl Placement {
    /// What the same command has the same of.
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

    /// The names that may be wanted for `collections`, to be looked up.
    pub(crate) fn wanted_names(&self, collections: &[Collection]) -> Vec<String> {
        match &self.target {
            Target::OwnTables => collections.iter().flat_map(candidates).collect(),
            Target::Shared { .. } => Vec::new(),
        }
    }

    /// The table of each of `collections`, given what earlier `jobs` have brought and which names are taken.
    pub(crate) fn tables(
        &self,
        collections: &[Collection],
        jobs: &[Job],
        taken: &HashSet<String>,
        is_reserved: IsReserved,
    ) -> Vec<Table> {
        let standing: Vec<&Job> = jobs.iter().filter(|job| job.status != JobStatus::Undone).collect();
        match &self.target {
            Target::OwnTables => self.own_tables(collections, &standing, taken, is_reserved),
            Target::Shared { table, column } => self.shared_tables(collections, &standing, table, column),
        }
    }

    fn own_tables(
        &self,
        collections: &[Collection],
        standing: &[&Job],
        taken: &HashSet<String>,
        is_reserved: IsReserved,
    ) -> Vec<Table> {
        let mut brought: HashMap<Uuid, Vec<&Job>> = HashMap::new();
        for job in standing {
            brought.entry(job.origin.collection_id).or_default().push(job);
        }
        let mut used: HashSet<String> = standing.iter().map(|job| job.table_name.clone()).collect();
        let own = |collection: &Collection| {
            let definition = self.table(collection, String::new()).definition();
            let jobs = brought.get(&collection.id)?.iter();
            jobs.filter(|job| job.definition == definition).map(|job| job.table_name.clone()).next_back()
        };
        let name = |collection: &Collection| {
            if let Some(name) = own(collection) {
                return name;
            }
            let is_free = |name: &String| !used.contains(name) && !taken.contains(name) && !is_reserved(name);
            let mut names = candidates(collection);
            // The last has 128 bits of the id's digest: nothing else is named so.
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
        base: &str,
        column: &str,
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
            // Of several, the smallest.
            counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(key, _)| key)
        };
        let (dimension, space) =
            first.or_else(most_frequent).unwrap_or((MODEL_DIMENSION, DistanceSpace::L2.as_str()));
        let values = shared_names(collections);
        let table = |(collection, value): (&Collection, String)| {
            let (own_dimension, own_space) = key(collection);
            let mut name = base.to_owned();
            if own_dimension != dimension {
                name = format!("{name}_{own_dimension}");
            }
            if own_space != space {
                name = format!("{name}_{own_space}");
            }
            let shared = SharedTable { column: column.to_owned(), id: collection.id, name: value };
            Table { shared: Some(shared), ..self.table(collection, name) }
        };
        collections.iter().zip(values).map(table).collect()
    }

    fn table(&self, collection: &Collection, name: String) -> Table {
        Table {
            name,
            // Of an empty collection it is not known, and does not matter.
            dimension: collection.dimension.unwrap_or(MODEL_DIMENSION),
            space: collection.space,
            ..self.template.clone()
        }
    }
}

/// What a row of a shared table says of its collection: the name, after tenant and database where another of the
/// collections has the same and this one is not where collections are by default.
fn shared_names(collections: &[Collection]) -> Vec<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for collection in collections {
        *counts.entry(&collection.name).or_default() += 1;
    }
    let value = |collection: &Collection| {
        let Collection { tenant, database, name, .. } = collection;
        let is_default = tenant == chroma::DEFAULT_TENANT && database == chroma::DEFAULT_DATABASE;
        let is_alone = counts.get(name.as_str()).is_none_or(|count| *count == 1);
        let value = if is_default || is_alone { name.clone() } else { format!("{tenant}/{database}/{name}") };
        // No text of PostgreSQL has one, and no Chroma that checks names.
        without_nul(&value).into_owned()
    };
    collections.iter().map(value).collect()
}

/// The names that a collection's table may have, best first: its own if PostgreSQL and a shell take it as it is; else,
/// or if it is taken, what is left of it and a digest of the collection's id, which is the same wherever it is.
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
        // PostgreSQL's own tables are found first.
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
        let tables = placement(target).tables(collections, &[], &taken, |name| name == "runs");
        tables.into_iter().map(|table| table.name).collect()
    }

    #[test]
    fn every_name_becomes_a_table_of_its_own() {
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
    fn shared_tables_are_one_for_each_dimension() {
        let target = || Target::Shared { table: "chunks".into(), column: "collection_name".into() };
        let mut collections: Vec<Collection> =
            (1..=3).map(|id| collection(id, &format!("c{id}"), 384)).collect();
        collections.push(collection(4, "large", 1024));
        collections.push(Collection { space: DistanceSpace::L2, ..collection(5, "far", 384) });
        let tables = names(target(), &collections, &[]);
        assert_eq!(tables, ["chunks", "chunks", "chunks", "chunks_1024", "chunks_l2"]);
        let rows: HashSet<Uuid> = placement(target())
            .tables(&collections, &[], &HashSet::new(), |_| false)
            .iter()
            .map(|table| table.row_id("1"))
            .collect();
        assert_eq!(rows.len(), collections.len(), "the same id in another collection is another row");
    }

    #[test]
    fn same_names_are_told_apart_by_their_database() {
        let other = Collection { database: "second".into(), ..collection(2, "docs", 3) };
        let alone = Collection { database: "second".into(), ..collection(3, "notes", 3) };
        let all = [collection(1, "docs", 3), other, alone];
        assert_eq!(shared_names(&all), ["docs", "default_tenant/second/docs", "notes"]);
    }
}
