//! `chroma-collections.parquet`: one row for each collection (FORMAT §13).

use std::{collections::HashSet, fs::File, path::Path};

use records::{DistanceSpace, Metadata, MetadataValue};
use uuid::Uuid;

use super::{file::ParquetFile, pages::Use};
use crate::{
    collection::{Collection, DEFAULT_DATABASE, DEFAULT_TENANT},
    error::Error,
    fields::Fields,
    text,
    warning::{Warning, WarningCode},
};

pub(crate) const COLLECTIONS: &str = "chroma-collections.parquet";

/// Collections read at once.
const COLLECTIONS_PER_BATCH: u64 = 64;

/// A collection and the stored id to which records refer.
pub(super) struct StoredCollection {
    pub(super) collection: Collection,
    /// The stored id, to which records refer.
    pub(super) key: Box<[u8]>,
}

/// The collections, ordered by name and id, and their file.
pub(super) struct Catalog {
    pub(super) collections: Vec<StoredCollection>,
    pub(super) warnings: Vec<Warning>,
    pub(super) file: ParquetFile,
}

/// One stored row.
struct Row {
    key: Box<[u8]>,
    name: Box<[u8]>,
    metadata: Option<Box<[u8]>>,
}

/// Reads all collections; `None` if there is no such file.
pub(super) fn read(root: &File, directory: &Path) -> Result<Option<Catalog>, Error> {
    let Some(file) = ParquetFile::open(root, directory, COLLECTIONS, Use::Kept)? else { return Ok(None) };
    let rows = read_rows(&file)?;
    let mut catalog = Catalog { collections: Vec::new(), warnings: Vec::new(), file };
    let mut known = HashSet::new();
    for row in rows {
        let key = String::from_utf8_lossy(&row.key);
        match Uuid::try_parse(&key).ok().filter(|id| known.insert(*id)) {
            Some(id) => catalog.collections.push(stored(id, row)),
            None => {
                let name = String::from_utf8_lossy(&row.name);
                let message = format!(
                    "expected a unique UUID as the id of collection `{name}`, found `{key}`; skipping the collection"
                );
                catalog.warnings.push(Warning::new(WarningCode::CollectionUnreadable, message));
            }
        }
    }
    catalog.collections.sort_by(|a, b| a.collection.cmp_names(&b.collection));
    Ok(Some(catalog))
}

fn read_rows(file: &ParquetFile) -> Result<Vec<Row>, Error> {
    let columns = [file.texts("uuid")?, file.texts("name")?, file.texts("metadata")?];
    file.decode("the collections", || {
        let mut rows = Vec::new();
        for (group, count) in file.row_groups().enumerate() {
            let [key, name, metadata] = columns;
            let mut key = file.open_texts(group, key)?;
            let mut name = file.open_texts(group, name)?;
            let mut metadata = file.open_texts(group, metadata)?;
            let mut first = 0;
            while first < count {
                let batch = (count - first).min(COLLECTIONS_PER_BATCH);
                for column in [&mut key, &mut name, &mut metadata] {
                    column.read(first, batch as usize)?;
                }
                let texts = key.texts().zip(name.texts()).zip(metadata.texts());
                // A null key is an invalid UUID, and a null name is empty; both are reported.
                rows.extend(texts.map(|((key, name), metadata)| Row {
                    key: key.unwrap_or_default().into(),
                    name: name.unwrap_or_default().into(),
                    metadata: metadata.map(Into::into),
                }));
                first += batch;
            }
        }
        Ok(rows)
    })
}

/// A collection known only from its records; `None` if their owner is not a UUID.
pub(super) fn from_records(key: &[u8]) -> Option<StoredCollection> {
    let id = Uuid::try_parse_ascii(key).ok()?;
    let row = Row { key: key.into(), name: key.into(), metadata: None };
    let mut stored = stored(id, row);
    let message = "its entry is lost; using its id as its name, and its distance space is unknown";
    stored.collection.warnings.push(Warning::new(WarningCode::CollectionsLost, message));
    Some(stored)
}

fn stored(id: Uuid, row: Row) -> StoredCollection {
    let mut warnings = Vec::new();
    let text::Decoded { text: name, original } = text::decode(&row.name);
    if original.is_some() {
        let message = format!("the name of the collection is not UTF-8, shown as `{name}`");
        warnings.push(Warning::new(WarningCode::NameNotUtf8, message));
    }
    let metadata = metadata(row.metadata.as_deref(), &mut warnings);
    let space = space(&metadata, &mut warnings);
    let collection = Collection {
        id,
        tenant: DEFAULT_TENANT.to_owned(),
        database: DEFAULT_DATABASE.to_owned(),
        name,
        space,
        dimension: None,
        metadata,
        configured: None,
        warnings,
    };
    StoredCollection { collection, key: row.key }
}

fn metadata(json: Option<&[u8]>, warnings: &mut Vec<Warning>) -> Metadata {
    let mut fields = Fields::default();
    if let Some(json) = json {
        fields.set_user_metadata(json);
    }
    if fields.lost_values > 0 {
        let message = format!("{} keys of the collection's metadata have the value null", fields.lost_values);
        warnings.push(Warning::new(WarningCode::MetadataValueLost, message));
    }
    for problem in fields.problems {
        let message = format!(
            "the collection's metadata has a value that cannot be represented ({:?}, {:?}): `{}`",
            problem.field,
            problem.kind,
            problem.original.escape_ascii()
        );
        warnings.push(Warning::new(WarningCode::ConfigurationUnreadable, message));
    }
    fields.metadata
}

/// The space in Chroma 0.3, which depends only on the collection's metadata.
fn space(metadata: &Metadata, warnings: &mut Vec<Warning>) -> DistanceSpace {
    let Some(declared) = metadata.get("hnsw:space") else { return DistanceSpace::L2 };
    let found = match declared {
        MetadataValue::Text(name) => name.clone(),
        other => format!("{other:?}"),
    };
    DistanceSpace::from_chroma(&found).unwrap_or_else(|| {
        let message = format!(
            "expected `hnsw:space` in the collection's metadata to be l2, cosine or ip, found `{found}`; ignoring it"
        );
        warnings.push(Warning::new(WarningCode::SpaceUnknown, message));
        DistanceSpace::L2
    })
}
