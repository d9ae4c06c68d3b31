//! Labels as CSV and JSON Lines, and back. What is written is read without a difference.

use std::{borrow::Cow, fmt::Write as _};

use serde_json::{Map, Value};
use store::json::exact_object;

use super::csv::{may_be_formula, write_text};
use crate::{
    answer::ApiError,
    request::read_value,
    wire::{Formulas, LabelResponse, NewLabel},
};

const COLUMNS: [&str; 11] = [
    "id",
    "annotator",
    "query_id",
    "query_digest",
    "evaluation_prompt_id",
    "model_id",
    "score",
    "model_a",
    "model_b",
    "winner",
    "labelled_at",
];
/// A column that can be given instead of `query_id`.
const QUERY_TEXT: &str = "query_text";

/// The header line.
pub(crate) fn header() -> String {
    format!("{}\r\n", COLUMNS.join(","))
}

/// One line per label.
pub(crate) fn write(labels: &[LabelResponse], formulas: Formulas) -> String {
    let mut lines = String::new();
    for label in labels {
        let text = |text: Option<&str>| text.map(|text| written(text, formulas).into_owned());
        let texts = [
            text(Some(&label.id)),
            text(Some(&label.annotator)),
            text(label.query_id.as_deref()),
            text(label.query_digest.as_deref()),
            text(label.evaluation_prompt_id.as_deref()),
            text(label.model_id.as_deref()),
        ];
        texts.iter().for_each(|text| write_text(&mut lines, text.as_deref(), ','));
        if let Some(score) = label.score {
            write!(lines, "{score}").expect("writing to a string does not fail");
        }
        lines.push(',');
        for text in [text(label.model_a.as_deref()), text(label.model_b.as_deref())] {
            write_text(&mut lines, text.as_deref(), ',');
        }
        write_text(&mut lines, label.winner, ',');
        write_text(&mut lines, Some(&label.labelled_at), '\r');
        lines.push('\n');
    }
    lines
}

/// One JSON object per label.
pub(crate) fn write_lines(labels: &[LabelResponse]) -> String {
    let line = |label| serde_json::to_string(label).expect("wire types are JSON") + "\n";
    labels.iter().map(line).collect()
}

/// The labels of JSON Lines, each with its line.
///
/// # Errors
/// When a line is no label; the error names it.
pub(crate) fn read_lines(file: &str) -> Result<Vec<(usize, NewLabel)>, ApiError> {
    let lines = file.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let read = |(line, number): (&str, usize)| {
        let place = format!("line {number}");
        let object: Map<String, Value> = exact_object(line)
            .map_err(|error| ApiError::invalid(place.clone(), format!("expected a JSON object: {error}")))?;
        let label = read_value(Value::Object(object)).map_err(|error| error.within(&place))?;
        Ok((number, label))
    };
    lines.map(read).collect()
}

/// Whether a text gets a leading `'`: spreadsheets might run it, or it would be read as one that has got it.
fn needs_mark(text: &str) -> bool {
    // A loop, since a text may have a million of them.
    may_be_formula(text) || text.starts_with('\'') && may_be_formula(text.trim_start_matches('\''))
}

fn written(text: &str, formulas: Formulas) -> Cow<'_, str> {
    match formulas {
        Formulas::Escaped if needs_mark(text) => Cow::Owned(format!("'{text}")),
        Formulas::Escaped | Formulas::Raw => Cow::Borrowed(text),
    }
}

/// The labels of a CSV file with a header line, each with the number of the line where it begins. Columns may be in any
/// order, and some may be missing.
///
/// # Errors
/// When a quote does not end, a line has another number of fields than the first, or a field is invalid; the error
/// names the line.
pub(crate) fn read(file: &str) -> Result<Vec<(usize, NewLabel)>, ApiError> {
    let invalid = |line: usize, reason: String| ApiError::invalid(format!("line {line}"), reason);
    // Blanks alone are no name of a column.
    let file = if file.trim().is_empty() { "" } else { file };
    let mut lines = lines(file.strip_prefix('\u{feff}').unwrap_or(file));
    let header = lines.next().transpose().map_err(|line| invalid(line, UNENDED.to_owned()))?;
    let (_, header) = header.ok_or_else(|| invalid(1, "expected a header line".to_owned()))?;
    let names: Vec<&str> = header.iter().map(|field| field.as_ref().map_or("", |name| name.trim())).collect();
    for (place, name) in names.iter().enumerate() {
        if *name != QUERY_TEXT && !COLUMNS.contains(name) {
            let expected = COLUMNS.join(", ");
            return Err(invalid(1, format!("unknown column `{name}`: expected some of {expected}")));
        }
        if names[..place].contains(name) {
            return Err(invalid(1, format!("column `{name}` is there twice")));
        }
    }
    let mut labels = Vec::new();
    for line in lines {
        let (number, fields) = line.map_err(|line| invalid(line, UNENDED.to_owned()))?;
        if fields.len() != names.len() {
            let (found, expected) = (fields.len(), names.len());
            return Err(invalid(
                number,
                format!("expected {expected} fields as in the header, found {found}"),
            ));
        }
        let mut label = Map::new();
        for (name, field) in names.iter().zip(fields) {
            let Some(field) = field else { continue };
            let value = match *name {
                "score" => {
                    let score = field.trim().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                    let expected = || invalid(number, "`score`: expected a finite number".to_owned());
                    Value::Number(score.ok_or_else(expected)?)
                }
                _ => Value::String(unmarked(field)),
            };
            label.insert((*name).to_owned(), value);
        }
        let label =
            read_value(Value::Object(label)).map_err(|error| error.within(&format!("line {number}")))?;
        labels.push((number, label));
    }
    Ok(labels)
}

const UNENDED: &str = "a field's quote does not end, or text follows it";

/// The text without the `'` that [`written`] adds.
fn unmarked(field: String) -> String {
    match field.strip_prefix('\'') {
        Some(rest) if needs_mark(rest) => rest.to_owned(),
        _ => field,
    }
}

/// The fields of a line, `None` where nothing is written; empty quotes are an empty text.
type Fields = Vec<Option<String>>;

/// The lines of a file, each with its number; blank ones are left out. An error is the number of the line where a quoted
/// field does not end properly.
fn lines(file: &str) -> impl Iterator<Item = Result<(usize, Fields), usize>> {
    let (mut rest, mut number, mut is_over) = (file, 1, false);
    std::iter::from_fn(move || {
        while let Some(after) = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')) {
            (rest, number) = (after, number + 1);
        }
        if rest.is_empty() || is_over {
            return None;
        }
        let (begin, mut fields) = (number, Vec::new());
        loop {
            let Some((field, after)) = field(rest) else {
                is_over = true;
                return Some(Err(begin));
            };
            number += rest[..rest.len() - after.len()].matches('\n').count();
            fields.push(field);
            match after.strip_prefix(',') {
                Some(after) => rest = after,
                None => {
                    rest = after;
                    return Some(Ok((begin, fields)));
                }
            }
        }
    })
}

/// The first field of `rest`, and what follows it: a comma, the end of the line, or nothing.
fn field(rest: &str) -> Option<(Option<String>, &str)> {
    let Some(mut quoted) = rest.strip_prefix('"') else {
        let end = rest.find([',', '\n']).unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        let text = if after.starts_with(',') { text } else { text.strip_suffix('\r').unwrap_or(text) };
        return Some(((!text.is_empty()).then(|| text.to_owned()), after));
    };
    let mut text = String::new();
    loop {
        let (before, after) = quoted.split_once('"')?;
        text.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                text.push('"');
                quoted = after;
            }
            None => {
                let after = after.strip_prefix('\r').filter(|after| after.starts_with('\n')).unwrap_or(after);
                let is_end = after.is_empty() || after.starts_with([',', '\n']);
                return is_end.then_some((Some(text), after));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> LabelResponse {
        LabelResponse {
            id: "00000000-0000-0000-0000-000000000001".to_owned(),
            annotator: "ann".to_owned(),
            query_id: Some(text.to_owned()),
            query_digest: None,
            evaluation_prompt_id: Some(text.to_owned()),
            model_id: Some("m".to_owned()),
            score: Some(-0.5),
            model_a: None,
            model_b: None,
            winner: None,
            labelled_at: "2026-01-31T12:00:00.000000".to_owned(),
        }
    }

    #[test]
    fn file_is_read_as_it_was_written() {
        let texts = [
            "q",
            "=1+1",
            "'=1+1",
            "''=1",
            "'",
            "'a",
            "-1",
            "a,b",
            "a\"b",
            "a\r\nb",
            "\n=1",
            " =1",
            "",
            "a\rb",
            "\u{feff}x",
            "👩‍👩‍👧",
            "\u{202e}x",
            "a;b",
            "#",
            "null",
        ];
        for formulas in [Formulas::Escaped, Formulas::Raw] {
            let written: Vec<LabelResponse> = texts.map(label).into();
            let file = header() + &write(&written, formulas);
            // The marks of a raw file belong to its texts.
            let texts: Vec<&str> = match formulas {
                Formulas::Escaped => texts.into(),
                Formulas::Raw => {
                    texts.into_iter().filter(|text| unmarked((*text).to_owned()) == **text).collect()
                }
            };
            let file = match formulas {
                Formulas::Escaped => file,
                Formulas::Raw => {
                    header() + &write(&texts.iter().map(|text| label(text)).collect::<Vec<_>>(), formulas)
                }
            };
            let read = read(&file).expect("it reads");
            let found: Vec<[Option<&str>; 2]> = read
                .iter()
                .map(|(_, label)| [label.query_id.as_deref(), label.evaluation_prompt_id.as_deref()])
                .collect();
            assert_eq!(found, texts.iter().map(|text| [Some(*text); 2]).collect::<Vec<_>>(), "{formulas:?}");
            assert!(read.iter().all(|(_, label)| label.score == Some(-0.5) && label.model_a.is_none()));
        }
    }

    #[test]
    fn lines_are_counted_and_errors_name_them() {
        let numbers = |file: &str| -> Result<Vec<usize>, String> {
            let read = read(file).map_err(|error| error.to_string())?;
            Ok(read.into_iter().map(|(line, _)| line).collect())
        };
        let file = "query_id,annotator,model_id,score\r\n\r\n\"a\nb\",x,m,1\nq,x,m,2\n\n";
        assert_eq!(numbers(file), Ok(vec![3, 5]));
        assert_eq!(numbers("annotator"), Ok(vec![]));
        for (file, error) in [
            ("", "`line 1`: expected a header line"),
            ("\n\n", "`line 1`: expected a header line"),
            ("annotator,other\n", "`line 1`: unknown column `other`"),
            ("annotator,annotator\n", "`line 1`: column `annotator` is there twice"),
            ("annotator,score\nx", "`line 2`: expected 2 fields as in the header, found 1"),
            ("annotator,score\n\"x\nx,1\n", "`line 2`: a field's quote does not end"),
            ("annotator\n\"x\"y\n", "`line 2`: a field's quote does not end, or text follows it"),
            ("annotator,score\nx,NaN\n", "`line 2`: `score`: expected a finite number"),
            ("annotator,score\nx,1e999\n", "`line 2`: `score`: expected a finite number"),
            ("annotator,winner\nx,c\n", "`line 2.winner`"),
            ("score\n1\n", "line 2"),
        ] {
            let found = numbers(file).expect_err(error);
            assert!(found.contains(error), "{file}: {found}");
        }
    }
}
