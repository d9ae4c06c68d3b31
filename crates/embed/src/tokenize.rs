//! Text to word pieces, exactly as defined by `tokenizer.json`, but truncated at [`MAX_TOKENS`] instead of 128 and without
//! padding.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::beginning::beginning;
use crate::error::LoadError;
use crate::shape::{MAX_TOKENS, VOCABULARY};

/// File with the tokenizer in a model directory.
const TOKENIZER_FILE: &str = "tokenizer.json";

/// Word pieces of a text that the model sees, without \[CLS\] and \[SEP\].
const TEXT_TOKENS: usize = MAX_TOKENS - 2;

const CLS: &str = "[CLS]";
const SEP: &str = "[SEP]";

/// Splits text into ids for the model.
pub(crate) struct WordPieces {
    tokenizer: Tokenizer,
    /// Special tokens, such as \[SEP\], which are recognised in texts.
    specials: Vec<String>,
    cls: u32,
    sep: u32,
}

/// The tokens of a text that the model sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Vocabulary ids of the word pieces, \[CLS\] first and \[SEP\] last: 2 to 256.
    pub ids: Vec<u32>,
    /// Whether the text has more word pieces, which were truncated.
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
        let added = tokenizer.get_added_tokens_decoder();
        // Longest first, as in the tokenizer.
        let mut specials: Vec<String> = added.into_values().map(|token| token.content).collect();
        specials.sort_unstable_by_key(|special| std::cmp::Reverse(special.len()));
        Ok(Self { tokenizer, specials, cls, sep })
    }

    /// The part of `text` that determines its tokens.
    pub(crate) fn beginning(&self, text: &str) -> String {
        beginning(text, TEXT_TOKENS, &self.specials)
    }

    /// The ids of `text`.
    pub(crate) fn split(&self, text: &str) -> Result<Tokens, tokenizers::Error> {
        let encoding = self.tokenizer.encode_fast(self.beginning(text), false)?;
        let pieces = encoding.get_ids();
        let used = &pieces[..pieces.len().min(TEXT_TOKENS)];
        let mut ids = Vec::with_capacity(used.len() + 2);
        ids.push(self.cls);
        ids.extend_from_slice(used);
        ids.push(self.sep);
        Ok(Tokens { ids, truncated: pieces.len() > TEXT_TOKENS })
    }
}
