//! The collections of a directory and their segments (FORMAT §2).

use std::collections::{HashMap, HashSet};

use records::{Metadata, MetadataValue};
use rusqlite::{Row, types::ValueRef};
use uuid::Uuid;

use super::{
    seq_id,
    snapshot::Snapshot,
    space::{self, Declarations, Resolved},
    statements,
};
use crate::{
    collection::{Collection, Configured, DEFAULT_DATABASE, DEFAULT_TENANT, EmptyDatabase},
    error::Error,
    fields,
    hnsw::Shape,
    text,
    warning::{Warning, WarningCode},
};

const HNSW_TYPE: &str = "urn:chroma:segment/vector/hnsw-local-persisted";

/// A collection and its segments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredCollection {
    pub(crate) collection: Collection,
    /// The stored id, to which other tables refer.
    pub(crate) key: String,
    pub(crate) metadata_segment: Option<MetadataSegment>,
    pub(crate) vector_segment: Option<VectorSegment>,
    pub(crate) shape: Shape,
    /// Whether Chroma ≥ 1.0 created it.
    pub(crate) created_by_1_x: bool,
}

/// The segment with the records.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetadataSegment {
    pub(crate) key: Box<[u8]>,
    /// Sequence number of the last log row applied to it.
    pub(crate) mark: Option<i64>,
}

/// The segment with the index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VectorSegment {
    pub(crate) id: Uuid,
    /// Sequence number of the last flushed log row, from `max_seq_id`.
    pub(crate) mark: Option<i64>,
}

/// The catalog of collections.
pub(crate) struct Catalog {
    pub(crate) collections: Vec<StoredCollection>,
    /// Databases and tenants without any.
    pub(crate) empty_databases: Vec<EmptyDatabase>,
    pub(crate) warnings: Vec<Warning>,
}

/// The tables that `collections` refers to, by their keys.
struct Tables {
    tenants: Vec<String>,
    databases: Option<HashMap<String, (String, String)>>,
    segments: HashMap<String, Vec<SegmentRow>>,
    spaces: HashMap<String, String>,
    marks: HashMap<String, Result<i64, String>>,
    metadata: HashMap<String, Metadata>,
    /// Whether Chroma ≥ 1.0 created the directory.
    created_by_1_x: bool,
}

struct SegmentRow {
    id: String,
    kind: String,
    scope: String,
}

/// Reads all collections, ordered by tenant, database, name and id.
pub(crate) fn read(snapshot: &Snapshot) -> Result<Catalog, Error> {
    let mut tables = Tables::read(snapshot)?;
    let mut catalog = Catalog { collections: Vec::new(), empty_databases: Vec::new(), warnings: Vec::new() };
    let mut known = HashSet::new();
    each_row(snapshot, "the collections", &statements::collections(&snapshot.schema), |row| {
        let key = string(row, 0)?;
        match Uuid::try_parse(&key).ok().filter(|id| known.insert(*id)) {
            Some(id) => catalog.collections.push(tables.collection(id, key, row)?),
            None => catalog.warnings.push(Warning::new(
                WarningCode::CollectionUnreadable,
                format!(
                    "expected a unique UUID as the id of collection `{}`, found `{key}`; skipping the collection",
                    string(row, 1)?
                ),
            )),
        }
        Ok(())
    })?;
    catalog.collections.sort_by(|a, b| a.collection.cmp_names(&b.collection));
    let databases = tables.databases.iter().flatten();
    catalog.empty_databases = EmptyDatabase::of(
        tables.tenants.iter().map(String::as_str),
        databases.map(|(_, (name, tenant))| (tenant.as_str(), name.as_str())),
        catalog.collections.iter().map(|stored| &stored.collection),
    );
    Ok(catalog)
}

impl Tables {
    fn read(snapshot: &Snapshot) -> Result<Self, Error> {
        let mut databases = snapshot.schema.has_table("databases").then(HashMap::new);
        if let Some(databases) = &mut databases {
            each_row(snapshot, "the databases", statements::DATABASES, |row| {
                databases.insert(string(row, 0)?, (string(row, 1)?, string(row, 2)?));
                Ok(())
            })?;
        }
        let mut tenants = Vec::new();
        if snapshot.schema.has_column("tenants", "id") {
            each_row(snapshot, "the tenants", statements::TENANTS, |row| {
                tenants.push(string(row, 0)?);
                Ok(())
            })?;
        }
        let mut segments: HashMap<String, Vec<SegmentRow>> = HashMap::new();
        each_row(snapshot, "the segments", statements::SEGMENTS, |row| {
            let segment = SegmentRow { id: string(row, 1)?, kind: string(row, 2)?, scope: string(row, 3)? };
            segments.entry(string(row, 0)?).or_default().push(segment);
            Ok(())
        })?;
        let mut spaces = HashMap::new();
        each_row(snapshot, "the segments' settings", statements::SEGMENT_SPACES, |row| {
            // Not a condition of the statement: SQLite might then use an index, which a damaged file can make circular.
            if row.get_ref(2)? == ValueRef::Text(b"hnsw:space") {
                spaces.insert(string(row, 0)?, string(row, 1)?);
            }
            Ok(())
        })?;
        let mut marks = HashMap::new();
        each_row(snapshot, "the segments' marks", statements::MARKS, |row| {
            let mark = seq_id::decode(row.get_ref(1)?).map_err(|error| error.to_string());
            marks.insert(string(row, 0)?, mark);
            Ok(())
        })?;
        let mut metadata: HashMap<String, Metadata> = HashMap::new();
        let statement = statements::collection_metadata(&snapshot.schema);
        each_row(snapshot, "the collections' metadata", &statement, |row| {
            let cells = [row.get_ref(2)?, row.get_ref(3)?, row.get_ref(4)?, row.get_ref(5)?];
            if let Some(value) = fields::collection_value(cells) {
                metadata.entry(string(row, 0)?).or_default().insert(string(row, 1)?, value);
            }
            Ok(())
        })?;
        let mut created_by_1_x = false;
        if snapshot.schema.has_column("migrations", "dir") {
            // In all examined older versions, the log's migration is the first.
            each_row(snapshot, "the migrations", statements::FIRST_MIGRATION, |row| {
                created_by_1_x = string(row, 0)? == "sysdb";
                Ok(())
            })?;
        }
        Ok(Self { tenants, databases, segments, spaces, marks, metadata, created_by_1_x })
    }

    fn collection(&mut self, id: Uuid, key: String, row: &Row<'_>) -> rusqlite::Result<StoredCollection> {
        let mut warnings = Vec::new();
        let name = string(row, 1)?;
        if std::str::from_utf8(&bytes(row, 1)?).is_err() {
            let message = format!("the name of the collection is not UTF-8, shown as `{name}`");
            warnings.push(Warning::new(WarningCode::NameNotUtf8, message));
        }
        let (database, tenant) = self.database(&string(row, 3)?, &mut warnings);
        let segments = self.segments.remove(&key).unwrap_or_default();
        let vector_row = only(&segments, "VECTOR", &mut warnings);
        let metadata_row = only(&segments, "METADATA", &mut warnings);
        let metadata = self.metadata.remove(&key).unwrap_or_default();
        let (configuration, schema) = (optional_string(row, 4)?, optional_string(row, 5)?);
        let declarations = Declarations {
            segment: vector_row.and_then(|segment| self.spaces.get(&segment.id)).map(String::as_str),
            schema: schema.as_deref(),
            configuration: configuration.as_deref(),
            collection: match metadata.get("hnsw:space") {
                Some(MetadataValue::Text(space)) => Some(space),
                _ => None,
            },
        };
        let Resolved { space, normalisation, has_schema } = space::resolve(declarations, &mut warnings);
        let vector_segment = vector_row.and_then(|segment| self.vector_segment(segment, &mut warnings));
        let metadata_segment = metadata_row.map(|segment| MetadataSegment {
            key: segment.id.as_bytes().into(),
            mark: self.mark(&segment.id, "METADATA", &mut warnings),
        });
        let dimension = match row.get_ref(2)? {
            ValueRef::Integer(dimension) => usize::try_from(dimension).ok(),
            _ => None,
        };
        let shape = Shape { normalisation, dimension };
        let created_by_1_x = has_schema || self.created_by_1_x;
        let configured = Some(Configured { configuration, schema });
        let collection =
            Collection { id, tenant, database, name, space, dimension, metadata, configured, warnings };
        Ok(StoredCollection { collection, key, metadata_segment, vector_segment, shape, created_by_1_x })
    }

    fn database(&self, id: &str, warnings: &mut Vec<Warning>) -> (String, String) {
        match self.databases.as_ref().map(|databases| databases.get(id)) {
            None => (DEFAULT_DATABASE.to_owned(), DEFAULT_TENANT.to_owned()),
            Some(Some(database)) => database.clone(),
            Some(None) => {
                let message = format!("its database `{id}` is not in `databases`; using the id as its name");
                warnings.push(Warning::new(WarningCode::DatabaseUnknown, message));
                (id.to_owned(), DEFAULT_TENANT.to_owned())
            }
        }
    }

    fn vector_segment(&self, segment: &SegmentRow, warnings: &mut Vec<Warning>) -> Option<VectorSegment> {
        // The id is used as a directory name, so only a UUID in Chroma's format is accepted.
        let id = Uuid::try_parse(&segment.id).ok().filter(|id| id.hyphenated().to_string() == segment.id);
        if id.is_none() {
            let message =
                format!("expected the id of its VECTOR segment to be a UUID, found `{}`", segment.id);
            warnings.push(Warning::new(WarningCode::SegmentMissing, message));
        }
        Some(VectorSegment { id: id?, mark: self.mark(&segment.id, "VECTOR", warnings) })
    }

    fn mark(&self, segment: &str, scope: &str, warnings: &mut Vec<Warning>) -> Option<i64> {
        match self.marks.get(segment)? {
            Ok(mark) => Some(*mark),
            Err(error) => {
                let message = format!("ignoring `max_seq_id` of its {scope} segment: {error}");
                warnings.push(Warning::new(WarningCode::MarkUnreadable, message));
                None
            }
        }
    }
}

/// The segment of a scope. A healthy collection has exactly one.
fn only<'s>(segments: &'s [SegmentRow], scope: &str, warnings: &mut Vec<Warning>) -> Option<&'s SegmentRow> {
    let of_scope = || segments.iter().filter(|segment| segment.scope == scope);
    let chosen = of_scope().find(|segment| segment.kind == HNSW_TYPE).or_else(|| of_scope().next());
    match (chosen, of_scope().count()) {
        (None, _) => {
            let message = format!("it has no {scope} segment, as after a failed create_collection");
            warnings.push(Warning::new(WarningCode::SegmentMissing, message));
        }
        (Some(segment), 2..) => {
            let message = format!("it has more than one {scope} segment; reading `{}`", segment.id);
            warnings.push(Warning::new(WarningCode::SegmentAmbiguous, message));
        }
        _ => {}
    }
    chosen
}

/// Executes a statement without parameters.
fn each_row(
    snapshot: &Snapshot,
    subject: &'static str,
    sql: &str,
    mut visit: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), Error> {
    let mut run = || {
        let mut statement = snapshot.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut row_limit = snapshot.row_limit();
        while let Some(row) = rows.next()? {
            row_limit.count()?;
            visit(row)?;
        }
        Ok(())
    };
    run().map_err(snapshot.error(subject))
}

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        ValueRef::Integer(number) => number.to_string().into_bytes(),
        ValueRef::Real(number) => number.to_string().into_bytes(),
        ValueRef::Null => Vec::new(),
    })
}

fn string(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(text::decode_owned(bytes(row, column)?).text)
}

fn optional_string(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(if row.get_ref(column)? == ValueRef::Null { None } else { Some(string(row, column)?) })
}
