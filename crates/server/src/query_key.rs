//! Identity of the query of a result.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Bytes of a text's SHA-256 that identify it.
const DIGEST_BYTES: usize = 16;

/// Identity of a query. Its text form is the key of judgements.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QueryKey<'q> {
    /// Its id.
    Id(&'q str),
    /// The digest of its text.
    Digest([u8; DIGEST_BYTES]),
}

impl QueryKey<'_> {
    /// The key of a query that is known only by its text.
    pub(crate) fn of_text(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        Self::Digest(digest[..DIGEST_BYTES].try_into().expect("SHA-256 is longer"))
    }
}

impl fmt::Display for QueryKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id {id}"),
            Self::Digest(digest) => {
                f.write_str("text ")?;
                digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_key_is_its_id_or_a_digest_of_its_text() {
        assert_eq!(QueryKey::Id("q").to_string(), "id q");
        let key = QueryKey::of_text("abc").to_string();
        // FIPS 180-2, appendix B.1.
        assert_eq!(key, "text ba7816bf8f01cfea414140de5dae2223");
    }
}
