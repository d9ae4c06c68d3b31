//! Distributes texts to packs, each of which one thread computes in one pass without padding.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Tokens that a pack should have: enough to use each loaded weight often, few enough for the caches.
const PACK_TOKENS: usize = 512;

/// Tokens up to which all threads compute one pack together: with a separate thread for each text, so few tokens would
/// mostly wait for weights to be loaded.
const SHARED_TOKENS: usize = 512;

/// Packs of texts, as indices into `lens`, the texts' token counts.
///
/// A single pack is computed by all threads together. Several packs have nearly equal sums, and their
/// number is a multiple of `threads` unless there are too few texts.
pub(crate) fn pack(lens: &[usize], threads: usize) -> Vec<Vec<usize>> {
    let total: usize = lens.iter().sum();
    if total <= SHARED_TOKENS {
        return vec![(0..lens.len()).collect()];
    }
    let rounds = total.div_ceil(PACK_TOKENS * threads);
    let count = (rounds * threads).min(lens.len());
    let mut packs = vec![Vec::new(); count];
    let mut emptiest: BinaryHeap<_> = (0..count).map(|pack| Reverse((0, pack))).collect();
    let mut by_len: Vec<usize> = (0..lens.len()).collect();
    by_len.sort_unstable_by_key(|text| Reverse(lens[*text]));
    for text in by_len {
        let mut slot = emptiest.peek_mut().expect("there is a pack when there is a text");
        let Reverse((sum, pack)) = *slot;
        packs[pack].push(text);
        *slot = Reverse((sum + lens[text], pack));
    }
    packs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_in_one_pack_and_packs_are_even() {
        let lens: Vec<usize> = (0..1000).map(|i| 2 + (i * 37) % 255).collect();
        let packs = pack(&lens, 2);
        let mut seen: Vec<usize> = packs.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        assert_eq!(packs.len() % 2, 0);
        let sums: Vec<usize> = packs.iter().map(|pack| pack.iter().map(|text| lens[*text]).sum()).collect();
        let (least, most) = (sums.iter().min().unwrap(), sums.iter().max().unwrap());
        assert!(most - least <= 16 && *most <= PACK_TOKENS + 256, "{sums:?}");
    }

    #[test]
    fn few_tokens_make_one_pack() {
        assert_eq!(pack(&[200, 14, 80], 2), [[0, 1, 2]]);
        assert_eq!(pack(&[], 2), [Vec::<usize>::new()]);
    }

    #[test]
    fn no_pack_is_empty() {
        assert!(pack(&[256, 256, 256], 64).iter().all(|pack| !pack.is_empty()));
    }
}
