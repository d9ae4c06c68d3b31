//! The statement that changes a record.

use records::{Embedding, Service};
use uuid::Uuid;

use super::{
    condition::{Bind, Binds},
    quoted,
    service::shown_columns,
    statement::{Statement, statement},
};
use crate::{postgres::Table, storage::kept_keys};

/// The values to write into a row; `None` leaves the value unchanged.
pub(crate) struct RowChange {
    pub(crate) text: Option<(String, Embedding)>,
    pub(crate) category: Option<String>,
    /// A JSON object: the user's own keys.
    pub(crate) metadata: Option<String>,
}

/// Updates the row with this key and returns the new row. The stored metadata are merged in PostgreSQL, so that
/// values which the update does not name keep all their digits.
pub(crate) fn update_record(service: Service, key: Uuid, change: RowChange) -> Statement {
    let RowChange { text, category, metadata } = change;
    let (table, category_column) = (&Table::of(service), service.category_key());
    let mut binds = Binds::default();
    let key = binds.add(Bind::Key(key));
    let mut changes = Vec::new();
    if let Some((text, embedding)) = text {
        changes.push(format!("{} = {}", quoted(&table.text_column), binds.add(Bind::Text(text))));
        let embedding = binds.add(Bind::Reals(embedding.as_slice().to_vec()));
        changes.push(format!("embedding = {embedding}::real[]::vector"));
    }
    // A value: Citus allows no function that makes JSON of texts within `case`.
    let set_category = category.map(|category| {
        let object = serde_json::json!({ category_column: category }).to_string();
        changes.push(format!("{} = {}", quoted(category_column), binds.add(Bind::Text(category))));
        format!("{}::jsonb", binds.add(Bind::Text(object)))
    });
    // Metadata that are not an object, which the old services may have stored, have no keys of the service.
    let object = "case when jsonb_typeof(metadata) = 'object' then metadata end";
    match (metadata, set_category) {
        (None, None) => {}
        (None, Some(category)) => changes.push(format!(
            "metadata = case
        when jsonb_typeof(metadata) = 'object' and metadata ? '{category_column}' then metadata || {category}
        else metadata
    end"
        )),
        (Some(metadata), category) => {
            let metadata = binds.add(Bind::Text(metadata));
            let own = binds.add(Bind::Texts(kept_keys(service).map(str::to_owned).collect()));
            let category = category.map_or_else(String::new, |category| format!(" || {category}"));
            changes.push(format!(
                "metadata = {metadata}::jsonb || coalesce((
        select jsonb_object_agg(key, value)
        from jsonb_each({object})
        where key = any({own})
    ), '{{}}'){category}"
            ));
        }
    }
    statement(
        format!(
            "update {name}
set {changes}
where id = {key}
returning {shown}",
            name = quoted(&table.name),
            changes = changes.join(",\n    "),
            shown = shown_columns(table),
        ),
        binds,
    )
}

#[cfg(test)]
mod tests {
    use expect_test::{ExpectFile, expect_file};

    use super::*;

    #[test]
    fn statements_are_the_golden_ones() {
        let update =
            |text: Option<&str>, category: Option<&str>, metadata: Option<&str>, expected: &ExpectFile| {
                let text = text.map(|text| (text.to_owned(), vec![1.0].into()));
                let (category, metadata) = (category.map(str::to_owned), metadata.map(str::to_owned));
                let change = RowChange { text, category, metadata };
                let statement = update_record(Service::Judge, Uuid::nil(), change);
                expected.assert_eq(&format!("{};\n", statement.sql.0));
            };
        update(Some("t"), Some("c"), Some("{}"), &expect_file!["golden/update_record.sql"]);
        update(None, Some("c"), None, &expect_file!["golden/update_category.sql"]);
        update(None, None, Some("{}"), &expect_file!["golden/update_metadata.sql"]);
    }
}
