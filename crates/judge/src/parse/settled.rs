//! A later sentence in which the judge settles on another verdict.

use std::sync::LazyLock;

use regex::Regex;

use super::pattern;

const VALUE: &str = r"(?:an?\s+)?[\[(]*(?<n>[0-9]{1,3}(?:[.,][0-9]{1,2})?|one|two|three|four|five|six|seven|eight|nine|ten|(?:answer|response|assistant|output|option)?\s*\(?(?-i:[AB])\)?)[\])]*(?:\s*(?:/|out\s+of)\s*[0-9]{1,3})?";
const ENDS: &str = r"(?:\s+(?:points?|instead|rather|now|overall|after\s+all|then))*\s*(?:[.!;)\]]|$)";
const OPENS: &str = r"(?:^|[.!?]\s+)[\s(]*(?:(?:hmm*|actually|really|perhaps|maybe|probably|honestly|on\s+balance|on\s+reflection|on\s+second\s+thoughts?|all\s+in\s+all|all\s+things\s+considered|in\s+the\s+end|in\s+hindsight|in\s+fact|on\s+(?:an?\s+)?(?:second|closer)\s+(?:look|reading)|i\s+reconsider(?:ed)?|reconsidering|thinking\s+again|then\s+again|having\s+reread\s+it|no|wait|well|but|so|or|yet|then|still|overall|therefore|thus)\b[\s,.:–—-]*|(?:→|->|=>)\s*)";
const MOVES: &str = r"(?:settl\w+|end(?:ing)?\s+up|land\w*|go(?:ing)?|lower\w*|rais\w+|drop\w*|reduc\w+|increas\w+|decreas\w+|bump\w*|downgrad\w+|upgrad\w+|revis\w+|chang\w+|adjust\w*|correct\w*|mov\w+|cut\w*|bring\w*|set\w*|switch\w*|mak(?:e|ing))";

/// Sentences that give a verdict again.
static SETTLES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?im){OPENS}*(?:(?:(?:i|we)(?:['’](?:d|ll|m|ve|re))?\s+(?:\w+\s+){{0,3}}?|let\s+me\s+(?:\w+\s+)?){MOVES}\s+(?:\w+\s+){{0,4}}?(?:on|for|at|to|with|into)\s+|{MOVES}\s+(?:(?:it|this|that|my\s+\w+)\s+)?(?:down\s+|up\s+)?(?:to|at|on)\s+|(?:i|we)(?:['’]d|\s+would)?\s+(?:now|actually|rather)\s+(?:think|say|believe|prefer|give|rate)\s+(?:(?:it['’]s|it\s+is|it|this)\s+)?|(?:i|we)(?:['’](?:d|ll|m)|\s+would|\s+will|\s+must)?\s+(?:give|rate|score|award)\s+(?:it|this|the\s+\w+)\s+(?:at\s+)?|(?:(?:my|the)\s+)?(?:actual|real|true|revised|new|corrected|adjusted|updated|considered|final)\s+(?:\w+\s+)?(?:score|rating|grade|verdict|mark|choice|winner|judge?ment)\s*(?:is|would\s+be|:|=)\s*|(?:that|it|this)\s+(?:should|ought\s+to)\s+(?:rather\s+)?(?:be|have\s+been)\s+){VALUE}{ENDS}"
    ))
});
/// Such sentences that start with the verdict.
static FAIRER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?im){OPENS}*{VALUE}\s+(?:rather|instead|it\s+is|(?:is|would\s+be|seems|feels|may\s+be|might\s+be)\s+(?:more\s+|probably\s+|perhaps\s+)?(?:fair|fairer|better|closer|apt|apter|appropriate|accurate|right|correct|just|honest|suitable|fitting|realistic))\b"
    ))
});
static MERELY: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?im){OPENS}+{VALUE}{ENDS}")));
/// The value of a verdict.
static GIVEN: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]+(?:[.,][0-9]+)?|\b[ABab]\b"));

const WORDS: [&str; 10] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

/// Whether the text `behind` the verdict `given` settles on another one.
pub(super) fn settles_on_another(given: &str, behind: &str) -> bool {
    let Some(given) = GIVEN.find(given).map(|given| value(given.as_str())) else { return false };
    let is_number = given.starts_with(|c: char| c.is_ascii_digit());
    [&SETTLES, &FAIRER, &MERELY].into_iter().any(|form| {
        form.captures_iter(behind).any(|found| {
            let other = value(&found["n"]);
            other != given && other.starts_with(|c: char| c.is_ascii_digit()) == is_number
        })
    })
}

/// A number in digits, or a letter in upper case.
fn value(text: &str) -> String {
    let text = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '(' | ')'));
    let last = text.rsplit([' ', '(']).next().unwrap_or(text).to_lowercase();
    match WORDS.iter().position(|word| *word == last) {
        Some(place) => (place + 1).to_string(),
        None => last.replace(',', ".").trim_end_matches(".0").to_uppercase(),
    }
}
