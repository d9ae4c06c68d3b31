//! Texts, times and numbers of records, shown harmlessly.

use maud::{Markup, html};
use time::{PrimitiveDateTime, format_description::FormatItem, macros::format_description};

/// Characters of a text in a list.
pub(super) const PREVIEW_CHARACTERS: usize = 240;

/// Characters of a text that a page shows at first.
pub(super) const SHOWN_CHARACTERS: usize = 20_000;

const SHOWN: &[FormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]");
const WHOLE: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// The first `characters` of `text`, and whether that is all.
pub(super) fn beginning(text: &str, characters: usize) -> (&str, bool) {
    match text.char_indices().nth(characters) {
        Some((end, _)) => (&text[..end], false),
        None => (text, true),
    }
}

/// A text of a record. Its direction is its own, and characters that are invisible or reorder others are named.
pub(super) fn text(text: &str) -> Markup {
    html! { bdi { (visible(text)) } }
}

/// A part of a text, inside an element with the direction of the whole.
pub(super) fn visible(text: &str) -> Markup {
    let mut rest = text;
    html! {
        @while let Some(place) = rest.find(is_unseen) {
            @let (before, after) = rest.split_at(place);
            // It was found, so that there is one.
            @let unseen = after.chars().next().unwrap_or_default();
            (before)
            span.unseen { "U+" (format!("{:04X}", u32::from(unseen))) }
            @let () = rest = &after[unseen.len_utf8()..];
        }
        (rest)
    }
}

/// The same without markup, for plots.
pub(super) fn plain(text: &str) -> String {
    let named = |character: char| match is_unseen(character) {
        true => format!("[U+{:04X}]", u32::from(character)),
        false => character.to_string(),
    };
    text.chars().map(named).collect()
}

/// Whether the character is a control, or changes the direction of the text after it.
fn is_unseen(character: char) -> bool {
    let is_layout = matches!(character, '\n' | '\t');
    character.is_control() && !is_layout
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{feff}')
}

/// A time in UTC as text, for plots.
pub(super) fn moment(time: PrimitiveDateTime) -> String {
    time.format(SHOWN).expect("a time has these parts")
}

/// A time in UTC, which the script shows in the reader's zone.
pub(super) fn time(time: PrimitiveDateTime) -> Markup {
    let written = |format| time.format(format).expect("a time has these parts");
    let (shown, whole) = (written(SHOWN), written(WHOLE));
    html! { time datetime=(whole) title={ (whole) } { (shown) " UTC" } }
}

/// An id, which can be copied.
pub(super) fn id(id: &str) -> Markup {
    html! { code.id data-copy=(id) { (text(id)) } }
}

/// A count with its thousands separated.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let first = digits.len() % 3;
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == first {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

/// `count` of `noun`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    let plural = match noun.strip_suffix('y') {
        _ if count == 1 => noun.to_owned(),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if noun.ends_with("ch") => format!("{noun}es"),
        _ => format!("{noun}s"),
    };
    format!("{} {plural}", self::count(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped_and_direction_overrides_are_named() {
        let shown = text("<script>\u{202e}x\u{0}\n&").into_string();
        assert_eq!(
            shown,
            "<bdi>&lt;script&gt;<span class=\"unseen\">U+202E</span>x<span class=\"unseen\">U+0000</span>\n&amp;</bdi>"
        );
        assert_eq!(text("👩‍👩‍👧 é").into_string(), "<bdi>👩‍👩‍👧 é</bdi>");
    }

    #[test]
    fn beginning_ends_between_characters() {
        assert_eq!(beginning("äöü", 2), ("äö", false));
        assert_eq!(beginning("äöü", 3), ("äöü", true));
    }

    #[test]
    fn counts_are_grouped() {
        let shown = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(shown, ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        for (noun, plural) in
            [("query", "2 queries"), ("day", "2 days"), ("search", "2 searches"), ("row", "2 rows")]
        {
            assert_eq!(counted(2, noun), plural);
        }
        assert_eq!(counted(1, "query"), "1 query");
    }
}
