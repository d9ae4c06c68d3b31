//! Parts of an answer that are not the judge's own verdict by their name: objects and elements for examples, for other
//! judges and for other answers.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::pattern;

/// Names of other judges, as in `judge_1`.
const JUDGE: &str =
    r"(?:judge|reviewer|rater|evaluator|grader|annotator|referee|assessor|critic|expert|marker|voter)";
static OTHER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"^(?:(?:\w+_)?(?:examples?|samples?|template|placeholder|schema|format|quote|quoted)(?:_(?:\w+_)?(?:output|answer|response|json|verdict|judge?ment))?|(?:previous|prior|earlier|other|another|reference|baseline|expected)(?:_(?:judges?|reviewers?|raters?|evaluators?|answers?|responses?|outputs?|verdicts?|judge?ments?|evaluations?|scores?|ratings?))?|(?:(?:first|second|third|last|former|human|peer|fellow|different|original|external|additional)_{JUDGE}s?|{JUDGE}(?:s|_?\#?_?[0-9]{{1,3}}|_(?:[a-z]|one|two|three|four|five))|humans?|peers?|colleagues?)(?:_(?:answer|response|output|verdict|judge?ment|evaluation|score|rating|result)s?)?)$"
    ))
});
/// An element, or a key of an object or list.
static OPENING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"<\s*(?<tag>[\p{L}_][\p{L}\p{N}_-]{0,30})(?:\s[^<>\n]{0,60})?>|["'“‘](?<key>[^"'“”‘’\\\n{}:,]{1,40})["'”’]\s*:\s*(?<bracket>[{\[])"#,
    )
});

/// Normalizes `overallScore` and `Overall score (1-10)` to `overall_score` and so on.
pub(super) fn named(key: &str) -> String {
    static HUMP: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\p{Ll})(\p{Lu})"));
    let key = key.split(['(', '[']).next().unwrap_or(key);
    HUMP.replace_all(key.trim(), "${1}_$2").to_lowercase().replace([' ', '-'], "_")
}

/// Whether what has this normalized name is an example, or of another judge or answer.
pub(super) fn is_of_other(name: &str) -> bool {
    OTHER.is_match(name)
}

/// The objects, lists and elements in `text` with such names, in their order.
pub(super) fn parts(text: &str) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    for opening in OPENING.captures_iter(text) {
        let whole = opening.get_match();
        if parts.last().is_some_and(|last| whole.start() < last.end) {
            continue;
        }
        let end = match (opening.name("tag"), opening.name("key"), opening.name("bracket")) {
            (Some(tag), _, _) if is_of_other(&named(tag.as_str())) => {
                closing_tag(text, whole.end(), tag.as_str())
            }
            (_, Some(key), Some(bracket)) if is_of_other(&named(key.as_str())) => {
                Some(closing_bracket(text, bracket.start()))
            }
            _ => None,
        };
        parts.extend(end.map(|end| whole.start()..end));
    }
    parts
}

/// The end of the element with the content at `start`, if it is closed.
fn closing_tag(text: &str, start: usize, tag: &str) -> Option<usize> {
    let closing = format!("</{tag}");
    text[start..].find(&closing).map(|place| start + place + closing.len())
}

/// The end of the object or list at `start`; the end of the text if it is cut.
fn closing_bracket(text: &str, start: usize) -> usize {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for (place, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth += 1,
            b'}' | b']' if !is_text => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return place + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_where_their_object_or_element_does() {
        for (text, expected) in [
            (r#"{"example": {"a": "}", "b": [1]}, "score": 8}"#, vec![r#""example": {"a": "}", "b": [1]}"#]),
            (r#"{"judge 1": {"score": 8"#, vec![r#""judge 1": {"score": 8"#]),
            (
                "<judge_2><score>8</score></judge_2><score>7</score>",
                vec!["<judge_2><score>8</score></judge_2"],
            ),
            (
                r#"{"judges": [{"judge_1": {"score": 8}}], "me": {}}"#,
                vec![r#""judges": [{"judge_1": {"score": 8}}]"#],
            ),
            ("<example> without an end <score>8</score>", vec![]),
            (r#"{"judge": {"score": 8}, "judge_notes": [], "human_readable": {}}"#, vec![]),
        ] {
            assert_eq!(
                parts(text).into_iter().map(|part| &text[part]).collect::<Vec<_>>(),
                expected,
                "{text}"
            );
        }
    }
}
