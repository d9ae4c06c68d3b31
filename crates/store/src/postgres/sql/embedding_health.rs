//! Statements that check the embeddings of a table.

use super::{Sql, quoted, trusted};
use crate::postgres::Table;

/// Counts, on `$1` percent of the pages, all rows, those without a vector, with a zero vector, and with one of length
/// 1; then the least and greatest length except 0, and the rows that share their vector with another text.
///
/// Rows are grouped by a digest of the vector, since `vector` has no hash function and is fifty times as long; a row
/// without a vector has no digest. The least and the greatest hash of a group's texts differ if its texts do. `offset
/// 0` keeps the planner from grouping the vectors and texts themselves, which it would sort on disk: with 100,000
/// rows that took 3.9 s and 167 MB instead of 2.8 s and 14 MB.
pub(crate) fn embedding_health(table: &Table) -> Sql {
    let (name, text) = (quoted(&table.name), quoted(&table.text_column));
    trusted(format!(
        "select
    coalesce(sum(rows), 0)::bigint as rows,
    coalesce(sum(rows) filter (where digest is null), 0)::bigint as missing,
    coalesce(sum(rows) filter (where length = 0), 0)::bigint as zero,
    coalesce(sum(rows) filter (where abs(length - 1) <= 0.001), 0)::bigint as unit,
    min(length) filter (where length > 0) as shortest,
    max(length) filter (where length > 0) as longest,
    coalesce(sum(rows) filter (where length > 0 and least_text <> greatest_text), 0)::bigint as shared
from (
    select digest, count(*) as rows, min(length) as length, min(text) as least_text, max(text) as greatest_text
    from (
        select
            sha256(vector_send(embedding)) as digest,
            vector_norm(embedding) as length,
            hashtextextended(lower(left({text}, 200)), 0) as text
        from {name} tablesample system ($1)
        offset 0
    ) digests
    group by digest
) vectors"
    ))
}

/// Texts and embeddings of at most `$2` rows on `$1` percent of the pages; the same ones as long as the table does
/// not change.
pub(crate) fn sample_texts(table: &Table) -> Sql {
    let (name, text) = (quoted(&table.name), quoted(&table.text_column));
    trusted(format!(
        "select {text}, embedding::real[]
from {name} tablesample system ($1) repeatable (7)
where {text} is not null and embedding is not null
order by uuid_hash(id)
limit $2"
    ))
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;
    use records::Service;

    use super::*;

    #[test]
    fn statements_are_the_golden_ones() {
        let outputs = &Table::of(Service::Judge);
        expect_file!["golden/embedding_health.sql"].assert_eq(&format!("{};\n", embedding_health(outputs).0));
        expect_file!["golden/sample_texts.sql"].assert_eq(&format!("{};\n", sample_texts(outputs).0));
    }
}
