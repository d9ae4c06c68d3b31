//! Wrapping text to the width of the terminal.

use std::io::IsTerminal as _;

use unicode_width::UnicodeWidthStr as _;

/// Columns if standard output is no terminal.
const DEFAULT_WIDTH: usize = 80;

/// Columns of the terminal; [`DEFAULT_WIDTH`] if standard output is not a terminal.
pub(crate) fn width() -> usize {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return DEFAULT_WIDTH;
    }
    let size = rustix::termios::tcgetwinsize(stdout);
    // Some terminals report 0 for an unknown width.
    size.map_or(0, |size| usize::from(size.ws_col)).clamp(DEFAULT_WIDTH / 2, DEFAULT_WIDTH * 2)
}

/// `text` if it fits into `width` columns, else its beginning and `…`.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        cut.push(c);
        if cut.width() >= width {
            cut.pop();
            break;
        }
    }
    cut.push('…');
    cut
}

/// Breaks `text` between words. The first line begins with `first`, the others with `next`.
pub(crate) fn wrap(text: &str, width: usize, first: &str, next: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.width() + 1 + word.width() > width {
            lines.push(std::mem::replace(&mut line, next.to_owned()));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_wrapped_and_cut_by_display_width() {
        assert_eq!(wrap("one two three", 9, "", "  "), ["one two", "  three"]);
        assert_eq!(wrap("評価 の 指標", 8, "", ""), ["評価 の", "指標"]);
        assert_eq!(wrap("", 8, "a: ", ""), ["a: "]);
        assert_eq!(["評価の指標", "abc", ""].map(|text| cut(text, 6)), ["評価…", "abc", ""]);
    }
}
