//! Parsing of scores.

mod forms;

use regex::{Captures, Regex};
use serde_json::Value;

use super::{
    Unread,
    claim::{Claim, LastWord, is_end, own, settle},
    json::{self, Entry},
    sentence::sentence_start,
    text::{is_blank, plain},
};
use forms::{
    ATTRIBUTE, BARE_LABEL, BOXED, BRACKETS, CALCULATES, CONCLUSION, CONTINUES, COUNTED, CRITERION,
    CRITERION_VALUE, ENUMERATED, HEADING, INLINE, JUDGES, KEYS, LABELLED, LAST_SENTENCE, LAST_TAGS, LINE,
    NUMBER_HEADING, OF_OTHERS, OPENING, ORNATE_DIGIT, OUT_OF_WORDS, OWN, PAIR, REMARK, RESULT, SENTENCE,
    SHARE, SHORT_WORD, STARS, TAG, TAGS, VERDICT,
};

/// The scale that the judge was asked to use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Worst score.
    pub min: f64,
    /// Best score. The maximum in a score such as `8/10` must be equal to it.
    pub max: f64,
}

/// The result of parsing.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// One score, as written: it may be outside the scale.
    Score(f64),
    /// Two scores, one for each of two answers, in their order.
    Pair(f64, f64),
    /// Nothing reliable.
    Unread(Unread),
}

impl Scale {
    /// Whether it contains scores.
    pub fn is_valid(&self) -> bool {
        self.min < self.max && self.min.is_finite() && self.max.is_finite()
    }

    /// Whether `score` is on the scale.
    pub fn contains(&self, score: f64) -> bool {
        (self.min..=self.max).contains(&score)
    }
}

/// A score found in the text.
#[derive(Clone, Copy, Debug)]
struct Found {
    score: f64,
    /// Its maximum, if it is written.
    of: Option<f64>,
}

/// Reads the score that `text` gives on `scale`; without a scale, any maximum is accepted.
///
/// Verdicts in a fixed form take precedence over prose: `[[8]]`, `[RESULT] 8`, `<score>8</score>`, JSON or `Rating: 8`
/// is the answer, whatever other numbers there are. Several verdicts of one form must be equal, except that the last
/// one wins if it ends the text on a line of its own, or if the earlier ones are quotations.
pub fn read_score(text: &str, scale: Option<Scale>) -> Reading {
    let text = match plain(text) {
        Ok(text) => in_numbers(in_digits(&text), scale),
        Err(reason) => return Reading::Unread(reason),
    };
    let text = &text[..];
    let mut lines = text.lines().filter(|line| !is_blank(line));
    let first = lines.next().unwrap_or(text);
    let last = lines.clone().next_back().unwrap_or(first);

    if let Some(pair) = PAIR.captures(first) {
        return match (number(&pair["n"]), number(&pair["m"])) {
            (Some(first), Some(second)) => Reading::Pair(first, second),
            _ => Reading::Unread(Unread::NoVerdict),
        };
    }
    let alone = |line: &str| {
        let is_even = line.contains('<') <= line.contains('>');
        LINE.captures(line).filter(|_| is_even).and_then(|line| found(&line))
    };
    let line_of = |line: &str, value: Found| {
        let start = line.as_ptr().addr() - text.as_ptr().addr();
        Claim { value, start, core: start, end: start + line.len() }
    };
    if let Some(found) =
        (last.as_ptr() == first.as_ptr()).then(|| alone(&NUMBER_HEADING.replace(first, ""))).flatten()
    {
        return reading(Ok(found), scale);
    }
    for form in [&BRACKETS, &RESULT] {
        let claims = all(form, text);
        if !claims.is_empty() {
            return decide(claims, text, scale, LastWord::OnItsLine);
        }
    }
    let claims = tagged(text, scale);
    if !claims.is_empty() {
        return decide(claims, text, scale, LastWord::AfterQuotations);
    }
    let claims = all(&ATTRIBUTE, text);
    if !claims.is_empty() {
        return decide(claims, text, scale, LastWord::Never);
    }
    let entries = json::entries(text, &KEYS);
    if !entries.is_empty() {
        return match entries.into_iter().map(|entry| from_json(entry, scale)).collect::<Option<Vec<_>>>() {
            Some(claims) => decide(claims, text, scale, LastWord::AfterQuotations),
            None => Reading::Unread(Unread::NoVerdict),
        };
    }
    if json::is_meant(text) {
        return Reading::Unread(Unread::NoVerdict);
    }
    let mut claims: Vec<_> =
        [&LABELLED, &INLINE, &HEADING, &BARE_LABEL].into_iter().flat_map(|form| all(form, text)).collect();
    if !claims.is_empty() {
        claims.sort_by_key(|claim| (claim.end, claim.start));
        claims.dedup_by_key(|claim| claim.end);
        return decide(claims, text, scale, LastWord::OnItsLine);
    }
    let claims = boxed(text, scale);
    if !claims.is_empty() {
        return decide(claims, text, scale, LastWord::OnItsLine);
    }
    if let Some(found) = alone(first) {
        let differs = lines.clone().any(|line| alone(line).is_some_and(|other| other.score != found.score));
        return match differs {
            true => Reading::Unread(Unread::Contradiction),
            false => decide(vec![line_of(first, found)], text, scale, LastWord::Never),
        };
    }
    if let Some(opening) = OPENING.captures(text)
        && (opening.name("of").is_some() || opening.name("stop").is_none())
        && !lines.any(|line| ENUMERATED.is_match(line))
    {
        let value =
            opening.name("of").or_else(|| opening.name("n")).map(|last| last.end()).zip(found(&opening));
        let claims = value.map(|(end, value)| Claim { value, start: 0, core: 0, end });
        return decide(claims.into_iter().collect(), text, scale, LastWord::Never);
    }
    let claims = conclusions(text, scale);
    if !claims.is_empty() {
        return decide(claims, text, scale, LastWord::Never);
    }
    // A bare number at the end may be the result of a calculation.
    if let Some(found) = alone(last).filter(|found| found.of.is_some()) {
        return decide(vec![line_of(last, found)], text, scale, LastWord::Never);
    }
    let sentence = &text[sentence_start(text, text.len())..];
    if let Some(captures) = LAST_SENTENCE.captures(sentence)
        && SHARE.find_iter(text).count() == 1
        && !SHORT_WORD.is_match(&text[..text.len() - sentence.len()])
        && let Some(value) = found(&captures)
    {
        let start = text.len() - sentence.len();
        let claim = Claim { value, start, core: start, end: text.len() };
        return decide(vec![claim], text, scale, LastWord::Never);
    }
    let is_only_one = |claim: &Claim<Found>| {
        let rest = &text[claim.end..];
        let is_part = rest
            .trim_start()
            .strip_prefix(['/', '-', '–'])
            .is_some_and(|rest| rest.trim_start().starts_with(|c: char| c.is_ascii_digit()));
        // A second number on the line is another verdict.
        let line = rest.lines().next().unwrap_or("");
        !is_part
            && !SENTENCE.is_match(line)
            && !SHARE.is_match(&rest[..rest.find(['.', '\n']).unwrap_or(rest.len())])
    };
    let mut claims: Vec<_> = all(&SENTENCE, text).into_iter().filter(is_only_one).collect();
    let is_own = |claim: &Claim<Found>| {
        let sentence = &text[sentence_start(text, claim.core)..claim.core];
        OWN.is_match(sentence) && !OF_OTHERS.is_match(sentence)
    };
    if !claims.iter().any(is_own) {
        claims.clear();
    }
    claims.extend(verdicts(text, scale));
    if claims.is_empty() && text.lines().filter(|line| COUNTED.is_match(line)).count() == 1 {
        claims = all(&CRITERION, text);
    }
    decide(claims, text, scale, LastWord::Never)
}

fn decide(claims: Vec<Claim<Found>>, text: &str, scale: Option<Scale>, last_word: LastWord) -> Reading {
    reading(settle(claims, text, last_word, |one, other| one.score == other.score), scale)
}

fn reading(found: Result<Found, Unread>, scale: Option<Scale>) -> Reading {
    match (found, scale) {
        (Err(reason), _) => Reading::Unread(reason),
        (Ok(Found { of: Some(of), .. }), Some(scale)) if of != scale.max => {
            Reading::Unread(Unread::OtherScale)
        }
        // `8/5`: one of the numbers is wrong, or it is no score.
        (Ok(Found { of: Some(of), score }), _) if score > of => Reading::Unread(Unread::AboveMaximum),
        (Ok(found), _) => Reading::Score(found.score),
    }
}

fn is_on(found: Found, scale: Option<Scale>) -> bool {
    scale.is_none_or(|scale| scale.contains(found.score))
}

fn all(form: &Regex, text: &str) -> Vec<Claim<Found>> {
    let complete = |captures: &Captures<'_>| {
        let rest = captures.name("rest").map_or("", |rest| rest.as_str());
        // A `Note` may be any remark, and points may be a count.
        let is_remark = captures.name("label").is_some_and(|label| REMARK.is_match(label.as_str()));
        // `1. Clear. 2. Short.`
        let is_first = ["n", "n2"].iter().any(|n| captures.name(n).is_some_and(|n| n.as_str() == "1"));
        let is_list = is_first && (rest.contains(" 2.") || rest.contains(" 2)"));
        !is_list && !CONTINUES.is_match(rest) && (!is_remark || captures.name("of").is_some() || is_end(rest))
    };
    form.captures_iter(text).filter(complete).filter_map(|captures| claim(&captures, text)).collect()
}

/// Replaces a maximum in words, and circled digits.
fn in_digits(text: &str) -> String {
    const MAXIMA: [(&str, &str); 8] =
        [("a", "3"), ("b", "4"), ("c", "5"), ("d", "6"), ("e", "7"), ("f", "10"), ("g", "20"), ("h", "100")];
    let text = OUT_OF_WORDS.replace_all(text, |share: &Captures<'_>| {
        let maximum = MAXIMA.iter().find(|(name, _)| share.name(name).is_some());
        format!("{} out of {}", &share["n"], maximum.map_or("", |(_, digits)| digits))
    });
    let text = ORNATE_DIGIT.replace_all(&text, |found: &Captures<'_>| {
        let digit = found["digit"].chars().next().map_or(0, |c| match u32::from(c) {
            circled @ 0x2460..=0x2469 => circled - 0x245f,
            0xb9 => 1,
            second @ 0xb2..=0xb3 => second - 0xb0,
            raised => raised.saturating_sub(0x2070),
        });
        format!("{}{digit}{}", &found["before"], &found["end"])
    });
    text.into_owned()
}

/// Converts stars to numbers, and percentages to scores if the scale ends at 100.
fn in_numbers(text: String, scale: Option<Scale>) -> String {
    let Some(scale) = scale else { return text };
    if scale.max == 100.0 && scale.min == 0.0 {
        return text.replace('%', "");
    }
    if !STARS.is_match(&text) || text.contains(|c: char| c.is_ascii_digit()) {
        return text;
    }
    let count = |stars: &str, of: &[char]| stars.chars().filter(|star| of.contains(star)).count();
    let number = |stars: &Captures<'_>| {
        let (given, all) = (count(&stars[0], &['★', '⭐', '🌟']), stars[0].chars().count());
        if all as f64 == scale.max { format!("{given}/{all}") } else { stars[0].to_owned() }
    };
    STARS.replace_all(&text, number).into_owned()
}

/// Sentences that are verdicts. A sentence about `it` is one only on the last line; before, it may be about any part.
fn verdicts(text: &str, scale: Option<Scale>) -> Vec<Claim<Found>> {
    let last_line = text.rfind('\n').unwrap_or(0);
    let is_on_answer = |captures: &Captures<'_>| captures.name("it").is_none_or(|it| it.start() >= last_line);
    let claims =
        VERDICT.captures_iter(text).filter(is_on_answer).filter_map(|captures| claim(&captures, text));
    claims.filter(|claim| is_on(claim.value, scale)).collect()
}

fn claim(captures: &Captures<'_>, text: &str) -> Option<Claim<Found>> {
    let whole = captures.get_match();
    // From the first letter or digit: a full stop before it belongs to another sentence.
    let is_mark = |c: char| !c.is_alphanumeric() && !matches!(c, '[' | '\\');
    let decoration = whole.as_str().len() - whole.as_str().trim_start_matches(is_mark).len();
    let number = captures.name("n").or_else(|| captures.name("n2"))?;
    let start = (whole.start() + decoration).min(number.start());
    let end = captures.name("rest").map_or(whole.end(), |rest| rest.start());
    // Excludes the end of the line.
    let end = number.start() + text[number.start()..end].trim_end().len();
    Some(Claim { value: found(captures)?, start, core: number.start(), end })
}

fn found(captures: &Captures<'_>) -> Option<Found> {
    let named = |names: [&str; 2]| names.into_iter().find_map(|name| captures.name(name));
    let score = named(["n", "n2"]).and_then(|n| number(n.as_str()))?;
    let of = named(["of", "of2"]).and_then(|of| number(of.as_str()));
    Some(Found { score, of })
}

/// Scores between tags, or after an opening tag if a stop sequence truncated the text.
fn tagged(text: &str, scale: Option<Scale>) -> Vec<Claim<Found>> {
    let (mut claims, mut last) = (Vec::new(), Vec::new());
    for tag in TAG.captures_iter(text) {
        let name = tag["tag"].to_lowercase().replace('-', "_");
        let is_closed = tag.name("same").is_none_or(|same| same.as_str().eq_ignore_ascii_case(&tag["tag"]));
        let Some(value) = tag.name("value").or_else(|| tag.name("inside")) else { continue };
        let score = LINE.captures(value.as_str()).or_else(|| LABELLED.captures(value.as_str()));
        let Some(value) = score.and_then(|score| found(&score)).filter(|_| is_closed) else { continue };
        let (start, end) = (tag.get_match().start(), tag.get_match().end());
        let claim = Claim { value, start, core: start, end };
        if TAGS.contains(&&name[..]) {
            claims.push(claim);
        } else if LAST_TAGS.contains(&&name[..]) && is_end(&text[claim.end..]) && is_on(value, scale) {
            last.push(claim);
        }
    }
    if claims.is_empty() { last } else { claims }
}

/// The content of a box, if the words before it announce a verdict or there are none: boxes are for calculations.
fn boxed(text: &str, scale: Option<Scale>) -> Vec<Claim<Found>> {
    let is_verdict =
        |claim: &Claim<Found>| is_on(claim.value, scale) && leads_to_verdict(&text[..claim.start]);
    let claims = all(&BOXED, text);
    let is_last = claims.last().is_some_and(|last| is_end(&text[last.end..]) && is_verdict(last));
    if is_last { claims } else { Vec::new() }
}

fn leads_to_verdict(before: &str) -> bool {
    let words = &before[sentence_start(before, before.len())..];
    if words.chars().any(char::is_alphanumeric) {
        return JUDGES.is_match(words) && !CALCULATES.is_match(words);
    }
    let before = before.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '$' | '\\' | '[' | '('));
    let line = &before[before.rfind('\n').map_or(0, |newline| newline + 1)..];
    let is_heading = line.starts_with('#') || line.ends_with(':');
    match JUDGES.is_match(line) && is_heading {
        true => !CALCULATES.is_match(line),
        false => {
            (before.is_empty() || before.ends_with(['.', '!', '?', '。', '`']))
                && !CALCULATES.is_match(before)
        }
    }
}

/// `Overall: 7` after scores of parts; `Final answer: 8` at the end, unless there is a calculation.
fn conclusions(text: &str, scale: Option<Scale>) -> Vec<Claim<Found>> {
    // A total may be the sum of earlier numbers.
    let is_sum = |claim: &Claim<Found>| {
        let is_total = text[claim.start..claim.core].to_lowercase().contains("total");
        let parts =
            || CRITERION_VALUE.captures_iter(&text[..claim.start]).filter_map(|part| number(&part["n"]));
        let is_alone =
            claim.value.of.is_some() && !text[..claim.start].contains(|c: char| c.is_ascii_digit());
        is_total && !is_alone && (parts().count() < 2 || parts().sum::<f64>() == claim.value.score)
    };
    let is_verdict = |claim: &Claim<Found>| {
        let is_answer = text[claim.start..claim.end].to_lowercase().contains("answer");
        is_on(claim.value, scale)
            && !is_sum(claim)
            && (!is_answer || (is_end(&text[claim.end..]) && !CALCULATES.is_match(&text[..claim.start])))
    };
    own(all(&CONCLUSION, text).into_iter().filter(is_verdict).collect(), text)
}

fn from_json(entry: Claim<Entry>, scale: Option<Scale>) -> Option<Claim<Found>> {
    let Claim { value: Entry { value, is_cut }, start, core, end } = entry;
    let value = match value {
        Value::Number(score) => Found { score: score.as_f64().filter(|score| score.is_finite())?, of: None },
        Value::String(text) => LINE.captures(text.trim()).and_then(|line| found(&line))?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    // If the text ends after the first digit, there may have been another.
    let may_go_on = is_cut && scale.is_none_or(|scale| value.score * 10.0 <= scale.max);
    (!may_go_on).then_some(Claim { value, start, core, end })
}

/// A comma before three digits may be a thousands separator.
fn number(text: &str) -> Option<f64> {
    let (_, fraction) = text.split_once(',').unwrap_or_default();
    let number: f64 = text.replace(',', ".").parse().ok()?;
    (fraction.len() != 3 && number.is_finite()).then_some(number)
}
