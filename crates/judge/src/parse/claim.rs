//! Selection of the judge's own verdict from several in one text.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    Unread,
    doubt::{is_changed, is_doubted},
    others, pattern,
    sentence::{NEAR_BYTES, sentence_start},
};

/// A verdict and its position.
#[derive(Clone, Debug)]
pub(super) struct Claim<T> {
    pub(super) value: T,
    pub(super) start: usize,
    /// Position of its number or name.
    pub(super) core: usize,
    pub(super) end: usize,
}

/// When the last of several different verdicts counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastWord {
    /// If it ends the text on a line of its own, or as [`LastWord::AfterQuotations`].
    OnItsLine,
    /// If it ends the text, and the earlier ones are within sentences: the judge repeats what it was shown.
    AfterQuotations,
    /// Never.
    Never,
}

/// Verbs and nouns of quotations.
static REPORTS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:wrote|writes?|writing|written|sa(?:ys?|id|ying)|claim(?:s|ed|ing)?|contain(?:s|ed|ing)?|includ(?:es?|ed|ing)|stat(?:es|ed|ing)|ask(?:s|ed|ing)?|demand(?:s|ed|ing)?|insist(?:s|ed|ing)?|instruct(?:s|ed|ing|ions?)?|tell(?:s|ing)?|told|quot(?:es?|ed|ing)|request(?:s|ed|ing)?|repeat(?:s|ed|ing)?|mention(?:s|ed|ing)?|reads?|print(?:s|ed)?|ends?|begins?|starts?|pretend(?:s|ed|ing)?|respond|reply|inject(?:s|ed|ing|ion)?|e\.g|example|instance|format|template|such as|phrase|string|words|text)\b",
    )
});
/// Introductions of a quotation.
static SAYS_THAT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:\b(?:says?|said|claims?|claimed|writes?|wrote|asks?|asked|demands?|demanded|states?|stated|reads?|insists?)\b(?:\s+(?:that|me|for|to\s+\w+))*|\b(?:says|said|claims|claimed|writes|wrote|asks|asked|demands|demanded|states|stated|reads|insists)\b(?:\s+(?:that|me|for|to\s+\w+|it|an?|the|its|is))*|\b(?:contains|contained|includes|mentions|mentioned|quotes|repeats|repeated|prints|outputs|(?:ends|begins|starts)\s+with)(?:\s+(?:an?|the|its|own))*|\b(?:for\s+example|for\s+instance|e\.g\.|(?:example|sample|format|template)(?:\s+(?:is|output|answer|response|verdict))?|looks?\s+like|(?:tells|told)(?:\s+\w+)?|response\s+like))\s*[:,]?\s*$|\bif\b.*\b(?:output|print|write|say|answer|respond\s+with|choose|use)\s*[:,]?\s*$|^\s*(?:say|choose|output|print|write|use|(?:respond|answer|reply)\s+with)(?:\s+the)?\s*$",
    )
});
/// A conditional verdict.
static IS_RULE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^\W*if\b.*,\s*(?:I|we)\b"));
/// The judge's own statement.
static I_SAY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:I|we)(?:['’](?:d|ll))?(?:\s+(?:would|will|must|can|also|therefore|still|(?:have|had)\s+to))*\s+(?:say|state|answer|choose|pick|output)\s*[:,]?\s*$",
    )
});
/// Separators between alternatives.
static OR: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"^["'”’]?\s*(?:,|/|\bor\b|\band\b)\s*(?:(?:or|and)\s+)?["'“‘]?$"#));
/// Words before a verdict that negate it, or make it a bound.
static DENIES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:(?:\bnot|\bnever|n't|n’t|\bcannot|\bhardly|\bno longer|\bnobody|\bno one|\bneither|\bnor)\s+(?:in\s+good\s+\w+,?\s+)?(?:\w+\s+){0,2}(?:give|giving|rate|rating|award|assign|scor(?:e|ing)|grade|deserve|merit|earn|worth|call|say|be|get|receive|going|think|believe|feel|find it|agree|reach|meet|hit|attain|achieve|warrant|justify|approach|make)\b[^.,;:\n]{0,60}|\bbetween\b[^.\n]{0,30}\b(?:and|to)\s*|\b(?:instead of|rather than|(?:more|less|higher|lower|better|worse) than|at (?:least|most)|up to|between|above|below|over|under|about|around|from)\s+(?:an?\s+|the\s+)?(?:score\s+(?:of\s+)?)?|\b(?:itself|himself|herself|themselves)\s+(?:an?\s+)?(?:\w+\s+of\s+)?|\b(?:he|she|others|critics?|users?|reviewers?|readers?|customers?|people|students?|teachers?|experts)\s+(?:\w+ly\s+|would\s+|have\s+|has\s+)?(?:gives?|gave|given|rates?|rated|scores?|scored|awards?|awarded|graded?)\b[^.;:\n]{0,60}|\b(?:film|movie|book|hotel|restaurant|product|game|app|imdb|amazon)(?:['’]s)?\s+(?:has\s+(?:an?\s+)?)?(?:rating|score|is\s+rated)\b[^.;\n]{0,30})[\[(\s]*$",
    )
});
/// A verdict on a hypothetical answer.
static SUPPOSES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b(?:if|had|were|unless)\b.*\b(?:would|could|might)\b|\b(?:would|could|might)\s+have\b")
});
/// Words after a verdict that make it a rule, a hypothesis or a quotation.
static RETRACTS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?i)^[\s"'”’»`)\],]{0,4}\s*(?:would|could|might|if|when|unless|otherwise|for\s+(?:an?\s+)?(?:tie|draw)|in\s+case|stands\s+for|requires?|(?:to\s+)?(?:indicate|denote|mean)s?)\b|^[\s"'”’»`)\].,]{0,4}\s*(?:is what|was what|as (?:claimed|demanded)|as (?:it|the \w+) (?:says?|said|claims?|claimed|demands|wants)|(?:it|the \w+) (?:says?|claims?|writes?|wrote)|says|claims|means|indicates|denotes|represents|is (?:too|not|wrong|claimed|reserved|for|the (?:best|worst|highest|lowest|max|min)\w*)|isn't)\b"#,
    )
});
/// Words that name a verdict, up to the verdict.
static NAMES_IT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[^:=]{0,40}[:=]?[\s\[({]*$"));

/// No judge gives this many verdicts.
pub(super) const MAX_VERDICTS: usize = 500;

const QUOTES: [(char, char); 6] =
    [('"', '"'), ('“', '”'), ('«', '»'), ('„', '“'), ('「', '」'), ('『', '』')];

/// The single verdict that results from `claims` on `text`, in their order.
pub(super) fn settle<T>(
    claims: Vec<Claim<T>>,
    text: &str,
    last_word: LastWord,
    is_same: impl Fn(&T, &T) -> bool,
) -> Result<T, Unread> {
    if claims.len() > MAX_VERDICTS {
        return Err(Unread::Contradiction);
    }
    let mut own = own(claims, text);
    let Some(last) = own.pop() else { return Err(Unread::NoVerdict) };
    let differing: Vec<&Claim<T>> = own.iter().filter(|one| !is_same(&one.value, &last.value)).collect();
    let has_last_word = || {
        is_end(&text[last.end..])
            && match last_word {
                LastWord::OnItsLine => {
                    ends_on_its_line(&own, &last, text)
                        || ends_after_quotations(&own, &differing, &last, text)
                }
                LastWord::AfterQuotations => ends_after_quotations(&own, &differing, &last, text),
                LastWord::Never => false,
            }
    };
    let is_one = differing.is_empty() || has_last_word();
    if is_one && !is_changed(text, last.core, last.end) { Ok(last.value) } else { Err(Unread::Contradiction) }
}

/// The verdicts that the judge states itself about the actual answer.
pub(super) fn own<T>(claims: Vec<Claim<T>>, text: &str) -> Vec<Claim<T>> {
    let is_said = |claim: &Claim<T>| {
        let before = &text[sentence_start(text, claim.start)..claim.start];
        let before = before.trim_end_matches(['"', '\'', '“', '‘', '`']);
        SAYS_THAT.is_match(before) && (!I_SAY.is_match(before) || IS_RULE.is_match(before))
    };
    let mut said_until = None;
    let mut is_among_said = |claim: &Claim<T>| {
        let is_alternative =
            |end: usize| text.get(end..claim.start).is_some_and(|between| OR.is_match(between));
        let is_among = is_said(claim) || said_until.is_some_and(is_alternative);
        said_until = is_among.then_some(claim.end);
        is_among
    };
    let others = others::parts(text);
    let is_of_other = |claim: &Claim<T>| others.iter().any(|part| part.contains(&claim.core));
    claims
        .into_iter()
        .filter(|claim| !is_of_other(claim) && !is_among_said(claim) && is_own(text, claim.core, claim.end))
        .collect()
}

/// Whether the verdict with its number or name at `core..end` is the judge's own: not a quotation, a negation or a
/// hypothesis.
pub(super) fn is_own(text: &str, core: usize, end: usize) -> bool {
    let sentence = sentence_start(text, core);
    let is_quotation = quotation(text, core)
        .is_some_and(|opening| REPORTS.is_match(&text[sentence_start(text, opening)..opening]));
    !is_quotation
        && !DENIES.is_match(&text[sentence..core])
        && !SUPPOSES.is_match(&text[sentence..end])
        && !RETRACTS.is_match(line_rest(text, end))
        && !is_doubted(text, core, end)
}

/// Whether nothing relevant follows.
pub(super) fn is_end(rest: &str) -> bool {
    rest.chars()
        .all(|c| c.is_whitespace() || matches!(c, '.' | '!' | ')' | ']' | '}' | '`' | '_' | '$' | '"' | '\''))
}

fn line_before(text: &str, place: usize) -> &str {
    let near = &text[text.floor_char_boundary(place.saturating_sub(NEAR_BYTES))..place];
    &near[near.rfind('\n').map_or(0, |newline| newline + 1)..]
}

fn line_rest(text: &str, place: usize) -> &str {
    let near = &text[place..text.floor_char_boundary(place.saturating_add(NEAR_BYTES))];
    near.split('\n').next().unwrap_or("")
}

/// The position of the opening quotation mark around `core`, if its line has other words too.
fn quotation(text: &str, core: usize) -> Option<usize> {
    let (before, behind) = (line_before(text, core), line_rest(text, core));
    let has_words = |text: &str| text.chars().any(char::is_alphanumeric);
    let between = |opening: Option<usize>, closing: Option<usize>| {
        let (opening, closing) = (opening?, closing?);
        (has_words(&before[..opening]) || has_words(&behind[closing..]))
            .then_some(core - before.len() + opening)
    };
    let marks = QUOTES.iter().find_map(|(open, close)| {
        let is_open = |place: &usize| match open == close {
            true => before.matches(*open).count() % 2 == 1,
            false => !before[*place..].contains(*close),
        };
        between(before.rfind(*open).filter(is_open), behind.find(*close))
    });
    // An apostrophe follows a letter, an opening mark precedes one.
    let is_mark = |c: &char| matches!(c, '\'' | '‘' | '’');
    let last = before.char_indices().rfind(|(_, c)| is_mark(c)).map(|(place, _)| place);
    let opening = last.filter(|place| !before[..*place].ends_with(char::is_alphanumeric));
    let is_closing = |(place, c): &(usize, char)| {
        is_mark(c) && !behind[place + c.len_utf8()..].starts_with(char::is_alphanumeric)
    };
    marks.or_else(|| between(opening, behind.char_indices().find(is_closing).map(|(place, _)| place)))
}

/// Whether the last one is alone on the last line, which is one sentence.
fn ends_on_its_line<T>(before: &[Claim<T>], last: &Claim<T>, text: &str) -> bool {
    let line = text[..last.end].rfind('\n').map_or(0, |newline| newline + 1);
    let is_alone = before.iter().all(|one| one.end <= line);
    let sentence = text[line..].trim_start_matches(|c: char| !c.is_alphanumeric());
    is_alone && !sentence.contains(". ") && !is_of_another_answer(before, last, text)
}

/// Whether the last one is about the second of several answers, each of which has one.
fn is_of_another_answer<T>(before: &[Claim<T>], last: &Claim<T>, text: &str) -> bool {
    static OTHER: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?im)^[\s#>_\-•]*(?:(?:output|response|assistant|answer|candidate|model|summary|text|student|essay|participant|submission|system|item|question|author|writer)\s*[(#]?\s*(?:no\.?\s*)?(?:[2-9]|[b-d]|two|three|ii|iii)\b|(?:the\s+)?(?:second|third|fourth|2nd|3rd|4th|next|other)\s+(?:output|response|assistant|answer|candidate|model|summary|text|student|essay|participant|submission|system|one)\b)",
        )
    });
    before.last().is_some_and(|one| OTHER.is_match(&text[one.end.min(last.start)..last.end]))
}

/// Whether the last one is or ends a sentence, and the different ones are within sentences.
fn ends_after_quotations<T>(
    before: &[Claim<T>],
    differing: &[&Claim<T>],
    last: &Claim<T>,
    text: &str,
) -> bool {
    let sentence = sentence_start(text, last.start);
    let words = &text[sentence..last.start];
    before.iter().all(|one| one.end <= sentence)
        && words.split_whitespace().count() <= 12
        && !REPORTS.is_match(words)
        && differing.iter().all(|one| is_within_sentence(text, one))
}

/// Whether the sentence has other words than those that name a verdict.
fn is_within_sentence<T>(text: &str, claim: &Claim<T>) -> bool {
    let before = text[sentence_start(text, claim.start)..claim.start].trim_start();
    let rest = line_rest(text, claim.end)
        .trim_start_matches(|c: char| c.is_whitespace() || "\"'”’»)]}`,".contains(c));
    let is_label =
        before.is_empty() || (before.trim_end().ends_with([':', '=']) && NAMES_IT.is_match(before));
    quotation(text, claim.core).is_some() || rest.starts_with(char::is_alphanumeric) || !is_label
}
