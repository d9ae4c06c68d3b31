//! Text to word pieces, exactly as `tokenizer.json` says, but cut at [`MAX_TOKENS`] instead of its 128 and
//! without padding.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::error::LoadError;
use crate::shape::{MAX_TOKENS, VOCABULARY};

/// File with the tokenizer in a model directory.
const TOKENIZER_FILE: &str = "tokenizer.json";

const CLS: &str = "[CLS]";
const SEP: &str = "[SEP]";

/// Bytes of a long text that are tried first; English has about 4.5 bytes a word piece.
const FIRST_PREFIX: usize = 8 * MAX_TOKENS;

/// Splits text into ids for the model.
pub(crate) struct WordPieces {
    tokenizer: Tokenizer,
    cls: u32,
    sep: u32,
}

/// What the model sees of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Vocabulary ids of the word pieces, \[CLS\] first and \[SEP\] last: 2 to 256.
    pub ids: Vec<u32>,
    /// Whether the text has more word pieces, which are cut off.
    pub truncated: bool,
}

impl WordPieces {
    pub(crate) fn load(dir: &Path) -> Result<Self, LoadError> {
        let path = dir.join(TOKENIZER_FILE);
        let json = std::fs::read(&path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
        let mut tokenizer = Tokenizer::from_bytes(json)
            .map_err(|source| LoadError::Tokenizer { path: path.clone(), source })?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|source| LoadError::Tokenizer { path: path.clone(), source })?;
        let size = tokenizer.get_vocab_size(true);
        if size > VOCABULARY {
            return Err(LoadError::Vocabulary {
                path,
                expected: format!("at most {VOCABULARY} entries"),
                found: format!("{size} entries"),
            });
        }
        let special = |token: &str| {
            tokenizer.token_to_id(token).ok_or_else(|| LoadError::Vocabulary {
                path: path.clone(),
                expected: format!("an entry {token}"),
                found: "none".to_owned(),
            })
        };
        let (cls, sep) = (special(CLS)?, special(SEP)?);
        Ok(Self { tokenizer, cls, sep })
    }

    /// The ids of `text`.
    pub(crate) fn split(&self, text: &str) -> Result<Tokens, tokenizers::Error> {
        const ROOM: usize = MAX_TOKENS - 2;
        let mut prefix = FIRST_PREFIX;
        loop {
            let part = prefix_at_space(text, prefix);
            let encoding = self.tokenizer.encode_fast(part, false)?;
            let pieces = encoding.get_ids();
            if pieces.len() > ROOM || part.len() == text.len() {
                let used = &pieces[..pieces.len().min(ROOM)];
                let mut ids = Vec::with_capacity(used.len() + 2);
                ids.push(self.cls);
                ids.extend_from_slice(used);
                ids.push(self.sep);
                return Ok(Tokens { ids, truncated: pieces.len() > ROOM });
            }
            prefix *= 4;
        }
    }
}

/// The start of `text` up to the first ASCII space or line feed at or after byte `at`, or all of it.
///
/// The pieces of such a prefix are the first pieces of the text: a space ends a word for the
/// pre-tokenizer, stands in no special token, and takes no part in Unicode normalisation.
fn prefix_at_space(text: &str, at: usize) -> &str {
    let tail = text.as_bytes().get(at..).unwrap_or_default();
    match tail.iter().position(|byte| matches!(byte, b' ' | b'\n')) {
        Some(space) => &text[..at + space],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::prefix_at_space;

    #[test]
    fn prefix_ends_at_the_next_space_or_takes_all() {
        assert_eq!(prefix_at_space("ab cd ef", 0), "ab");
        assert_eq!(prefix_at_space("ab cd\nef", 3), "ab cd");
        assert_eq!(prefix_at_space("ab cd ef", 6), "ab cd ef");
        assert_eq!(prefix_at_space("äöü äöü", 1), "äöü");
        assert_eq!(prefix_at_space("ab", 9), "ab");
    }
}
