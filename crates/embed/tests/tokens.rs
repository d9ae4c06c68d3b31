//! Word pieces against `tokenizer.json` as the `tokenizers` crate runs it, and against Python's.

use embed::Kernel;
use tokenizers::{Tokenizer, TruncationParams};

use crate::support;

/// The reference: the file as it is, but 256 instead of 128, and no padding.
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
    // Lengths around the place where a long text is first cut, in steps that move words across it.
    long.extend((2000..2100).map(|len| "ab \u{e9}[SEP]".chars().cycle().take(len).collect()));
    for text in texts.iter().chain(&long) {
        let expected = reference.encode(text.as_str(), true).unwrap();
        let found = model.tokenize(text).unwrap();
        let start: String = text.chars().take(60).collect();
        assert_eq!(found.ids, expected.get_ids(), "{start:?}");
        assert_eq!(found.truncated, !expected.get_overflowing().is_empty(), "{start:?}");
    }
}
