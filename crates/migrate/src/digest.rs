//! An order-independent digest of many rows.

use std::fmt;

use sha2::{Digest as _, Sha256};
use store::RowDigest;

/// Sum, modulo 2²⁵⁶, of the SHA-256 of each row's digest: equal sets of rows have equal digests in any order. Printed
/// as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CollectionDigest([u64; 4]);

impl CollectionDigest {
    pub(crate) fn add(&mut self, digest: RowDigest) {
        let hash = Sha256::digest(digest.0);
        let mut carry = false;
        for (sum, bytes) in self.0.iter_mut().zip(hash.as_chunks::<8>().0) {
            (*sum, carry) = sum.carrying_add(u64::from_le_bytes(*bytes), carry);
        }
    }
}

impl fmt::Display for CollectionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|limb| write!(f, "{limb:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collection_digest_depends_on_every_row_but_not_on_order() {
        let sum = |rows: &[u8]| {
            let mut sum = CollectionDigest::default();
            rows.iter().for_each(|row| sum.add(RowDigest([*row; 16])));
            sum.to_string()
        };
        assert_eq!(sum(&[1, 2, 3]), sum(&[3, 1, 2]));
        assert_ne!(sum(&[1, 2, 3]), sum(&[1, 2]));
        assert_ne!(sum(&[1, 1]), sum(&[]));
        assert_eq!(sum(&[]), "0".repeat(64));
    }
}
