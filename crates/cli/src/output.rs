//! Standard output: results only, so that they can be piped; everything else goes to standard error.

use std::io::{self, Write as _};

use anyhow::Context as _;

/// Prints `text` and a line break.
///
/// # Errors
/// When standard output cannot be written. A reader that has gone (`| head`) is no error: it has what it wanted.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to standard output")
        }
        _ => Ok(()),
    }
}

/// `text` on one line, cut to `width` characters, with control characters made visible: stored texts are
/// anybody's, and a terminal obeys escape sequences.
pub(crate) fn excerpt(text: &str, width: usize) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    if words.chars().count() <= width {
        return words.chars().map(visible).collect();
    }
    let kept: String = words.chars().take(width.saturating_sub(1)).map(visible).collect();
    format!("{}…", kept.trim_end())
}

/// `1 record`, `2 records`.
pub(crate) fn count(number: u64, singular: &str) -> String {
    if number == 1 { format!("1 {singular}") } else { format!("{number} {singular}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_is_one_line_without_escape_sequences() {
        assert_eq!(excerpt("two\n  lines", 20), "two lines");
        assert_eq!(excerpt("\u{1b}[31mred", 20), "\u{fffd}[31mred");
        assert_eq!(excerpt("a longer text", 8), "a longe…");
        assert_eq!(excerpt("", 8), "");
    }
}
