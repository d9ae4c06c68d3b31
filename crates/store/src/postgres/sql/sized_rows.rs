//! Records with their sizes: PostgreSQL knows the size of a text without reading it, so that texts which exceed the
//! limit of an answer are not read.

use super::{
    condition::{Bind, Binds},
    quoted,
    statement::{Statement, statement},
};
use crate::postgres::Table;

/// The rows of an answer.
pub(super) struct Rows<'a> {
    pub(super) table: &'a Table,
    /// The part before the statement, such as `with`.
    pub(super) with: String,
    /// The selection of the rows: the part of the statement from `from` on.
    pub(super) from: String,
    /// Additional columns.
    pub(super) others: &'a [&'a str],
    /// Names of columns.
    pub(super) order: &'a str,
}

impl Rows<'_> {
    // PostgreSQL sorts only once if the inner and outer statements have the same order.

    /// All rows, with the column `bytes`, which is about their total size. If it exceeds [`Statement::within`], texts
    /// and metadata are null.
    pub(super) fn or_none(self, mut binds: Binds) -> Statement {
        let most = binds.add(Bind::Whole(i64::MAX));
        let place = binds.0.len() - 1;
        let shown = self.shown(|column| format!("case when bytes <= {most} then {column} end"));
        let with_size = self.with_size(&format!("sum({}) over () as bytes", self.size()));
        let Self { with, order, .. } = self;
        let sql = format!(
            "{with}select {shown}, bytes
from (
{with_size}
    order by {order}
) weighed
order by {order}"
        );
        Statement { most_bytes: Some(place), ..statement(sql, binds) }
    }

    /// The first rows with about [`Statement::within`] bytes in total, at least one, with the column `page_rows`,
    /// which is the number of rows without this limit.
    pub(super) fn first(self, mut binds: Binds) -> Statement {
        let most = binds.add(Bind::Whole(i64::MAX));
        let place = binds.0.len() - 1;
        let shown = self.shown(str::to_owned);
        let with_size = self.with_size(&format!(
            "count(*) over () as page_rows, row_number() over ordered as place,
        sum({}) over (ordered rows unbounded preceding) as bytes",
            self.size()
        ));
        let Self { with, order, .. } = self;
        let sql = format!(
            "{with}select {shown}, page_rows
from (
{with_size}
    window ordered as (order by {order})
    order by {order}
) weighed
where bytes <= {most} or place = 1
order by {order}"
        );
        Statement { most_bytes: Some(place), ..statement(sql, binds) }
    }

    /// The columns of the answer; `heavy` gives the expression for those that may be large.
    fn shown(&self, heavy: impl Fn(&str) -> String) -> String {
        let (text, metadata) = (heavy(&quoted(&self.table.text_column)), heavy("metadata::text"));
        let (lifted, others) = (self.lifted(), self.others());
        format!("id, source_id, {text} as text{lifted}, {metadata} as metadata, created_at{others}")
    }

    /// The rows with the additional columns `measured`.
    fn with_size(&self, measured: &str) -> String {
        let (columns, others) = (kept_columns(self.table), self.others());
        let from = self.from.replace('\n', "\n        ");
        format!(
            "    select *, {measured}
    from (
        select {columns}{others}
        {from}
    ) page"
        )
    }

    /// Bytes of a row. For metadata it is the stored size, which may be compressed: the size of the text is not
    /// known.
    fn size(&self) -> String {
        let text = quoted(&self.table.text_column);
        format!("coalesce(octet_length({text}), 0) + coalesce(pg_column_size(metadata), 0)")
    }

    fn lifted(&self) -> String {
        lifted(self.table)
    }

    fn others(&self) -> String {
        self.others.iter().map(|column| format!(", {column}")).collect()
    }
}

/// The columns from which an answer is made.
pub(super) fn kept_columns(table: &Table) -> String {
    format!("id, source_id, {}{}, metadata, created_at", quoted(&table.text_column), lifted(table))
}

fn lifted(table: &Table) -> String {
    table.columns.iter().map(|column| format!(", {}", quoted(&column.name))).collect()
}
