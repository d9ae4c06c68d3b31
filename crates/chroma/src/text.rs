//! Text that may be invalid Unicode: SQLite returns any bytes, and Python strings may contain lone surrogates.

/// Text for display, and the exact bytes if they differ.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decoded {
    /// The text, with U+FFFD where it is not Unicode.
    pub(crate) text: String,
    /// The stored bytes, if they differ from `text` (lone surrogates are encoded as WTF-8).
    pub(crate) original: Option<Box<[u8]>>,
}

/// Decodes stored bytes without loss.
pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    match std::str::from_utf8(bytes) {
        Ok(text) => Decoded { text: text.to_owned(), original: None },
        Err(_) => Decoded { text: String::from_utf8_lossy(bytes).into_owned(), original: Some(bytes.into()) },
    }
}

/// [`decode`] of owned bytes; copies only text that is not Unicode.
pub(crate) fn decode_owned(bytes: Vec<u8>) -> Decoded {
    match String::from_utf8(bytes) {
        Ok(text) => Decoded { text, original: None },
        Err(error) => decode(error.as_bytes()),
    }
}
