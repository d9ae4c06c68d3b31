//! Tables for migrated records: those of the three services, and those created for other collections.

use std::{fmt, str::FromStr};

use records::{DistanceSpace, MODEL_DIMENSION, Service, stored_id};
use serde_json::{Value, json};
use uuid::Uuid;

/// A table with one row for each record of a collection, and the mapping from records to columns.
///
/// Its columns, in the order in which rows are copied: `id`, `source_id`, the text, the lifted columns, `metadata`,
/// `uri`, `created_at`, `embedding`, and the two of the migration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name, without a schema: it is found with the search path.
    pub name: String,
    /// The column of the document, or of the prompt or output that was embedded.
    pub text_column: String,
    /// Whether a row may lack the text.
    pub text: Presence,
    /// Columns that repeat a metadata key.
    pub columns: Vec<Column>,
    /// Components of each embedding.
    pub dimension: usize,
    /// The distance of its vector index.
    pub space: DistanceSpace,
    /// The collection, if several share the table.
    pub shared: Option<SharedTable>,
}

/// One of the collections that share a table. A column has the collection of each row, and row ids also depend on the
/// collection, so that equal ids of two collections are two rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedTable {
    /// The column with the name of a row's collection.
    pub column: String,
    /// The collection's id; nil for a table read from its definition, which covers all of its collections.
    pub id: Uuid,
    /// The value of the column; empty in the same case.
    pub name: String,
}

/// Whether a column takes NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// `not null`.
    Required,
    /// NULL where the record has none.
    Optional,
}

/// A column that repeats a metadata key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The metadata key.
    pub key: String,
    /// The column's name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// The value if the key is absent or its value has another type; `None` is NULL.
    pub default: Option<String>,
}

/// The type of a column that repeats a metadata key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `text`; a value that is not a string is written as JSON.
    Text,
    /// `bigint`.
    BigInt,
    /// `double precision`; accepts integers that it can represent exactly.
    Double,
    /// `boolean`.
    Boolean,
    /// `timestamp`, of a string in ISO 8601, in UTC.
    Timestamp,
}

/// An unknown type name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownColumnType(pub String);

/// A column of a table that is not among those of the migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedColumn {
    pub(crate) name: String,
    /// As `format_type` writes it.
    pub(crate) column_type: String,
    pub(crate) default_value: DefaultValue,
}

/// The value of a column to which nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DefaultValue {
    Null,
    /// The same in each row, by this expression.
    Constant(String),
    /// Computed by the server for each row, so that it cannot be distinguished from a value that a user wrote.
    Computed,
}

/// The columns of the migration itself: see the schema migration that creates them.
pub(crate) const BOOKKEEPING_COLUMNS: [(&str, &str); 2] =
    [("migration_run", "uuid"), ("migration_digest", "bytea")];

/// In a collection's definition, the value of the column that has the collection of a row.
const COLLECTION_NAME: &str = "collection_name";

impl Table {
    /// The table of `service`.
    pub fn of(service: Service) -> Self {
        let columns = service.own_keys().iter().map(|key| Column::required(key.name, key.default)).collect();
        Self {
            name: service.collection().to_owned(),
            text_column: service.text_column().to_owned(),
            text: Presence::Required,
            columns,
            dimension: MODEL_DIMENSION,
            space: DistanceSpace::Cosine,
            shared: None,
        }
    }

    /// The primary key of the record `source_id`.
    pub fn row_id(&self, source_id: &str) -> Uuid {
        match &self.shared {
            None => stored_id(source_id),
            Some(shared) => Uuid::new_v5(&shared.id, source_id.as_bytes()),
        }
    }

    /// The column of the category, such as theme or metric type; `None` for a table without it.
    pub fn category_column(&self) -> Option<&str> {
        self.columns.iter().find(|column| column.default.is_some()).map(|column| column.name.as_str())
    }

    /// The content columns, in the order in which they are copied and read back. The embedding is the last.
    pub(crate) fn content_columns(&self) -> Vec<&str> {
        let mut columns = vec!["id", "source_id", self.text_column.as_str()];
        columns.extend(self.shared.iter().map(|shared| shared.column.as_str()));
        columns.extend(self.columns.iter().map(|column| column.name.as_str()));
        columns.extend(["metadata", "uri", "created_at", "embedding"]);
        columns
    }

    /// All columns of a migrated row.
    pub(crate) fn all_columns(&self) -> Vec<&str> {
        let mut columns = self.content_columns();
        columns.extend(BOOKKEEPING_COLUMNS.map(|(name, _)| name));
        columns
    }

    /// Names and types of the content columns, as `format_type` writes them.
    pub(crate) fn column_types(&self) -> Vec<(&str, String)> {
        let mut types = vec![
            ("id", "uuid".to_owned()),
            ("source_id", "text".to_owned()),
            (self.text_column.as_str(), "text".to_owned()),
        ];
        types.extend(self.shared.iter().map(|shared| (shared.column.as_str(), "text".to_owned())));
        types.extend(
            self.columns
                .iter()
                .map(|column| (column.name.as_str(), column.column_type.sql_name().to_owned())),
        );
        types.extend([
            ("metadata", "jsonb".to_owned()),
            ("uri", "text".to_owned()),
            ("created_at", ColumnType::Timestamp.sql_name().to_owned()),
            ("embedding", format!("vector({})", self.dimension)),
        ]);
        types
    }

    /// The table as JSON, to be stored with a job.
    pub fn definition(&self) -> Value {
        let columns: Vec<Value> = self
            .columns
            .iter()
            .map(|column| {
                json!({
                    "key": column.key,
                    "name": column.name,
                    "type": column.column_type.as_str(),
                    "default": column.default,
                })
            })
            .collect();
        let mut definition = json!({
            "text_column": self.text_column,
            "text_required": self.text == Presence::Required,
            "columns": columns,
            "dimension": self.dimension,
            "space": self.space.as_str(),
        });
        // Only if there is one, since definitions are compared with those of earlier versions.
        if let Some(shared) = &self.shared {
            definition["collection_column"] = json!(shared.column);
        }
        definition
    }

    /// The [`definition`](Self::definition) with the collection of a shared table, for the registry of collections.
    pub(crate) fn collection_definition(&self) -> Value {
        let mut definition = self.definition();
        if let Some(shared) = &self.shared {
            definition[COLLECTION_NAME] = json!(shared.name);
        }
        definition
    }

    /// The table of collection `id` by its [`collection_definition`](Self::collection_definition).
    pub(crate) fn of_collection(id: Uuid, name: String, definition: &Value) -> Option<Self> {
        let mut table = Self::from_definition(name, definition)?;
        if let Some(shared) = &mut table.shared {
            shared.name = definition[COLLECTION_NAME].as_str()?.to_owned();
            shared.id = id;
        }
        Some(table)
    }

    /// The table of a [`definition`](Self::definition); `None` if it was written by a newer version.
    pub fn from_definition(name: String, definition: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let column = |column: &Value| {
            Some(Column {
                key: text(&column["key"])?,
                name: text(&column["name"])?,
                column_type: column["type"].as_str()?.parse().ok()?,
                default: text(&column["default"]),
            })
        };
        Some(Self {
            name,
            text_column: text(&definition["text_column"])?,
            text: if definition["text_required"].as_bool()? {
                Presence::Required
            } else {
                Presence::Optional
            },
            columns: definition["columns"].as_array()?.iter().map(column).collect::<Option<_>>()?,
            dimension: usize::try_from(definition["dimension"].as_u64()?).ok()?,
            space: DistanceSpace::from_chroma(definition["space"].as_str()?)?,
            shared: text(&definition["collection_column"]).map(|column| SharedTable {
                column,
                id: Uuid::nil(),
                name: String::new(),
            }),
        })
    }
}

impl Column {
    /// A `text not null` column that is named like its key.
    pub fn required(key: &str, default: &str) -> Self {
        Self {
            key: key.to_owned(),
            name: key.to_owned(),
            column_type: ColumnType::Text,
            default: Some(default.to_owned()),
        }
    }
}

impl ColumnType {
    const ALL: [Self; 5] = [Self::Text, Self::BigInt, Self::Double, Self::Boolean, Self::Timestamp];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::BigInt => "bigint",
            Self::Double => "double",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
        }
    }

    /// Its name in PostgreSQL.
    pub(crate) fn sql_name(self) -> &'static str {
        match self {
            Self::Double => "double precision",
            Self::Timestamp => "timestamp without time zone",
            Self::Text | Self::BigInt | Self::Boolean => self.as_str(),
        }
    }
}

impl FromStr for ColumnType {
    type Err = UnknownColumnType;

    fn from_str(name: &str) -> Result<Self, UnknownColumnType> {
        Self::ALL
            .into_iter()
            .find(|column_type| column_type.as_str() == name)
            .ok_or_else(|| UnknownColumnType(name.to_owned()))
    }
}

impl fmt::Display for UnknownColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = ColumnType::ALL.map(ColumnType::as_str).join(", ");
        write!(f, "unknown column type `{}`: expected one of {known}", self.0)
    }
}

impl std::error::Error for UnknownColumnType {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_read_back_from_its_definition() {
        for service in Service::ALL {
            let table = Table::of(service);
            assert_eq!(Table::from_definition(table.name.clone(), &table.definition()), Some(table));
        }
        let shared = SharedTable { column: "collection".into(), id: Uuid::nil(), name: String::new() };
        let shared = Table { shared: Some(shared), ..Table::of(Service::Query) };
        assert_eq!(Table::from_definition(shared.name.clone(), &shared.definition()), Some(shared.clone()));
        let id = Uuid::from_u128(7);
        let one = SharedTable { column: "collection".into(), id, name: "docs".to_owned() };
        let one = Table { shared: Some(one), ..shared };
        assert_eq!(Table::of_collection(id, one.name.clone(), &one.collection_definition()), Some(one));
        assert_eq!(Table::from_definition("t".into(), &json!({"text_column": "document"})), None);
    }
}
