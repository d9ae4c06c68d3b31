//! Boundaries of sentences.

/// How far to search for the beginning or end of a sentence or line.
pub(super) const NEAR_BYTES: usize = 600;

/// Start of the sentence that contains `place`.
pub(super) fn sentence_start(text: &str, place: usize) -> usize {
    let mut start = 0;
    let mut is_over = false;
    let from = text.floor_char_boundary(place.saturating_sub(NEAR_BYTES));
    for (at, c) in text[from..place].char_indices() {
        match c {
            '\n' | '。' | '！' | '？' => (start, is_over) = (from + at + c.len_utf8(), false),
            // Except after `e.g.` and the like.
            '.' if ends_with_a_letter(&text[from..from + at]) => {}
            '.' | '!' | '?' => is_over = true,
            '"' | '\'' | '”' | '’' | '»' | ')' | ']' if is_over => {}
            c if c.is_whitespace() && is_over => (start, is_over) = (from + at + c.len_utf8(), false),
            _ => is_over = false,
        }
    }
    start.max(from)
}

fn ends_with_a_letter(text: &str) -> bool {
    let mut before = text.chars().rev();
    before.next().is_some_and(char::is_lowercase) && !before.next().is_some_and(char::is_alphanumeric)
}
