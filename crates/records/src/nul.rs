//! The one character that PostgreSQL cannot store.

use std::borrow::Cow;

/// `text` with `␀` for each NUL, which neither `text` nor `jsonb` of PostgreSQL can store.
pub fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{2400}")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_becomes_its_picture() {
        assert_eq!(without_nul("a\0b\0"), "a␀b␀");
        assert!(matches!(without_nul("a␀\u{1}"), Cow::Borrowed("a␀\u{1}")));
    }
}
