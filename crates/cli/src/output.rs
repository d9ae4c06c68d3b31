//! Standard output, for results only, so that they can be piped. Everything else goes to standard error.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

use anyhow::Context as _;
pub(crate) use records::size_text;
use records::terminal::{is_obeyed, json_escape};

/// Prints `text` and a line break. Each line is made [`visible`].
///
/// # Errors
/// When standard output cannot be written. A reader that has closed it (`| head`) is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    print_exactly(&text.split('\n').map(visible).collect::<Vec<_>>().join("\n"))
}

/// Prints [`json_text`] and a line break.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json(json: &impl Display) -> anyhow::Result<()> {
    print_exactly(&json_text(json))
}

/// `json` as text. Characters in its strings that a terminal obeys become JSON escape sequences, which changes no value;
/// outside strings JSON has no such characters but line breaks.
pub(crate) fn json_text(json: &impl Display) -> String {
    let text = json.to_string();
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match is_obeyed(c) && c != '\n' {
            true => escaped += &json_escape(c),
            false => escaped.push(c),
        }
    }
    escaped
}

/// Prints `text`, which is our own, and a line break.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_exactly(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to standard output")
        }
        _ => Ok(()),
    }
}

/// `text` on one line, cut to `width` characters, with characters that a terminal obeys replaced: stored texts are
/// untrusted.
pub(crate) fn excerpt(text: &str, width: usize) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = |c: char| if is_obeyed(c) { char::REPLACEMENT_CHARACTER } else { c };
    if words.chars().count() <= width {
        return words.chars().map(shown).collect();
    }
    let kept: String = words.chars().take(width.saturating_sub(1)).map(shown).collect();
    format!("{}…", kept.trim_end())
}

/// `text` with all characters escaped that a terminal obeys instead of showing: control characters, line breaks,
/// bidirectional controls and invisible characters.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// `1 record`, `2 records`.
pub(crate) fn count(number: u64, singular: &str) -> String {
    if number == 1 { format!("1 {singular}") } else { format!("{number} {singular}s") }
}

/// `number` with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_use_the_largest_fitting_unit() {
        let sizes = [0, 999, 1000, 999_600, 4_321_000, 231_000_000_000, u64::MAX].map(size_text);
        let expected = ["0 bytes", "999 bytes", "1.0 kB", "1.0 MB", "4.3 MB", "231.0 GB", "18446.7 PB"];
        assert_eq!(sizes, expected);
    }

    #[test]
    fn excerpt_is_one_line_without_escape_sequences() {
        assert_eq!(excerpt("two\n  lines", 20), "two lines");
        assert_eq!(excerpt("\u{1b}[31mred", 20), "\u{fffd}[31mred");
        assert_eq!(excerpt("a longer text", 8), "a longe…");
        assert_eq!(excerpt("\u{202e}gpj.\u{9b}1m\u{2066}", 20), "\u{fffd}gpj.\u{fffd}1m\u{fffd}");
        assert_eq!(excerpt("", 8), "");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn json_text_has_the_same_value_and_no_control_characters() {
        let every: String = ('\0'..=char::MAX).filter(|c| is_obeyed(*c)).collect();
        let value = serde_json::json!({"a\u{9b}": [format!("é “ok” 🎈 \\u202e \"{every}\""), 1.5, null]});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).expect("it is JSON")] {
            let escaped = json_text(&text);
            assert!(escaped.chars().all(|c| !is_obeyed(c) || c == '\n'), "{escaped:?}");
            assert!(escaped.contains("é “ok” 🎈"), "{escaped:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).expect("it is JSON"), value);
        }
    }

    #[test]
    fn visible_text_escapes_controls_and_keeps_every_letter() {
        assert_eq!(visible("a\u{1b}[2J\r\n\u{9b}1m"), r"a\u{1b}[2J\r\n\u{9b}1m");
        assert_eq!(visible("\u{202e}gpj\u{2028}\u{feff}"), r"\u{202e}gpj\u{2028}\u{feff}");
        assert_eq!(visible("Übung “ok” 🎈 'a'\\"), "Übung “ok” 🎈 'a'\\");
    }
}
