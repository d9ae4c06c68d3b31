//! Compares word pieces with those of the `tokenizers` crate for `tokenizer.json`, and with Python's.

use embed::Kernel;
use test_support::count;
use tokenizers::{Tokenizer, TruncationParams};

use crate::support;

/// The reference: `tokenizer.json`, but truncated at 256 instead of 128 and without padding.
fn reference() -> Tokenizer {
    let mut tokenizer = Tokenizer::from_file(support::model_dir().join("tokenizer.json")).unwrap();
    tokenizer.with_padding(None);
    tokenizer.with_truncation(Some(TruncationParams { max_length: 256, ..Default::default() })).unwrap();
    tokenizer
}

#[test]
fn ids_are_those_of_python() {
    let model = support::load(Kernel::detect(), 1);
    for (text, expected) in support::reference_texts().iter().zip(support::reference_tokens()) {
        assert_eq!(model.tokenize(text).unwrap().ids, expected, "{text:?}");
    }
}

#[test]
fn ids_are_those_of_tokenizer_json_for_long_texts_too() {
    let model = support::load(Kernel::detect(), 1);
    let reference = reference();
    let texts = support::reference_texts();
    let mut long = vec![
        texts.join(" "),
        texts.join("\n"),
        texts.join("\u{3000}"),
        texts.concat(),
        "[SEP] a[MASK]b [CLS]".repeat(400),
        "é e\u{301} ".repeat(900),
        "e\u{301}\u{327}".repeat(3000),
        " ".repeat(10_000) + "late words",
        "\0\u{ad}\u{200b} ".repeat(2000) + "late words",
        "漢字".repeat(3000),
        "x".repeat(5000) + " y",
    ];
    // Lengths around the first truncation of a long text, in steps that move words across it.
    long.extend((2000..2100).map(|len| "ab \u{e9}[SEP]".chars().cycle().take(len).collect()));
    for text in texts.iter().chain(&long) {
        let expected = reference.encode(text.as_str(), true).unwrap();
        let found = model.tokenize(text).unwrap();
        let start: String = text.chars().take(60).collect();
        assert_eq!(found.ids, expected.get_ids(), "{start:?}");
        assert_eq!(found.truncated, !expected.get_overflowing().is_empty(), "{start:?}");
    }
}

/// Numbers of a generator (xorshift64*), the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).expect("31 bits fit") % limit
    }
}

/// The kinds of text that `beginning` distinguishes: letters that decompose, grow or shrink, marks of all combining classes
/// that are removed or kept, removed characters, white space, punctuation (also by decomposition), symbols, Chinese, Hangul,
/// and special tokens, complete and in parts.
const PARTS: [&str; 56] = [
    "a",
    "B",
    "z9",
    "é",
    "İ",
    "ß",
    "ǆ",
    "Å",
    "K",
    "ﬁ",
    "각",
    "한",
    "の",
    "ไ",
    "ที่",
    "क्",
    "ा",
    "ु",
    "\u{301}",
    "\u{327}",
    "\u{344}",
    "\u{941}",
    "\u{302e}",
    "\u{1d165}",
    "\u{1d16d}",
    "\u{1d17b}",
    "\u{1b44}",
    "\u{20dd}",
    "\u{200b}",
    "\u{ad}",
    "\0",
    "\u{fffd}",
    "\u{e000}",
    "\u{85}",
    "\u{b}",
    " ",
    "\n",
    "\u{2028}",
    "\u{3000}",
    "\u{2000}",
    "!",
    ".",
    "$",
    "≠",
    "\u{1fef}",
    "\u{37e}",
    "€",
    "©",
    "😀",
    "漢",
    "\u{f900}",
    "\u{2f800}",
    "[SEP]",
    "[MASK]",
    "[SE",
    "P]",
];

#[test]
fn tokens_of_any_text_are_those_of_the_whole_text() {
    let model = support::load(Kernel::detect(), 1);
    let reference = reference();
    let mut random = Random(0x5EED);
    for round in 0..count(500, 3_000) {
        let mut text = String::new();
        // A few kinds of parts each time, in runs that exceed the limits of a word and of a text.
        let kinds = 1 + random.below(6);
        let parts: Vec<&str> = (0..kinds).map(|_| PARTS[random.below(PARTS.len())]).collect();
        for _ in 0..1 + random.below(60) {
            let run = [1, 1, 2, 3, 99, 100, 101, 102, 260][random.below(9)];
            text.push_str(&parts[random.below(kinds)].repeat(run));
        }
        let expected = reference.encode(text.as_str(), true).unwrap();
        let found = model.tokenize(&text).unwrap();
        assert_eq!(found.ids, expected.get_ids(), "round {round}: {parts:?} {text:?}");
        assert_eq!(found.truncated, !expected.get_overflowing().is_empty(), "round {round}: {text:?}");
    }
}

#[test]
fn every_character_is_classified_as_by_the_tokenizer() {
    let model = support::load(Kernel::detect(), 1);
    let reference = reference();
    // Above U+3100, blocks are of one class, so a sample suffices.
    let all: Vec<char> =
        ('\u{1}'..='\u{e01ff}').filter(|c| *c < '\u{3100}' || u32::from(*c).is_multiple_of(61)).collect();
    for some in all.chunks(12) {
        let text: String = some.iter().map(|c| format!("x{c}y{c}{c}\u{941}\u{301} {c}[SE{c}P]")).collect();
        let expected = reference.encode(text.as_str(), true).unwrap();
        assert_eq!(model.tokenize(&text).unwrap().ids, expected.get_ids(), "{some:?}");
        // No character counts as more pieces than it has, so its texts are not truncated too early.
        let text: String = some.iter().flat_map(|c| [*c; 30]).collect();
        let expected = reference.encode(text.as_str(), true).unwrap();
        assert_eq!(model.tokenize(&text).unwrap().ids, expected.get_ids(), "{some:?}");
    }
}
