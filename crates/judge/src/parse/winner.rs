//! Reads which of two answers a judge prefers.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{Unread, json, pattern, text::plain};

/// Which of two answers is better, in the order in which the judge saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Winner {
    /// The first.
    A,
    /// The second.
    B,
    /// Neither.
    Tie,
}

impl Winner {
    /// `a`, `b` or `tie`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Tie => "tie",
        }
    }

    /// The same winner where the judge saw the answers in the other order.
    pub fn swapped(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
            Self::Tie => Self::Tie,
        }
    }
}

const ANSWER: &str =
    r"(?:output|response|assistant|model|answer|option|summary|candidate|text|system|chatbot)";
const NAME: &str = r"\(?(?<w>[abAB12])\)?";
const ADVERBS: &str = r"(?:(?:clearly|slightly|much|significantly|far|considerably|somewhat|marginally|definitely|overall|also|therefore|generally|a|bit)\s+)*";
const BETTER: &str = r"(?:the\s+)?(?:better|best|superior|preferred|preferable|winner)";

static BRACKETS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\[\[\s*(?:assistant\s+)?(?<w>a|b|c|1|2|tie)\s*\]\]"));
/// A line that is the verdict and nothing else.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)^[\s"'_`]*(?:(?:my|the|final)?\s*(?:verdict|winner|choice|decision|answer|preference)\s*(?::|\bis\b)\s*)?(?:{ANSWER}\s*)?(?:{NAME}|(?<tie>(?:it'?s\s+)?(?:a\s+)?tie))[\s"'_`.!]*$"#
    ))
});
static SENTENCE: LazyLock<Regex> = LazyLock::new(|| {
    let name2 = NAME.replace("<w>", "<w2>");
    pattern(&format!(
        r"(?i)\b{ANSWER}\s*{NAME}\s+(?:is|was)\s+{ADVERBS}{BETTER}\b|\bbetter\s+{ANSWER}\b[^.\n]{{0,60}}?\bis\s+(?:clearly\s+)?{ANSWER}\s*{name2}"
    ))
});
/// A sentence that only speaks about a verdict.
static UNDECIDED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:neither|nor|whether|if|both|not|assistant \([ab]\) (?:argues|claims|states|thinks|says))\b",
    )
});

/// A first line that goes on to say something about the other answer.
static OPENING: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?i)^{ANSWER}\s*{NAME}\s+\(")));
static CONCLUSION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\s*(?:therefore|thus|so|hence|overall|finally|ultimately|in conclusion|in summary|to conclude)\b",
    )
});

/// Keys under which judges name the winner.
const KEYS: [&str; 7] = ["winner", "verdict", "better", "preferred", "preference", "choice", "decision"];

/// Reads the winner that `text` names.
///
/// # Errors
/// Why it was left unread.
pub fn read_winner(text: &str) -> Result<Winner, Unread> {
    let text = plain(text)?;
    let brackets: Vec<Winner> =
        BRACKETS.captures_iter(&text).filter_map(|found| named(&found["w"])).collect();
    if !brackets.is_empty() {
        return agreed(&brackets);
    }
    let values = json::values(&text, &KEYS);
    if !values.is_empty() {
        let winners: Option<Vec<Winner>> = values.iter().map(from_json).collect();
        return agreed(&winners.ok_or(Unread::NoVerdict)?);
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    let sentences = sentences(&text);
    let last_sentence = last_sentence(&text);
    let at = |is_there: &dyn Fn(usize) -> bool| {
        sentences.iter().rev().find(|(place, _)| is_there(*place)).map(|(_, winner)| *winner)
    };
    let opening = line_winner(first)
        .or_else(|| OPENING.captures(first).and_then(|found| named(&found["w"])))
        .or_else(|| at(&|place| place == 0));
    let closing = line_winner(last).or_else(|| at(&|place| place >= last_sentence));
    match (opening, closing) {
        // Who concludes has the last word, whatever he began with.
        (Some(opening), Some(closing))
            if opening != closing && !CONCLUSION.is_match(&text[last_sentence..]) =>
        {
            Err(Unread::Contradiction)
        }
        (_, Some(winner)) | (Some(winner), None) => Ok(winner),
        (None, None) => agreed(&sentences.iter().map(|(_, winner)| *winner).collect::<Vec<_>>()),
    }
}

/// Where the last sentence begins.
fn last_sentence(text: &str) -> usize {
    text.trim_end_matches(['.', '!', ' ', '\n']).rfind(['.', '\n', '!']).map_or(0, |end| end + 1)
}

/// Where a sentence gives a verdict, and which.
fn sentences(text: &str) -> Vec<(usize, Winner)> {
    let mut verdicts = Vec::new();
    for found in SENTENCE.captures_iter(text) {
        let start = found.get_match().start();
        let sentence = text[..start].rfind(['.', '\n', '!']).map_or(0, |end| end + 1);
        if UNDECIDED.is_match(&text[sentence..start]) {
            continue;
        }
        let name = found.name("w").or_else(|| found.name("w2"));
        let place = sentence + text[sentence..].len() - text[sentence..].trim_start().len();
        verdicts.extend(name.and_then(|name| named(name.as_str())).map(|winner| (place, winner)));
    }
    verdicts
}

fn line_winner(line: &str) -> Option<Winner> {
    let found = LINE.captures(line)?;
    match found.name("w") {
        Some(name) => named(name.as_str()),
        None => Some(Winner::Tie),
    }
}

fn from_json(value: &Value) -> Option<Winner> {
    match value {
        Value::String(text) if text.trim().eq_ignore_ascii_case("c") => Some(Winner::Tie),
        Value::String(text) => line_winner(text),
        Value::Number(number) => named(&number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn agreed(winners: &[Winner]) -> Result<Winner, Unread> {
    let first = winners.first().ok_or(Unread::NoVerdict)?;
    if winners.iter().all(|winner| winner == first) { Ok(*first) } else { Err(Unread::Contradiction) }
}

fn named(name: &str) -> Option<Winner> {
    match name {
        "a" | "A" | "1" => Some(Winner::A),
        "b" | "B" | "2" => Some(Winner::B),
        "c" | "C" => Some(Winner::Tie),
        name if name.eq_ignore_ascii_case("tie") => Some(Winner::Tie),
        _ => None,
    }
}
