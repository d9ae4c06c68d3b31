//! Texts from outside, where only their beginning is wanted.

use std::borrow::Cow;

/// `text` if it has up to `characters`, else that many of it and `…`. Looks at no more of it than it gives back.
pub fn shortened(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// The same, and says in words how much there was.
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
    fn what_is_cut_in_words_says_how_much_there_was() {
        assert_eq!(cut_short("äöü", 3), "äöü");
        assert_eq!(cut_short("äöü!", 3), "äöü… (cut: 3 characters of 7 bytes)");
    }
}
