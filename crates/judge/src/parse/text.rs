//! Normalization of a judge's text: removes formatting.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex};

use super::{Unread, pattern};

/// Longer than any judge's answer, including its reasoning; bounds the time of parsing.
const MAX_BYTES: usize = 256 << 10;

const THINKS: &str = r"(?:<(?:(?:seed:|ant)?think|(?:ant)?thinking|reasoning|thoughts?|scratchpad)>|\[think\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>\s*(?:analysis|commentary)\b)";
const HAS_THOUGHT: &str = r"(?:</(?:(?:seed:|ant)?think|(?:ant)?thinking|reasoning|thoughts?|scratchpad)>|\[/think\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>\s*final\s*<\|message\|>)";
static THOUGHTS: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?is){THINKS}.*?{HAS_THOUGHT}")));
static OPEN_THOUGHTS: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?is)^\s*{THINKS}")));
/// Some servers drop the opening tag.
static CLOSED_THOUGHTS: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?is)^.*{HAS_THOUGHT}")));
/// Terminal escape sequences, such as colours.
static ANSI: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[\x1b\u{241b}](?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)"));
/// HTML tags for formatting; some are line breaks.
static LOOKS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)</?(?:b|i|u|em|strong|span|font|code|mark|center)(?:\s[^<>\n]{0,100})?>"));
static BREAKS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)</?(?:br|p|div|h[1-6]|ul|ol|li|hr|table|t[dhr])(?:\s[^<>\n]{0,100})?/?>"));
static STRUCK_OUT: LazyLock<Regex> = LazyLock::new(|| pattern(r"~~[^~\n]{1,80}~~"));
/// Formulas: fonts, fractions, spaces, and delimiters around a number.
static FONT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|bm|bf|emph|underline)\s*\{([^{}\n]{0,80})\}",
    )
});
static FRACTION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\\[dt]?frac\s*\{\s*([0-9.,]{1,9})\s*\}\s*\{\s*([0-9.,]{1,9})\s*\}"));
static SPACE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\\(?:[,;:! ]|q?quad\b)"));
static FORMULA: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:\$\$?|\\[(\[])\s*([-+]?[0-9.,/ ]{1,20}|\\(?:boxed|fbox)\s*\{[^{}$\n]{0,80}\}(?:\s*/\s*[0-9]{1,4})?)\s*(?:\$\$?|\\[)\]])",
    )
});
/// A number and a fraction in one character.
static FRACTIONS: LazyLock<Regex> = LazyLock::new(|| pattern(r"([0-9]) ?([½¼¾])"));
/// Not emphasis: without the stars, the numbers would be joined.
static TIMES: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\d)\*+(\d)"));
/// HTML's tables, and named entities.
static CELLS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)</t[dh]>\s*<t[dh](?:\s[^<>\n]{0,100})?>"));
static CDATA: LazyLock<Regex> = LazyLock::new(|| pattern(r"<!\[CDATA\[([^<>\[\]]{0,80})\]\]>"));
static NAMED: LazyLock<Regex> = LazyLock::new(|| pattern(r"&(lt|gt|quot|nbsp);"));
/// A decimal digit of a script other than ASCII.
static FOREIGN_DIGIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\d&&[^0-9]]"));

/// The text after the judge's reasoning, without emphasis, with digits and brackets in ASCII.
pub(super) fn plain(text: &str) -> Result<String, Unread> {
    if text.len() > MAX_BYTES {
        return Err(Unread::TooLong);
    }
    let text = ANSI.replace_all(text, "");
    let text = TIMES.replace_all(&text, "$1×$2");
    let text = text.replace(r"\*", "").replace('\u{1f51f}', "10");
    let text: String = text.chars().filter(|c| !is_unseen(*c)).map(in_ascii).collect();
    let mut text = THOUGHTS.replace_all(&text, "");
    if OPEN_THOUGHTS.is_match(&text) {
        return Err(Unread::OnlyThoughts);
    }
    if let Cow::Owned(without) = CLOSED_THOUGHTS.replace(&text, "") {
        text = Cow::Owned(without);
    }
    let digits = |digit: &Captures<'_>| digit[0].chars().filter_map(ascii_digit).collect::<String>();
    let text = FOREIGN_DIGIT.replace_all(&text, digits);
    let text = NAMED.replace_all(&text, |name: &Captures<'_>| match &name[1] {
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        _ => " ",
    });
    let text = FRACTIONS.replace_all(&text, |number: &Captures<'_>| {
        let fraction = match &number[2] {
            "½" => "5",
            "¼" => "25",
            _ => "75",
        };
        format!("{}.{fraction}", &number[1])
    });
    let text = without_markup(text);
    let plain = text.trim();
    if plain.is_empty() { Err(Unread::Empty) } else { Ok(plain.to_owned()) }
}

fn without_markup(mut text: Cow<'_, str>) -> Cow<'_, str> {
    let mut replace = |form: &Regex, by: &str| {
        if let Cow::Owned(without) = form.replace_all(&text, by) {
            text = Cow::Owned(without);
        }
    };
    replace(&CELLS, " | ");
    replace(&CDATA, "$1");
    replace(&LOOKS, "");
    replace(&BREAKS, "\n");
    replace(&STRUCK_OUT, "");
    // Twice, for a font within another.
    replace(&FONT, "$1");
    replace(&FONT, "$1");
    replace(&FRACTION, "$1/$2");
    replace(&SPACE, " ");
    replace(&FORMULA, "$1");
    text
}

/// Whether a line is blank, or the edge of a block.
pub(super) fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.strip_prefix("```").unwrap_or(line).chars().all(|c| c.is_ascii_alphabetic() && line.starts_with('`'))
}

/// Emphasis, and invisible characters.
fn is_unseen(c: char) -> bool {
    match c {
        '\n' | '\t' | '\u{b}' | '\u{c}' | '\u{85}' => false,
        '*' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => true,
        '\u{2060}'..='\u{2069}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{20e3}' => true,
        c => c.is_control(),
    }
}

fn in_ascii(c: char) -> char {
    match c {
        // Full-width forms have a fixed distance from ASCII.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        // The Arabic decimal separator.
        '\u{66b}' => '.',
        '\u{2212}' => '-',
        '\u{2044}' | '\u{2215}' => '/',
        '【' | '〔' => '[',
        '】' | '〕' => ']',
        '\u{2236}' | '\u{fe55}' => ':',
        '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
        '\u{a0}' | '\u{3000}' | '\u{2000}'..='\u{200a}' | '\u{202f}' => ' ',
        other => other,
    }
}

/// The ASCII digit for `c`. The decimal digits of a script are consecutive from 0 to 9, and where several such
/// sequences are adjacent, as for mathematical digits, each starts with a 0.
fn ascii_digit(c: char) -> Option<char> {
    let is_digit = |place: u32| {
        let mut bytes = [0; 4];
        char::from_u32(place).is_some_and(|c| FOREIGN_DIGIT.is_match(c.encode_utf8(&mut bytes)))
    };
    let before = (1..64).take_while(|distance| is_digit(u32::from(c).wrapping_sub(*distance))).count();
    char::from_digit(u32::try_from(before).ok()? % 10, 10)
}
