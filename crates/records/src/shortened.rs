//! Texts from outside, where only their beginning is wanted.

use std::borrow::Cow;

/// `text` if it has up to `characters`, else that many of it and `…`. Looks at no more of it than it gives back.
pub fn shortened(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
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
}
