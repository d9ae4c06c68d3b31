//! Truncation of texts from outside.

use std::borrow::Cow;

/// `text` if it has up to `characters`, else its first `characters` and `…`. Reads no more of `text` than it returns.
pub fn shortened(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// As [`shortened`], and appends the original length.
pub fn cut_short(text: &str, characters: usize) -> Cow<'_, str> {
    match shortened(text, characters) {
        Cow::Owned(beginning) => {
            Cow::Owned(format!("{beginning} (cut: {characters} characters of {} bytes)", text.len()))
        }
        whole => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_texts_are_cut_between_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöü!", 3), "äöü…");
        assert_eq!(shortened("", 0), "");
    }

    #[test]
    fn cut_text_states_its_original_length() {
        assert_eq!(cut_short("äöü", 3), "äöü");
        assert_eq!(cut_short("äöü!", 3), "äöü… (cut: 3 characters of 7 bytes)");
    }
}
