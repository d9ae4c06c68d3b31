//! Comma-separated values: RFC 4180, UTF-8. What is null is empty, and an empty text is two quotes.

use std::fmt::Write as _;

use records::timestamp;
use store::postgres::EvaluationResult;

/// The line of names.
pub(super) const HEADER: &str = "id,query_id,query_text,output_text,model_id,theme,evaluation_prompt_id,evaluation_prompt,score,judge_model,timestamp,metadata\r\n";

/// A record of each result. Metadata are JSON.
pub(super) fn write(results: &[EvaluationResult]) -> Vec<u8> {
    let mut records = String::new();
    for result in results {
        let metadata = result.result_metadata.as_ref().map(ToString::to_string);
        let time = result.timestamp.map(timestamp::format);
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
        texts.into_iter().for_each(|text| write_text(&mut records, text, ','));
        if let Some(score) = result.score {
            write!(records, "{score}").expect("a text takes all");
        }
        records.push(',');
        write_text(&mut records, result.judge_model.as_deref(), ',');
        write_text(&mut records, time.as_deref(), ',');
        write_text(&mut records, metadata.as_deref(), '\r');
        records.push('\n');
    }
    records.into_bytes()
}

/// Writes a field and what follows on it.
fn write_text(records: &mut String, text: Option<&str>, next: char) {
    match text {
        None => {}
        Some(text) if text.is_empty() || text.contains(['"', ',', '\r', '\n']) => {
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
    fn fields_are_quoted_where_they_have_to_be() {
        let mut records = String::new();
        for text in [None, Some(""), Some("plain"), Some("a,b"), Some("\"x\""), Some("two\nlines"), Some(" ")]
        {
            write_text(&mut records, text, ',');
        }
        assert_eq!(records, ",\"\",plain,\"a,b\",\"\"\"x\"\"\",\"two\nlines\", ,");
    }
}
