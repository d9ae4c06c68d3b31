//! Commands on rows that PostgreSQL can store but no answer can show exactly.

use std::collections::BTreeSet;

use serde_json::Value;
use store::{json::decode_answer, postgres::Database};
use test_support::{
    TestDatabase,
    odd_rows::{NULLABLE_SCHEMA, RECORDS, put_odd_rows},
};

use crate::{json, run_on};

#[tokio::test]
async fn commands_read_every_invalid_row_and_doctor_finds_each_kind() {
    for old_schema in [None, Some(NULLABLE_SCHEMA)] {
        let test_database = TestDatabase::create().await;
        if let Some(old_schema) = old_schema {
            test_database.execute(old_schema).await;
        }
        let database = Database::connect(&test_database.url()).await.expect("the database answers");
        database.prepare_schema().await.expect("the schema is made or adopted");
        database.close().await;
        put_odd_rows(&test_database).await;

        for service in ["query", "metrics", "outputs"] {
            let found = run_on(&test_database, &["search", service, "odd", "--limit", "100", "--json"]).await;
            assert_eq!(found.code, 0, "{found:?}");
            let hits = decode_answer(found.stdout.trim());
            assert_eq!(hits.problems, [], "{found:?}");
            let hits = hits.value.as_array().expect("a list").clone();
            assert_eq!(hits.len(), RECORDS, "{service}");
            let odd = hits.iter().filter(|hit| hit["problems"].is_array()).count();
            assert!(odd >= 12, "{service}: {odd}");
            let shown = run_on(&test_database, &["search", service, "odd", "--limit", "100"]).await;
            assert_eq!((shown.code, shown.stdout.lines().count()), (0, RECORDS), "{shown:?}");
            let expected =
                format!("not exactly as stored, see the `problems` of --json: {odd} of {RECORDS} records");
            assert!(shown.stderr.contains(&expected), "{shown:?}");
        }

        let examined = json(&run_on(&test_database, &["doctor", "--json"]).await);
        let findings = examined["findings"].as_array().expect("a list");
        let found: BTreeSet<(&str, &str)> = findings
            .iter()
            .filter_map(|finding| Some((finding["table"].as_str()?, finding["code"].as_str()?)))
            .collect();
        for table in ["queries", "evaluation_metrics", "llm_outputs"] {
            for code in
                ["values_missing", "times_out_of_range", "numbers_beyond_doubles", "metadata_too_deep"]
            {
                assert!(found.contains(&(table, code)), "{table} {code}: {found:?}");
            }
        }
        for code in ["times_out_of_range", "scores_not_finite", "metadata_not_unicode"] {
            assert!(found.contains(&("evaluation_results", code)), "{code}: {found:?}");
        }
        let times = findings
            .iter()
            .find(|finding| finding["table"] == "queries" && finding["code"] == "times_out_of_range")
            .expect("it is found");
        assert!(times["what"].as_str().is_some_and(|what| what.starts_with("7 of 27 rows have")), "{times}");
        // The statement that a finding names lists its rows.
        let Some(select) = times["remedy"]["select"].as_str() else { panic!("{times}") };
        let counted = format!(
            "do $$ begin if (select count(*) from ({select}) odd) <> 7 then raise exception 'other rows'; end if; end $$"
        );
        test_database.execute(&counted).await;

        for arguments in
            [&["index", "status"][..], &["index", "plan"], &["maintain", "--dry-run"], &["doctor"]]
        {
            let ended = run_on(&test_database, arguments).await;
            assert!([0, 6].contains(&ended.code), "{arguments:?}: {ended:?}");
        }
        assert_ne!(examined["tables"], Value::Null);
    }
}
