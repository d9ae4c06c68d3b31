//! Values of the columns that repeat metadata keys.

use records::timestamp;
use serde_json::{Map, Value};

use crate::{
    postgres::{Column, ColumnType, Table},
    row::ColumnValue,
};

/// The value of each column of `table` that repeats a metadata key. A key that is absent, or whose value has another
/// type, gives the column's default.
pub(super) fn values(table: &Table, metadata: Option<&Map<String, Value>>) -> Vec<ColumnValue> {
    table.columns.iter().map(|column| value(column, metadata.and_then(|all| all.get(&column.key)))).collect()
}

fn value(column: &Column, value: Option<&Value>) -> ColumnValue {
    let found = match (column.column_type, value) {
        (_, None | Some(Value::Null)) => None,
        (ColumnType::Text, Some(Value::String(text))) => Some(ColumnValue::Text(text.clone())),
        (ColumnType::Text, Some(value)) => Some(ColumnValue::Text(value.to_string())),
        (ColumnType::BigInt, Some(value)) => value.as_i64().map(ColumnValue::BigInt),
        (ColumnType::Double, Some(value)) => value.as_f64().map(ColumnValue::Double),
        (ColumnType::Boolean, Some(value)) => value.as_bool().map(ColumnValue::Boolean),
        (ColumnType::Timestamp, Some(value)) => {
            value.as_str().and_then(timestamp::parse).map(ColumnValue::Timestamp)
        }
    };
    found.unwrap_or_else(|| column.default.clone().map_or(ColumnValue::Null, ColumnValue::Text))
}

/// The value as PostgreSQL reads it.
pub(super) fn as_text(value: &ColumnValue) -> Option<String> {
    match value {
        ColumnValue::Null => None,
        ColumnValue::Text(text) => Some(text.clone()),
        ColumnValue::BigInt(value) => Some(value.to_string()),
        ColumnValue::Double(value) => Some(value.to_string()),
        ColumnValue::Boolean(value) => Some(value.to_string()),
        ColumnValue::Timestamp(value) => Some(timestamp::format(*value)),
    }
}
