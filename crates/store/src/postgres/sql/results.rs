//! Statements that read `evaluation_results`.

use records::MAX_LABEL_BYTES;

use super::{
    condition::{Bind, Binds, MetadataSource, equals, metadata_condition},
    service::filter,
    statement::{Statement, statement},
};
use crate::postgres::result_selection::{ResultCursor, ResultSelection};

/// The metadata as JSONB; NULL if JSONB cannot hold them.
pub(super) const METADATA: &str = "panopticon_metadata(result_metadata)";
/// The run of a result, truncated to the length of a run's id.
pub(super) const RUN: &str = "left(panopticon_metadata(result_metadata) ->> 'run_id', 36)";
/// The fingerprint of a judgement.
pub(super) const FINGERPRINT: &str = "panopticon_metadata(result_metadata) ->> 'fingerprint'";

const NEWEST_FIRST: &str = r#"order by "timestamp" desc nulls last, id desc"#;

/// The columns of a result.
const COLUMNS: &str =
    "id, query_id, query_text, output_text, model_id, theme, evaluation_prompt_id, evaluation_prompt,
    score, judge_model, \"timestamp\", result_metadata::text as result_metadata";

/// The page of the selected results.
#[derive(Clone, Debug)]
pub(crate) enum Part<'p> {
    /// All results, after skipping this many.
    From(u64),
    /// Those after a cursor; for a cursor without a time, only those without a time.
    After(&'p ResultCursor),
    /// Those without a time, which are listed last.
    Timeless,
}

/// Up to `limit` of the selected results, newest first.
pub(crate) fn list_results(selection: &ResultSelection, part: &Part<'_>, limit: u32) -> Statement {
    let mut binds = Binds::default();
    let mut conditions = conditions(selection, &mut binds);
    let mut offset = String::new();
    match part {
        Part::From(0) => {}
        Part::From(results) => {
            // More than any table has.
            let results = i64::try_from(*results).unwrap_or(i64::MAX);
            offset = format!("\noffset {}", binds.add(Bind::Whole(results)));
        }
        Part::After(ResultCursor { timestamp: Some(timestamp), id }) => conditions.push(format!(
            r#"("timestamp", id) < ({}, {})"#,
            binds.add(Bind::Time(*timestamp)),
            binds.add(Bind::Text(id.clone()))
        )),
        Part::After(ResultCursor { timestamp: None, id }) => {
            conditions.push(r#""timestamp" is null"#.to_owned());
            conditions.push(format!("id < {}", binds.add(Bind::Text(id.clone()))));
        }
        Part::Timeless => conditions.push(r#""timestamp" is null"#.to_owned()),
    }
    let filter = filter(&conditions);
    let limit = binds.add(Bind::Whole(limit.into()));
    statement(
        format!(
            "select {COLUMNS}
from evaluation_results{filter}
{NEWEST_FIRST}
limit {limit}{offset}"
        ),
        binds,
    )
}

/// How many results are selected.
pub(crate) fn count_results(selection: &ResultSelection) -> Statement {
    let mut binds = Binds::default();
    let filter = filter(&conditions(selection, &mut binds));
    statement(
        format!(
            "select count(*)
from evaluation_results{filter}"
        ),
        binds,
    )
}

/// The columns of the selected results that statistics need, in no particular order.
///
/// The inner limit is an optimization fence: without it the metadata would be parsed again for each key.
pub(crate) fn read_judgements(selection: &ResultSelection) -> Statement {
    let mut binds = Binds::default();
    let filter = filter(&conditions(selection, &mut binds));
    let status = status("metadata");
    let columns = ["query_id", "model_id", "theme", "evaluation_prompt_id", "judge_model"];
    let [query_id, model_id, theme, evaluation_prompt_id, judge_model] =
        columns.map(|column| format!("{} as {column}", name(column)));
    let [run_id, repeat, opponent] = ["run_id", "repeat", "opponent"].map(|key| {
        let key_of_metadata = format!("(metadata ->> '{key}')");
        format!("{} as {key}", name(&key_of_metadata))
    });
    statement(
        format!(
            r#"select {query_id},
    substring(sha256(convert_to(query_text, 'UTF8')) for 16) as query_digest,
    {model_id},
    {theme},
    {evaluation_prompt_id},
    {judge_model},
    score, {status} as status,
    {run_id},
    {repeat},
    coalesce(metadata -> 'out_of_range' = 'true', false) as out_of_range,
    coalesce(metadata -> 'mode' = '"pairwise"', false) as is_pairwise,
    {opponent},
    coalesce(metadata -> 'swapped' = 'true', false) as swapped,
    metadata ->> 'winner' as winner,
    "timestamp"
from (
    select query_id, query_text, model_id, theme, evaluation_prompt_id, judge_model, score, "timestamp",
        {METADATA} as metadata
    from evaluation_results{filter}
    offset 0
) selected"#
        ),
        binds,
    )
}

/// Up to `limit` of the selected results with an answer that people can label, after the id `after`, in the order of ids:
/// one with the name of its model and, if it compares two answers, of the other model, none of them too long for a label.
pub(crate) fn list_judged_items(selection: &ResultSelection, after: Option<&str>, limit: u32) -> Statement {
    let mut binds = Binds::default();
    let mut conditions = conditions(selection, &mut binds);
    conditions.extend(["output_text is not null", "model_id is not null"].map(str::to_owned));
    let columns = ["query_id", "model_id", "evaluation_prompt_id"];
    conditions
        .extend(columns.map(|column| format!("coalesce(octet_length({column}), 0) <= {MAX_LABEL_BYTES}")));
    conditions.push("(query_id is not null or query_text is not null)".to_owned());
    if let Some(after) = after {
        conditions.push(format!("id > {}", binds.add(Bind::Text(after.to_owned()))));
    }
    let filter = filter(&conditions);
    let limit = binds.add(Bind::Whole(limit.into()));
    statement(
        format!(
            r#"select id, query_id,
    case when query_id is null then substring(sha256(convert_to(query_text, 'UTF8')) for 16) end as query_digest,
    model_id, evaluation_prompt_id,
    coalesce(metadata -> 'mode' = '"pairwise"', false) as is_pairwise,
    case when octet_length(metadata ->> 'opponent') <= {MAX_LABEL_BYTES} then metadata ->> 'opponent' end as opponent
from (
    select id, query_id, query_text, model_id, evaluation_prompt_id, {METADATA} as metadata
    from evaluation_results{filter}
    order by id
    limit {limit}
) selected
order by id"#
        ),
        binds,
    )
}

/// The newest of the selected results with an answer: the first `characters` of its texts.
pub(crate) fn newest_answer(selection: &ResultSelection, characters: i32) -> Statement {
    let mut binds = Binds::default();
    let mut conditions = conditions(selection, &mut binds);
    conditions.push("output_text is not null".to_owned());
    let filter = filter(&conditions);
    let characters = binds.add(Bind::Whole(characters.into()));
    let beginning = |column: &str| format!("left({column}, {characters}::int) as {column}");
    statement(
        format!(
            "select {}, octet_length(output_text) as output_bytes, {}
from evaluation_results{filter}
{NEWEST_FIRST}
limit 1",
            beginning("output_text"),
            beginning("query_text")
        ),
        binds,
    )
}

/// A name that results are grouped by. A name longer than any that Panopticon writes is truncated; its length and
/// digest distinguish it from others with the same beginning.
fn name(value: &str) -> String {
    format!(
        "case when octet_length({value}) > {MAX_LABEL_BYTES} then left({value}, 100) || '… [' || octet_length({value}) || ' bytes, SHA-256 ' || encode(sha256(convert_to({value}, 'UTF8')), 'hex') || ']' else {value} end"
    )
}

fn conditions(selection: &ResultSelection, binds: &mut Binds) -> Vec<String> {
    let ResultSelection {
        query_id,
        theme,
        model_id,
        evaluation_prompt_id,
        judge_model,
        run_id,
        status: wanted,
        metadata,
        min_score,
        max_score,
        from,
        until,
    } = selection;
    let texts = [
        ("query_id", query_id),
        ("theme", theme),
        ("model_id", model_id),
        ("evaluation_prompt_id", evaluation_prompt_id),
        ("judge_model", judge_model),
    ];
    let mut conditions: Vec<String> = texts
        .into_iter()
        .filter_map(|(column, text)| Some(equals(column, text.as_deref()?, binds)))
        .collect();
    if let Some(run_id) = run_id {
        conditions.push(format!("{RUN} = {}", binds.add(Bind::Text(run_id.to_string()))));
    }
    if let Some(wanted) = wanted {
        let wanted = binds.add(Bind::Text(wanted.as_str().to_owned()));
        conditions.push(format!("{} = {wanted}", status(METADATA)));
    }
    if let Some(metadata) = metadata {
        conditions.push(metadata_condition(MetadataSource::alone(METADATA), metadata, binds));
    }
    if let Some(score) = min_score {
        conditions.push(format!("score >= {} and score < 'infinity'", binds.add(Bind::Real(*score))));
    }
    if let Some(score) = max_score {
        conditions.push(format!("score <= {} and score > '-infinity'", binds.add(Bind::Real(*score))));
    }
    if let Some(from) = from {
        conditions.push(format!(r#""timestamp" >= {}"#, binds.add(Bind::Time((*from).into()))));
    }
    if let Some(until) = until {
        conditions.push(format!(r#""timestamp" <= {}"#, binds.add(Bind::Time((*until).into()))));
    }
    conditions
}

/// The status of a judgement. Only a number is a score, and only a winner decides a comparison. The old services
/// stored no status: their results with a score are scored, and those without one are unparsed.
fn status(metadata: &str) -> String {
    format!(
        "case
        when {metadata} ->> 'status' in ('unparsed', 'refused', 'failed', 'unanswered') then {metadata} ->> 'status'
        when {metadata} -> 'mode' = '\"pairwise\"' and {metadata} ->> 'winner' in ('model', 'opponent', 'tie') then 'scored'
        when {metadata} -> 'mode' = '\"pairwise\"' then 'unparsed'
        when score > '-infinity' and score < 'infinity' then 'scored'
        else 'unparsed'
    end"
    )
}

#[cfg(test)]
mod tests {
    use expect_test::{ExpectFile, expect_file};
    use serde_json::json;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::{postgres::ResultStatus, storage::Filter};

    fn check(statement: &Statement, expected: &ExpectFile) {
        expected.assert_eq(&format!("{};\n", statement.sql.0));
    }

    #[test]
    fn statements_are_the_golden_ones() {
        let all = ResultSelection::default();
        let noon = datetime!(2026-01-31 12:00);
        let list = |selection: &ResultSelection, part: &Part<'_>, expected: &ExpectFile| {
            check(&list_results(selection, part, 10), expected);
        };
        list(&all, &Part::From(0), &expect_file!["golden/list_results.sql"]);
        list(&all, &Part::From(30), &expect_file!["golden/list_results_offset.sql"]);
        let after = |timestamp| ResultCursor { timestamp, id: "r".to_owned() };
        list(&all, &Part::After(&after(Some(noon.into()))), &expect_file!["golden/list_results_after.sql"]);
        list(&all, &Part::After(&after(None)), &expect_file!["golden/list_results_after_timeless.sql"]);
        list(&all, &Part::Timeless, &expect_file!["golden/list_results_timeless.sql"]);
        let theme = ResultSelection { theme: Some("physics".to_owned()), ..all.clone() };
        list(&theme, &Part::From(0), &expect_file!["golden/list_results_of_theme.sql"]);
        let model = ResultSelection { model_id: Some("gpt-4".to_owned()), ..all.clone() };
        list(&model, &Part::From(0), &expect_file!["golden/list_results_of_model.sql"]);
        let metric = ResultSelection { evaluation_prompt_id: Some("p".to_owned()), ..all.clone() };
        list(&metric, &Part::From(0), &expect_file!["golden/list_results_of_metric.sql"]);
        let run = ResultSelection { run_id: Some(Uuid::nil()), ..all.clone() };
        list(&run, &Part::From(0), &expect_file!["golden/list_results_of_run.sql"]);
        let metadata = Filter::from_json(&json!({"output_id": "o"})).expect("it is a filter");
        let metadata = ResultSelection { metadata: Some(metadata), ..all.clone() };
        list(&metadata, &Part::From(0), &expect_file!["golden/list_results_of_metadata.sql"]);
        let everything = ResultSelection {
            judge_model: Some("gpt-4".to_owned()),
            status: Some(ResultStatus::Scored),
            min_score: Some(1.0),
            max_score: Some(2.0),
            from: Some(noon),
            until: Some(noon),
            ..theme.clone()
        };
        list(&everything, &Part::From(0), &expect_file!["golden/list_results_filtered.sql"]);
        let query = ResultSelection { query_id: Some("q".to_owned()), ..all.clone() };
        list(&query, &Part::From(0), &expect_file!["golden/list_results_of_query.sql"]);
        check(&count_results(&theme), &expect_file!["golden/count_results.sql"]);
        check(&list_judged_items(&metric, Some("r"), 10), &expect_file!["golden/list_judged_items.sql"]);
        check(&newest_answer(&query, 10), &expect_file!["golden/newest_answer.sql"]);
        check(&read_judgements(&run), &expect_file!["golden/read_judgements.sql"]);
    }
}
