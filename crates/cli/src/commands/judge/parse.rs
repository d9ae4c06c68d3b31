//! `panopticon judge parse`: the score or the winner in a judge's answer.

use std::io::{self, BufRead as _, BufWriter, Read as _, Write as _};

use anyhow::{Context as _, anyhow};
use judge::{
    lenient,
    parse::{Reading, Scale, Unread, read_score, read_winner},
};
use serde_json::{Value, json};

use crate::{
    arguments::{ParseArguments, VerdictKind},
    exit::{ExitCode, Failure},
    output::{json_text, print_json},
};

pub(super) fn run(arguments: &ParseArguments) -> Result<ExitCode, Failure> {
    if let Some(scale) = scale(arguments)
        && !scale.is_valid()
    {
        let Scale { min, max } = scale;
        return Err(Failure::usage(anyhow!(
            "--min {min} must be below --max {max}, and both must be finite numbers"
        )));
    }
    if arguments.jsonl {
        return lines(arguments);
    }
    let mut text = Vec::new();
    let read = io::stdin().read_to_end(&mut text);
    read.context("failed to read standard input").map_err(Failure::usage)?;
    print_json(&answer(arguments, &String::from_utf8_lossy(&text)))?;
    Ok(ExitCode::Complete)
}

/// Prints one result per line. A line without a text gets one too, and does not end the command.
fn lines(arguments: &ParseArguments) -> Result<ExitCode, Failure> {
    let mut input = io::stdin().lock();
    let mut output = BufWriter::new(io::stdout().lock());
    let (mut line, mut number, mut invalid) = (Vec::new(), 0_u64, Vec::new());
    loop {
        line.clear();
        let length = input.read_until(b'\n', &mut line);
        if length.context("failed to read standard input").map_err(Failure::usage)? == 0 {
            break;
        }
        number += 1;
        let answer = match text_of(&line) {
            Ok(text) => answer(arguments, &text),
            Err(reason) => {
                invalid.push(number);
                json!({"status": "invalid", "reason": format!("line {number}: {reason}")})
            }
        };
        match writeln!(output, "{}", json_text(&answer)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::BrokenPipe),
            written => written.context("failed to write to standard output")?,
        }
    }
    match output.flush() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::BrokenPipe),
        flushed => flushed.context("failed to write to standard output")?,
    }
    match invalid[..] {
        [] => Ok(ExitCode::Complete),
        [first, ..] => {
            let count = invalid.len();
            Err(Failure::usage(anyhow!(
                "{count} of {number} lines are invalid, the first is line {first}: expected a JSON object with a string `text` in each"
            )))
        }
    }
}

fn text_of(line: &[u8]) -> Result<String, &'static str> {
    let object = lenient::from_slice(line).map_err(|_| "expected a JSON object")?;
    object["text"].as_str().map(str::to_owned).ok_or("expected an object with a string `text`")
}

fn answer(arguments: &ParseArguments, text: &str) -> Value {
    let unparsed = |reason: Unread| json!({"status": "unparsed", "reason": reason.as_str()});
    match arguments.kind {
        VerdictKind::Winner => match read_winner(text) {
            Ok(winner) => json!({"status": "scored", "winner": winner.as_str()}),
            Err(reason) => unparsed(reason),
        },
        VerdictKind::Score => {
            let scale = scale(arguments);
            let is_beyond = |score: f64| scale.is_some_and(|scale| !scale.contains(score));
            let (mut answer, is_out_of_range) = match read_score(text, scale) {
                Reading::Score(score) => (json!({"status": "scored", "score": score}), is_beyond(score)),
                Reading::Pair(first, second) => (
                    json!({"status": "scored", "scores": [first, second]}),
                    is_beyond(first) || is_beyond(second),
                ),
                Reading::Unread(reason) => return unparsed(reason),
            };
            if is_out_of_range {
                answer["out_of_range"] = Value::Bool(true);
            }
            answer
        }
    }
}

fn scale(arguments: &ParseArguments) -> Option<Scale> {
    Some(Scale { min: arguments.min?, max: arguments.max? })
}
