//! `panopticon judge parse`: what a judge's words are worth.

use std::io::{self, BufRead as _, BufWriter, Read as _, Write as _};

use anyhow::{Context as _, anyhow};
use judge::parse::{Reading, Scale, Unread, read_score, read_winner};
use serde_json::{Value, json};

use crate::{
    arguments::{ParseArguments, VerdictKind},
    exit::{ExitCode, Failure},
    output::print,
};

pub(super) fn run(arguments: &ParseArguments) -> Result<ExitCode, Failure> {
    if let Some(scale) = scale(arguments)
        && scale.min >= scale.max
    {
        return Err(Failure::usage(anyhow!("--min {} is not below --max {}", scale.min, scale.max)));
    }
    if !arguments.jsonl {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .context("failed to read standard input")
            .map_err(Failure::usage)?;
        print(&answer(arguments, &text).to_string())?;
        return Ok(ExitCode::Complete);
    }
    let mut output = BufWriter::new(io::stdout().lock());
    for (index, line) in io::stdin().lock().lines().enumerate() {
        let text = line.map_err(anyhow::Error::from).and_then(|line| text_of(&line));
        let text = text
            .with_context(|| format!("failed to read line {} of standard input", index + 1))
            .map_err(Failure::usage)?;
        match writeln!(output, "{}", answer(arguments, &text)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::BrokenPipe),
            written => written.context("failed to write to standard output")?,
        }
    }
    match output.flush() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::BrokenPipe),
        flushed => Ok(flushed.map(|()| ExitCode::Complete).context("failed to write to standard output")?),
    }
}

fn text_of(line: &str) -> anyhow::Result<String> {
    let object: Value = serde_json::from_str(line).context("expected a JSON object")?;
    object["text"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("expected an object with a string `text`"))
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
            let mut answer = match read_score(text, scale) {
                Reading::Score(score) => json!({"status": "scored", "score": score}),
                Reading::Pair(first, second) => json!({"status": "scored", "scores": [first, second]}),
                Reading::Unread(reason) => return unparsed(reason),
            };
            let scores =
                answer["scores"].as_array().cloned().unwrap_or_else(|| vec![answer["score"].clone()]);
            let beyond = |score: &Value| {
                let score = score.as_f64().expect("a score is a number");
                scale.is_some_and(|scale| !scale.contains(score))
            };
            if scores.iter().any(beyond) {
                answer["out_of_range"] = Value::Bool(true);
            }
            answer
        }
    }
}

fn scale(arguments: &ParseArguments) -> Option<Scale> {
    Some(Scale { min: arguments.min?, max: arguments.max? })
}
