//! A judge's text without what only decorates it.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

use super::Unread;

static THOUGHTS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?is)<(think|thinking|reasoning)>.*?</(think|thinking|reasoning)>").expect("a pattern")
});
static OPEN_THOUGHTS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?is)^\s*<(think|thinking|reasoning)>").expect("a pattern"));
/// Some servers swallow the opening tag.
static CLOSED_THOUGHTS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?is)^.*</(think|thinking|reasoning)>").expect("a pattern"));

/// The text after the judge's thoughts, without emphasis, with digits and brackets in ASCII.
pub(super) fn plain(text: &str) -> Result<String, Unread> {
    let mut text = THOUGHTS.replace_all(text, "");
    if OPEN_THOUGHTS.is_match(&text) {
        return Err(Unread::OnlyThoughts);
    }
    if let Cow::Owned(without) = CLOSED_THOUGHTS.replace(&text, "") {
        text = Cow::Owned(without);
    }
    let plain: String = text
        .chars()
        .filter(|c| !matches!(c, '*' | '\u{200b}' | '\u{feff}' | '\r'))
        .map(|c| match c {
            // Full-width forms lie at a fixed distance from ASCII.
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).expect("an ASCII character"),
            '\u{a0}' | '\u{3000}' => ' ',
            other => other,
        })
        .collect();
    let plain = plain.trim();
    if plain.is_empty() { Err(Unread::Empty) } else { Ok(plain.to_owned()) }
}
