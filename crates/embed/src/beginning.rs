//! The beginning of a text that can matter for its first word pieces, with what cannot matter left out.
//!
//! The tokenizer takes a text whole, at some hundred bytes of memory for each of its own. What is made here has the same
//! first pieces and a bounded length, in one pass over the text. It follows what `tokenizer.json` names: special tokens
//! are found in the raw text; `BertNormalizer` removes control characters, puts spaces around Chinese ones, decomposes
//! (NFD), and removes nonspacing marks; `BertPreTokenizer` splits at white space and isolates punctuation; `WordPiece`
//! makes at least one piece of each word, and \[UNK\] of one with more than 100 characters.
//!
//! The tables are those that the tokenizer itself uses: others of another Unicode version would class characters
//! otherwise.

use unicode_categories::UnicodeCategories as _;
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

/// Characters of a word after which it is \[UNK\], whatever follows (`max_input_chars_per_word`).
const MAX_WORD: usize = 100;

/// What the tokenizer makes of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// It splits words.
    White,
    /// It is removed. `bars`, if marks are not sorted across it before.
    Unseen { bars: bool },
    /// It is a word of its own, or has one in it; words end before and after.
    Lone,
    /// It is a part of a word, and at least one character there.
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

/// As `BertNormalizer` says.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{20000}'..='\u{2A6DF}' | '\u{2A700}'..='\u{2B73F}'
        | '\u{2B740}'..='\u{2B81F}' | '\u{2B920}'..='\u{2CEAF}' | '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}')
}

/// A text whose first `pieces` word pieces are those of `text`, and which has more exactly if `text` has. `specials` are
/// the special tokens.
pub(crate) fn beginning(text: &str, pieces: usize, specials: &[String]) -> String {
    let mut beginning = Beginning::default();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        // The word that a character ends is counted with it, so that all that is counted is whole.
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
    /// Pieces at least that are surely in `kept`, the word at its end left out.
    pieces: usize,
    /// Solid characters of the word at the end.
    word: usize,
    /// Since the last character that is seen.
    gap: Gap,
}

/// Characters between two that are seen. It keeps one of each kind that makes a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gap {
    #[default]
    None,
    /// Some that are removed. One is kept: without it, special tokens could come about.
    Unseen,
    /// Across which marks are not sorted.
    Bar,
    /// White space, after which nothing that is removed matters.
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
                // Nothing changes a word that is too long already.
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
    fn what_cannot_matter_is_left_out() {
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
    fn length_is_bounded_whatever_the_text() {
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
