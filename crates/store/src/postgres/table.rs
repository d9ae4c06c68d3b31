//! Tables that hold migrated records: the three services', and those made for any other collection.

use std::{fmt, str::FromStr};

use records::{DistanceSpace, MODEL_DIMENSION, Service, stored_id};
use serde_json::{Value, json};
use uuid::Uuid;

/// A table with one row for each record of a collection, and what of a record goes into which of its columns.
///
/// Its columns, in the order in which rows are copied: `id`, `source_id`, the text, the lifted columns, `metadata`,
/// `uri`, `created_at`, `embedding`, and the two of the migration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name, without a schema: the first of the search path that has it.
    pub name: String,
    /// The column of the document, or of the prompt or output that was embedded.
    pub text_column: String,
    /// Whether a row may lack the text.
    pub text: Presence,
    /// Columns that repeat a metadata key.
    pub columns: Vec<Column>,
    /// Components of each embedding.
    pub dimension: usize,
    /// What its vector index serves.
    pub space: DistanceSpace,
    /// The collection whose rows are meant, where several share the table.
    pub shared: Option<SharedTable>,
}

/// One of the collections that share a table. A column says of each row which collection it is of, and ids of rows
/// follow from the collection too, so that equal ids of two collections are two rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedTable {
    /// The column with the name of a row's collection.
    pub column: String,
    /// The collection's id; nil of a table read from its definition, which is all of theirs.
    pub id: Uuid,
    /// What the column says of its rows; empty in the same case.
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
    /// What is written where the key is absent or its value is of another type; `None` is NULL.
    pub default: Option<String>,
}

/// The type of a column that repeats a metadata key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `text`; a value that is no string is written as JSON writes it.
    Text,
    /// `bigint`.
    BigInt,
    /// `double precision`; takes integers that it can hold exactly.
    Double,
    /// `boolean`.
    Boolean,
    /// `timestamp`, of a string in ISO 8601, in UTC.
    Timestamp,
}

/// A type name that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownColumnType(pub String);

/// Columns that a table has beside those of the record: see the migration that makes them.
pub(crate) const BOOKKEEPING_COLUMNS: [(&str, &str); 2] =
    [("migration_run", "uuid"), ("migration_digest", "bytea")];

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

    /// Theme, metric type, or whatever else was named as the category; `None` when nothing was.
    pub fn category_column(&self) -> Option<&str> {
        self.columns.iter().find(|column| column.default.is_some()).map(|column| column.name.as_str())
    }

    /// The columns that hold what the record is, in the order in which they are copied and read back. The embedding
    /// is the last.
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

    /// The table as JSON, to be kept with what was done to it.
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
        // Only where there is one: definitions of earlier versions are compared with.
        if let Some(shared) = &self.shared {
            definition["collection_column"] = json!(shared.column);
        }
        definition
    }

    /// The table that [`definition`](Self::definition) described; `None` if it is of a newer version.
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
    fn table_survives_its_definition() {
        for service in Service::ALL {
            let table = Table::of(service);
            assert_eq!(Table::from_definition(table.name.clone(), &table.definition()), Some(table));
        }
        let shared = SharedTable { column: "collection".into(), id: Uuid::nil(), name: String::new() };
        let shared = Table { shared: Some(shared), ..Table::of(Service::Query) };
        assert_eq!(Table::from_definition(shared.name.clone(), &shared.definition()), Some(shared));
        assert_eq!(Table::from_definition("t".into(), &json!({"text_column": "document"})), None);
    }
}
