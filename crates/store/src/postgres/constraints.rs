//! Checks the constraints and defaults of a table, so that rows can be written, found by their key and read back.

use sqlx::{PgConnection, postgres::types::Oid};

use super::{sql::quoted, unnamed::on};
use crate::{Error, postgres::error::StatementContext as _};

/// The requirements for a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs {
    /// The key columns, if any: a unique index has exactly these, and none allows NULL.
    pub(super) key: Vec<String>,
    /// Columns that must not allow NULL.
    pub(super) required: Vec<String>,
    /// Columns that our statements leave to their default, with the default.
    pub(super) defaulted: Vec<(String, String)>,
    /// All columns that our statements write; empty if no rows are written. Other columns must not need a value.
    pub(super) known: Vec<String>,
}

/// Checks the table `name`, which is `oid`.
///
/// # Errors
/// [`Error::Schema`], with the statement that adds what is missing.
pub(super) async fn check(
    connection: &mut PgConnection,
    (name, oid): (&str, Oid),
    needs: &Needs,
) -> Result<(), Error> {
    let defaulted: Vec<String> = needs.defaulted.iter().map(|(column, _)| column.clone()).collect();
    let required = [needs.key.as_slice(), &needs.required].concat();
    let found = sqlx::query!(
        r#"
        with columns as (
            select
                attribute.attnum,
                attribute.attname::text as name,
                attribute.attnotnull as is_required,
                attribute.atthasdef or attribute.attidentity <> '' or type.typdefault is not null as has_default
            from pg_attribute attribute
            join pg_type type on type.oid = attribute.atttypid
            where attribute.attrelid = $1 and attribute.attnum > 0 and not attribute.attisdropped
        )
        select
            exists (
                select
                from pg_index index
                where index.indrelid = $1
                    and index.indisunique
                    and index.indisvalid
                    and index.indimmediate
                    and index.indpred is null
                    and index.indexprs is null
                    and array(
                        select columns.name
                        from unnest(index.indkey::int2[]) with ordinality as part (attnum, place)
                        join columns on columns.attnum = part.attnum
                        where part.place <= index.indnkeyatts
                        order by columns.name collate "C"
                    ) = array(select name from unnest($2::text[]) as name order by name collate "C")
            ) as "has_key!",
            array(
                select name from columns where name = any($3::text[]) and not is_required order by attnum
            ) as "nullable!",
            array(
                select name from columns where name = any($4::text[]) and not has_default order by attnum
            ) as "without_default!",
            array(
                select name
                from columns
                where cardinality($5::text[]) > 0 and name <> all($5::text[]) and is_required and not has_default
                order by attnum
            ) as "unknown!"
        "#,
        oid,
        &needs.key,
        &required,
        &defaulted,
        &needs.known
    )
    .fetch_one(on(connection))
    .await
    .during("read the constraints of a table")?;
    let mut problems = Vec::new();
    let mut add = |what: String, change: String| {
        problems.push(format!("{what}: run `alter table {} {change}`", quoted(name)));
    };
    let is_key = |column: &String| needs.key.contains(column);
    if !found.has_key && !needs.key.is_empty() {
        let columns: Vec<String> = needs.key.iter().map(|column| quoted(column)).collect();
        let columns = columns.join(", ");
        add(format!("it has no primary key on {columns}"), format!("add primary key ({columns})"));
    }
    // A primary key makes its columns `not null`.
    for column in found.nullable.iter().filter(|column| found.has_key || !is_key(column)) {
        add(
            format!("column `{column}` allows NULL"),
            format!("alter column {} set not null", quoted(column)),
        );
    }
    for (column, default) in
        needs.defaulted.iter().filter(|(column, _)| found.without_default.contains(column))
    {
        let change = format!("alter column {} set default {default}", quoted(column));
        add(format!("column `{column}` has no default"), change);
    }
    for column in &found.unknown {
        let what =
            format!("column `{column}`, which Panopticon does not know, is `not null` and has no default");
        add(what, format!("alter column {} drop not null", quoted(column)));
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Schema { table: name.to_owned(), problems }) }
}
