//! Shortens a text to the part that determines its first word pieces, without characters that have no effect.
//!
//! The tokenizer processes a text as a whole, with some hundred bytes of memory for each byte. The shortened text has the
//! same first pieces and a bounded length, and takes one pass. It follows the steps of `tokenizer.json`: special tokens
//! are found in the raw text; `BertNormalizer` removes control characters, puts spaces around Chinese ones, decomposes
//! (NFD), and removes nonspacing marks; `BertPreTokenizer` splits at white space and isolates punctuation; `WordPiece`
//! makes at least one piece of each word, and \[UNK\] of one with more than 100 characters.
//!
//! The tables are those that the tokenizer itself uses: tables of another Unicode version would classify characters
//! differently.

use unicode_categories::UnicodeCategories as _;
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

/// A word with more characters is \[UNK\] (`max_input_chars_per_word`).
const MAX_WORD: usize = 100;

/// How the tokenizer treats a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// It splits words.
    White,
    /// It is removed. `bars`: marks are not sorted across it before.
    Unseen { bars: bool },
    /// It is, or decomposes into, a separate word; words end before and after it.
    Lone,
    /// It is part of a word, as at least one character.
    Solid,
}

impl Class {
    fn of(c: char) -> Self {
        match c {
            '\t' | '\n' | '\r' | ' ' => return Self::White,
            'a'..='z' | 'A'..='Z' | '0'..='9' => return Self::Solid,
            '\0' | '\u{fffd}' => return Self::Unseen { bars: false },
            _ if c.is_other() => return Self::Unseen { bars: false },
            _ if c.is_whitespace() => return Self::White,
            _ if c.is_mark_nonspacing() => return Self::Unseen { bars: bars(c) },
            _ if is_chinese(c) => return Self::Lone,
            _ => {}
        }
        let mut is_lone = false;
        decompose_canonical(c, |part| is_lone |= part.is_ascii_punctuation() || part.is_punctuation());
        if is_lone { Self::Lone } else { Self::Solid }
    }
}

/// Whether sorting marks by their combining class stops at the mark.
fn bars(mark: char) -> bool {
    let mut bars = false;
    decompose_canonical(mark, |part| bars |= canonical_combining_class(part) == 0);
    bars
}

/// As in `BertNormalizer`.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{20000}'..='\u{2A6DF}' | '\u{2A700}'..='\u{2B73F}'
        | '\u{2B740}'..='\u{2B81F}' | '\u{2B920}'..='\u{2CEAF}' | '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}')
}

/// A text with the same first `pieces` word pieces as `text`, and with more pieces if and only if `text` has more.
/// `specials` are the special tokens.
pub(crate) fn beginning(text: &str, pieces: usize, specials: &[String]) -> String {
    let mut beginning = Beginning::default();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        // A word is counted at the character that ends it, so that only complete words are counted.
        if beginning.pieces > pieces {
            break;
        }
        let special = specials.iter().find(|special| rest.starts_with(special.as_str()));
        let taken = match special {
            Some(special) => {
                beginning.add_special(special);
                special.len()
            }
            None => {
                beginning.add(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    beginning.kept
}

#[derive(Default)]
struct Beginning {
    kept: String,
    /// Lower bound of the pieces in `kept`, without the word at its end.
    pieces: usize,
    /// Solid characters of the word at the end.
    word: usize,
    /// Characters since the last one that is not removed.
    gap: Gap,
}

/// Removed characters and white space between two others. One of each kind that has an effect is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gap {
    #[default]
    None,
    /// Removed characters. One is kept, because without it special tokens could form.
    Unseen,
    /// Removed characters across which marks are not sorted.
    Bar,
    /// White space, after which removed characters have no effect.
    White,
}

impl Beginning {
    fn add(&mut self, c: char) {
        match Class::of(c) {
            Class::White => {
                self.end_word();
                if self.gap != Gap::White {
                    self.kept.push(' ');
                    self.gap = Gap::White;
                }
            }
            Class::Unseen { bars } => {
                let gap = match (self.gap, bars) {
                    (Gap::None | Gap::Unseen, true) => Gap::Bar,
                    (Gap::None, false) => Gap::Unseen,
                    _ => return,
                };
                // A word that is too long already cannot change.
                if self.word <= MAX_WORD {
                    self.kept.push(c);
                    self.gap = gap;
                }
            }
            Class::Lone => {
                self.end_word();
                self.kept.push(c);
                self.pieces += 1;
                self.gap = Gap::None;
            }
            Class::Solid => {
                self.word += 1;
                if self.word <= MAX_WORD + 1 {
                    self.kept.push(c);
                    self.gap = Gap::None;
                }
            }
        }
    }

    fn add_special(&mut self, special: &str) {
        self.end_word();
        self.kept.push_str(special);
        self.pieces += 1;
        self.gap = Gap::None;
    }

    fn end_word(&mut self) {
        self.pieces += usize::from(self.word > 0);
        self.word = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        beginning(text, 254, &["[SEP]".to_owned()])
    }

    #[test]
    fn characters_without_effect_are_removed() {
        assert_eq!(of("two  \n words"), "two words");
        assert_eq!(of("e\u{301}\u{327}\u{200b}x"), "e\u{301}x");
        assert_eq!(of("\u{200b}\u{e000} \u{301} a"), "\u{200b} a");
        assert_eq!(of("[SE\u{ad}\u{ad}P]"), "[SE\u{ad}P]");
        assert_eq!(of(&"x".repeat(5_000)), "x".repeat(101));
        assert_eq!(of(&format!("{} y", "x\u{301}".repeat(5_000))), format!("{}x y", "x\u{301}".repeat(100)));
        assert_eq!(of(&"[SEP]".repeat(5_000)), "[SEP]".repeat(255));
        assert_eq!(of(&"漢".repeat(5_000)), "漢".repeat(255));
        assert_eq!(of(&"!".repeat(5_000)), "!".repeat(255));
    }

    #[test]
    fn length_is_bounded_for_any_text() {
        for unit in [
            "!",
            "漢",
            "x",
            " ",
            "\u{301}",
            "x\u{301}\u{941}",
            "\u{200b}",
            "€",
            "≠",
            "\u{1d165}\u{941}",
            "[SEP",
            "a ",
        ] {
            let long = unit.repeat(400_000 / unit.len());
            assert!(of(&long).chars().count() <= 255 * 305, "{unit}");
        }
    }
}
