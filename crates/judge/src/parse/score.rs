//! Reads a score.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

use super::{Unread, json, pattern, text::plain};

/// The scale that the judge was asked to use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Worst score.
    pub min: f64,
    /// Best score. A score that is written as `8/10` has to count out of it.
    pub max: f64,
}

/// What the words are worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// One score, as it is written: it may lie beyond the scale.
    Score(f64),
    /// Two scores, one for each of two answers, in their order.
    Pair(f64, f64),
    /// Nothing that can be relied upon.
    Unread(Unread),
}

impl Scale {
    /// Whether there are scores on it.
    pub fn is_valid(&self) -> bool {
        self.min < self.max && self.min.is_finite() && self.max.is_finite()
    }

    /// Whether `score` lies on the scale.
    pub fn contains(&self, score: f64) -> bool {
        (self.min..=self.max).contains(&score)
    }
}

const NUMBER: &str = r"(?<n>[-+]?[0-9]{1,4}(?:[.,][0-9]{1,4})?)";
const OUT_OF: &str = r"(?:\s*(?:/|out\s+of|von|sur|de)\s*(?<of>[0-9]{1,4})\b)?";
const UNIT: &str = r"(?:\s*(?:points?\b|pts?\b|stars?\b|점|点|分))?";
const LABEL: &str = r"(?:rating|score|grade|점수|평점|평가\s*점수|评分|得分|分数|評分|評価|スコア|点数|puntuaci[oó]n|note|bewertung)";

static BRACKETS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\[\[\s*(?:{LABEL}\s*)?:?\s*\[?\s*{NUMBER}{OUT_OF}{UNIT}\s*\]{{2,3}}|\[\[\s*{LABEL}\s*\]?\]\s*:?\s*\[?\s*{NUMBER2}{OUT_OF2}{UNIT}\]*(?<rest>[^\n]*)",
        NUMBER2 = NUMBER.replace("<n>", "<n2>"),
        OUT_OF2 = OUT_OF.replace("<of>", "<of2>"),
    ))
});
static RESULT: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(?i)\[result\]\s*:?\s*\(?\s*{NUMBER}{OUT_OF}(?<rest>[^\n]*)")));
static LABELLED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?im)^[\s#>_`\-•]*(?:(?:my|the|final|overall|total|numerical|최종|종합|总体|最终|综合)\s*){{0,3}}{LABEL}[_`]*(?:\s*\([^)\n]{{0,30}}\))?\s*(?:[:=]|\bis\b)\s*[_`\[(]*\s*{NUMBER}{OUT_OF}{UNIT}[_`\])]*(?<rest>[^\n]*)"
    ))
});
/// A whole line that is a score and nothing else.
static LINE: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"^[\s_`(\[]*{NUMBER}{OUT_OF}{UNIT}[\s_`)\].]*$")));
/// A score at the beginning, and words after it. A number with a full stop may as well count the words.
static OPENING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)^[_`(\[]*{NUMBER}{OUT_OF}{UNIT}[_`)\]]*(?:\s*[-–—:;(,]\s*\D|\s+(?:because|since|as|for)\b|(?<stop>\.)\s+\D)"
    ))
});
static ENUMERATED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*\d{1,2}\s*[.):-]"));
static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    let second = NUMBER.replace("<n>", "<m>");
    pattern(&format!(r"^[\s(\[]*{NUMBER}(?:\s*,\s+|\s+){second}[\s)\].]*$"))
});
static SENTENCE: LazyLock<Regex> = LazyLock::new(|| {
    let (number2, of2) = (NUMBER.replace("<n>", "<n2>"), OUT_OF.replace("<of>", "<of2>"));
    pattern(&format!(
        r"(?i)\b(?:rate|rated|rating|score|scored|give|gave|grade|assign|deserves|earns|award)\b[^.\n\d]{{0,80}}{NUMBER}\s*(?:/|out\s+of)\s*(?<of>\d{{1,4}})\b|\b(?:score|rating|grade)\s+of\s+{number2}{of2}(?<rest>[^\n]*)"
    ))
});
/// What may not follow a score: it would be part of a range, a list, a sum or a percentage.
static CONTINUES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)^\s*(?:[-–~/,;&|+*=^%.:]\s*[\[(]?\s*[-+]?\d|(?:to|or|and)\s+\d|%|[\[(]*\d)|^\w")
});

/// Keys under which judges give a score.
const KEYS: [&str; 7] =
    ["score", "rating", "grade", "overall_score", "final_score", "overall_rating", "final_rating"];

/// A score found in the text.
struct Found {
    score: f64,
    /// The maximum that it counts out of, where it says so.
    of: Option<f64>,
    /// Its place in the text.
    end: usize,
}

/// Reads the score that `text` gives on `scale`; with no scale any maximum is taken.
///
/// Verdicts in a set form go before such in words: what is written as `[[8]]`, `[RESULT] 8`, JSON or `Rating: 8`
/// is the answer whatever other numbers there are. Several verdicts of one form have to agree, but the last line is
/// the last word where it is nothing but a verdict.
pub fn read_score(text: &str, scale: Option<Scale>) -> Reading {
    let text = match plain(text) {
        Ok(text) => text,
        Err(reason) => return Reading::Unread(reason),
    };
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);

    if let Some(pair) = PAIR.captures(first) {
        return match (number(&pair["n"]), number(&pair["m"])) {
            (Some(first), Some(second)) => Reading::Pair(first, second),
            _ => Reading::Unread(Unread::NoVerdict),
        };
    }
    if let Some(whole) = (lines.len() == 1).then(|| LINE.captures(&text)).flatten() {
        return decide(found(&whole).as_slice(), scale, None);
    }
    for form in [&BRACKETS, &RESULT] {
        let all = all(form, &text);
        if !all.is_empty() {
            return decide(&all, scale, Some(&text));
        }
    }
    let values = json::values(&text, &KEYS);
    if !values.is_empty() {
        return match values.iter().map(from_json).collect::<Option<Vec<_>>>() {
            Some(all) => decide(&all, scale, None),
            None => Reading::Unread(Unread::NoVerdict),
        };
    }
    let labelled = all(&LABELLED, &text);
    if !labelled.is_empty() {
        return decide(&labelled, scale, Some(&text));
    }
    if let Some(line) = LINE.captures(first) {
        return decide(found(&line).as_slice(), scale, None);
    }
    if let Some(opening) = OPENING.captures(&text)
        && (opening.name("of").is_some() || opening.name("stop").is_none())
        && !lines[1..].iter().any(|line| ENUMERATED.is_match(line))
    {
        return decide(found(&opening).as_slice(), scale, None);
    }
    // A bare number at the end may as well be the end of a calculation.
    if let Some(line) = LINE.captures(last)
        && line.name("of").is_some()
    {
        return decide(found(&line).as_slice(), scale, None);
    }
    let sentences = all(&SENTENCE, &text);
    if !sentences.is_empty() {
        return decide(&sentences, scale, None);
    }
    Reading::Unread(Unread::NoVerdict)
}

/// One score from those that were found in one form. `closing` is the text if its last line has the last word.
fn decide(all: &[Found], scale: Option<Scale>, closing: Option<&str>) -> Reading {
    let Some(last) = all.last() else { return Reading::Unread(Unread::NoVerdict) };
    let agree = all.iter().all(|found| found.score == last.score);
    let is_closing = closing.is_some_and(|text| {
        let line = text[..last.end].rfind('\n').map_or(0, |newline| newline + 1);
        let alone = all.iter().filter(|found| found.end > line).count() == 1;
        alone
            && text[last.end..].trim().is_empty()
            && !text[line..].trim_start_matches(|c: char| !c.is_alphanumeric()).contains(". ")
    });
    if !agree && !is_closing {
        return Reading::Unread(Unread::Contradiction);
    }
    match (last.of, scale) {
        (Some(of), Some(scale)) if of != scale.max => Reading::Unread(Unread::OtherScale),
        _ => Reading::Score(last.score),
    }
}

fn all(form: &Regex, text: &str) -> Vec<Found> {
    let complete =
        |captures: &Captures<'_>| captures.name("rest").is_none_or(|rest| !CONTINUES.is_match(rest.as_str()));
    form.captures_iter(text).filter(complete).filter_map(|captures| found(&captures)).collect()
}

fn found(captures: &Captures<'_>) -> Option<Found> {
    let named = |names: [&str; 2]| names.into_iter().find_map(|name| captures.name(name));
    let score = named(["n", "n2"]).and_then(|n| number(n.as_str()))?;
    let of = named(["of", "of2"]).and_then(|of| number(of.as_str()));
    let rest = captures.name("rest").map_or(0, |rest| rest.len());
    Some(Found { score, of, end: captures.get_match().end() - rest })
}

fn from_json(value: &Value) -> Option<Found> {
    match value {
        Value::Number(score) => Some(Found { score: score.as_f64()?, of: None, end: 0 }),
        Value::String(text) => LINE.captures(text.trim()).and_then(|line| found(&line)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn number(text: &str) -> Option<f64> {
    text.replace(',', ".").parse().ok().filter(|number: &f64| number.is_finite())
}
