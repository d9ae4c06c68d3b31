//! Comma-separated values: RFC 4180, UTF-8. Null is an empty field, and an empty text is two quotes. A text that a
//! spreadsheet would run as a formula gets a leading `'`, unless raw output is requested; numbers and times do not.

use std::{borrow::Cow, fmt::Write as _};

use super::problems_json;

use store::postgres::StoredResult;

use crate::wire::Formulas;

/// The header line.
pub(super) const HEADER: &str = "id,query_id,query_text,output_text,model_id,theme,evaluation_prompt_id,evaluation_prompt,score,judge_model,timestamp,metadata,problems\r\n";

/// One record per result. Metadata and problems are JSON.
pub(super) fn write(results: &[StoredResult], formulas: Formulas) -> Vec<u8> {
    let mut records = String::new();
    for StoredResult { result, problems } in results {
        let metadata = result.result_metadata.as_ref().map(ToString::to_string);
        let time = result.timestamp.map(|time| time.to_string());
        let texts = [
            Some(result.id.as_str()),
            result.query_id.as_deref(),
            result.query_text.as_deref(),
            result.output_text.as_deref(),
            result.model_id.as_deref(),
            result.theme.as_deref(),
            result.evaluation_prompt_id.as_deref(),
            result.evaluation_prompt.as_deref(),
        ];
        for text in texts {
            write_text(&mut records, text.map(|text| written(text, formulas)).as_deref(), ',');
        }
        if let Some(score) = result.score {
            write!(records, "{score}").expect("writing to a string does not fail");
        }
        records.push(',');
        let judge_model = result.judge_model.as_deref().map(|text| written(text, formulas));
        write_text(&mut records, judge_model.as_deref(), ',');
        write_text(&mut records, time.as_deref(), ',');
        write_text(&mut records, metadata.as_deref(), ',');
        write_text(&mut records, problems_json(problems).as_deref(), '\r');
        records.push('\n');
    }
    records.into_bytes()
}

/// A field of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'c> {
    /// A text; one that a spreadsheet would run as a formula is escaped.
    Text(Option<&'c str>),
    Number(Option<f64>),
    Count(Option<u64>),
}

/// A file of rows.
pub(crate) fn table<'c, const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [Cell<'c>; N]>,
) -> String {
    let mut records = headings.join(",");
    records.push_str("\r\n");
    for row in rows {
        for (place, cell) in row.into_iter().enumerate() {
            let next = if place + 1 == N { '\r' } else { ',' };
            match cell {
                Cell::Text(text) => {
                    let text = text.map(|text| written(text, Formulas::Escaped));
                    write_text(&mut records, text.as_deref(), next);
                }
                Cell::Number(number) => {
                    write_text(&mut records, number.map(|number| number.to_string()).as_deref(), next);
                }
                Cell::Count(count) => {
                    write_text(&mut records, count.map(|count| count.to_string()).as_deref(), next);
                }
            }
        }
        records.push('\n');
    }
    records
}

/// First characters of formulas in spreadsheets, including the full-width forms of East Asian keyboards.
const FORMULA_STARTS: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Whether a spreadsheet may read the text as a formula: some skip leading white space and invisible characters.
pub(super) fn may_be_formula(text: &str) -> bool {
    let is_blank = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
    };
    text.starts_with(['\t', '\r', '\n']) || text.trim_start_matches(is_blank).starts_with(FORMULA_STARTS)
}

/// The text as it appears in the file.
fn written(text: &str, formulas: Formulas) -> Cow<'_, str> {
    match formulas {
        Formulas::Escaped if may_be_formula(text) => Cow::Owned(format!("'{text}")),
        Formulas::Escaped | Formulas::Raw => Cow::Borrowed(text),
    }
}

/// Writes a field and the separator after it.
pub(super) fn write_text(records: &mut String, text: Option<&str>, next: char) {
    match text {
        None => {}
        // Some spreadsheets split at semicolons and tabs too.
        Some(text) if text.is_empty() || text.contains(['"', ',', ';', '\t', '\r', '\n']) => {
            records.push('"');
            records.push_str(&text.replace('"', "\"\""));
            records.push('"');
        }
        Some(text) => records.push_str(text),
    }
    records.push(next);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_line_a_row_and_escapes_texts_alone() {
        let rows = [
            [Cell::Text(Some("a,\"b\"")), Cell::Number(Some(-0.5)), Cell::Count(Some(7))],
            [Cell::Text(Some("=1+1")), Cell::Number(None), Cell::Count(None)],
            [Cell::Text(None), Cell::Number(Some(1e-9)), Cell::Count(Some(0))],
        ];
        let file = table(["text", "number", "count"], rows);
        assert_eq!(file, "text,number,count\r\n\"a,\"\"b\"\"\",-0.5,7\r\n'=1+1,,\r\n,0.000000001,0\r\n");
    }

    #[test]
    fn fields_are_quoted_where_required() {
        let mut records = String::new();
        for text in [
            None,
            Some(""),
            Some("plain"),
            Some("a,b"),
            Some("\"x\""),
            Some("two\nlines"),
            Some(" "),
            Some("a;=1"),
            Some("a\t=1"),
        ] {
            write_text(&mut records, text, ',');
        }
        assert_eq!(records, ",\"\",plain,\"a,b\",\"\"\"x\"\"\",\"two\nlines\", ,\"a;=1\",\"a\t=1\",");
    }

    #[test]
    fn texts_that_look_like_formulas_are_escaped() {
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "\u{ff1d}1",
            " =1",
            "\u{a0}=1",
            "\u{3000}+1",
            "\u{feff}=1",
            "\u{200b}@a",
            "\u{b}=1",
            "\u{c}\u{2060} -1",
        ] {
            assert_eq!(written(text, Formulas::Escaped), format!("'{text}"));
            assert_eq!(written(text, Formulas::Raw), text);
        }
        for text in ["", "a=1", "1-1", "'=1", " a=1", "{}", "\"=1\""] {
            assert_eq!(written(text, Formulas::Escaped), text);
        }
        let result = store::postgres::EvaluationResult {
            id: "-r".into(),
            query_id: Some("=q".into()),
            query_text: Some("=t".into()),
            output_text: Some("+o".into()),
            model_id: Some("@m".into()),
            theme: Some("-t".into()),
            evaluation_prompt_id: Some("=e".into()),
            evaluation_prompt: Some("=p".into()),
            score: Some(-1.5),
            judge_model: Some("=j".into()),
            timestamp: None,
            result_metadata: None,
        };
        let result = StoredResult { result, problems: Vec::new() };
        let lines =
            |formulas| String::from_utf8(write(std::slice::from_ref(&result), formulas)).expect("UTF-8");
        assert_eq!(lines(Formulas::Escaped), "'-r,'=q,'=t,'+o,'@m,'-t,'=e,'=p,-1.5,'=j,,,\r\n");
        assert_eq!(lines(Formulas::Raw), "-r,=q,=t,+o,@m,-t,=e,=p,-1.5,=j,,,\r\n");
    }
}
