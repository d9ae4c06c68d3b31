//! What differs between two texts, by words.

use maud::{Markup, html};
use serde::Serialize;
use similar::{Algorithm, DiffTag, DiffableStr as _, capture_diff_slices};

use super::text;

/// Words and spaces of a text that are compared at most: the first ones. Comparing twice as many takes up to four times as
/// long.
const MOST_WORDS: usize = 20_000;

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Piece {
    pub(super) text: String,
    /// Whether the other text has another one here, or none.
    pub(super) is_changed: bool,
}

/// Two texts in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sides {
    pub(super) first: Vec<Piece>,
    pub(super) second: Vec<Piece>,
    /// Whether all of both was compared. The rest of a longer one is not marked.
    pub(super) is_whole: bool,
}

/// Compares two texts.
pub(super) fn compared(first: &str, second: &str) -> Sides {
    let (old, old_rest) = words(first);
    let (new, new_rest) = words(second);
    let (mut old_changed, mut new_changed) = (vec![false; old.len()], vec![false; new.len()]);
    let mut after_change = false;
    let operations = capture_diff_slices(Algorithm::Myers, &old, &new);
    let mut operations = operations.iter().map(similar::DiffOp::as_tag_tuple).peekable();
    while let Some((tag, of_old, of_new)) = operations.next() {
        // A space between changed words is no more alike than they are.
        let is_gap = after_change
            && operations.peek().is_some()
            && old[of_old.clone()].iter().all(|word| word.trim().is_empty());
        if tag != DiffTag::Equal || is_gap {
            old_changed[of_old].fill(true);
            new_changed[of_new].fill(true);
        }
        after_change = tag != DiffTag::Equal;
    }
    Sides {
        first: pieces(&old, &old_changed, old_rest),
        second: pieces(&new, &new_changed, new_rest),
        is_whole: old_rest.is_empty() && new_rest.is_empty(),
    }
}

/// The first words of a text, and the rest of it.
fn words(text: &str) -> (Vec<&str>, &str) {
    let mut words = text.tokenize_unicode_words();
    words.truncate(MOST_WORDS);
    let length = words.iter().map(|word| word.len()).sum();
    (words, &text[length..])
}

fn pieces(words: &[&str], changed: &[bool], rest: &str) -> Vec<Piece> {
    let all = words.iter().copied().zip(changed.iter().copied()).chain([(rest, false)]);
    let mut pieces: Vec<Piece> = Vec::new();
    for (word, is_changed) in all.filter(|(word, _)| !word.is_empty()) {
        match pieces.last_mut() {
            Some(last) if last.is_changed == is_changed => last.text.push_str(word),
            _ => pieces.push(Piece { text: word.to_owned(), is_changed }),
        }
    }
    pieces
}

/// A text whose changed parts are marked.
pub(super) fn marked(pieces: &[Piece]) -> Markup {
    html! {
        // One direction for all parts: words of a text are not reordered by their marks.
        bdi { @for piece in pieces {
            @if piece.is_changed { mark { (text::visible(&piece.text)) } } @else { (text::visible(&piece.text)) }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changed parts in brackets.
    fn shown(pieces: &[Piece]) -> String {
        let piece = |piece: &Piece| match piece.is_changed {
            true => format!("[{}]", piece.text),
            false => piece.text.clone(),
        };
        pieces.iter().map(piece).collect()
    }

    fn check(first: &str, second: &str, expected: [&str; 2]) {
        let sides = compared(first, second);
        assert_eq!([shown(&sides.first), shown(&sides.second)], expected);
        let whole = |pieces: &[Piece]| pieces.iter().map(|piece| piece.text.as_str()).collect::<String>();
        assert_eq!([whole(&sides.first), whole(&sides.second)], [first, second]);
        assert!(sides.is_whole);
    }

    #[test]
    fn changed_words_are_marked_on_both_sides() {
        check("the cat sat", "the cat sat", ["the cat sat"; 2]);
        check("the cat sat", "the dog sat", ["the [cat] sat", "the [dog] sat"]);
        check("a b c d e", "a x y d e", ["a [b c] d e", "a [x y] d e"]);
        check("one two", "one", ["one[ two]", "one"]);
        check("", "all new", ["", "[all new]"]);
        check("", "", ["", ""]);
        check("day 32.3, ok", "day 9.84, ok", ["day [32.3], ok", "day [9.84], ok"]);
        check("line\nnext", "line\r\nnext", ["line[\n]next", "line[\r\n]next"]);
    }

    #[test]
    fn words_are_those_of_every_script() {
        check("你好世界", "你好地界", ["你好[世]界", "你好[地]界"]);
        check("שלום עולם", "שלום לכם", ["שלום [עולם]", "שלום [לכם]"]);
        check("ok 👩‍🔬!", "ok 👩‍👩‍👧!", ["ok [👩‍🔬]!", "ok [👩‍👩‍👧]!"]);
        check("e\u{301}te\u{301}", "ete", ["[e\u{301}te\u{301}]", "[ete]"]);
    }

    #[test]
    fn long_and_hostile_texts_are_compared_in_part() {
        let long = "word, ".repeat(200_000);
        let other = format!("{}end", "drow; ".repeat(200_000));
        let sides = compared(&long, &other);
        assert!(!sides.is_whole);
        assert_eq!(sides.second.iter().map(|piece| piece.text.len()).sum::<usize>(), other.len());
        assert_eq!(sides.second.last().map(|piece| piece.is_changed), Some(false));
        // No two words are alike, and every word is on both sides, in the opposite order.
        let numbers: Vec<String> = (0..MOST_WORDS / 2).map(|number| format!("{number} ")).collect();
        let backwards: String = numbers.iter().rev().map(String::as_str).collect();
        let sides = compared(&numbers.concat(), &backwards);
        assert!(sides.is_whole && sides.first.iter().any(|piece| !piece.is_changed));
    }

    #[test]
    fn markup_is_escaped() {
        let sides = compared("a <b>x</b> \u{202e}", "a <i>x</i>");
        let markup = marked(&sides.first).into_string();
        assert!(
            !markup.contains("<b>") && markup.contains("U+202E") && markup.contains("<mark>b</mark>"),
            "{markup}"
        );
        assert_eq!(markup.matches("<bdi>").count(), 1);
    }
}
