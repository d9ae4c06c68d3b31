//! Numbers the ids of a collection, in little memory: a million ids of 36 bytes take about 60 MB.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

/// A set of ids that gives each a number, in order of insertion from 0.
///
/// All ids lie in one allocation. Hashing is seeded at random, so that a directory cannot bring ids that collide.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdTable {
    bytes: Vec<u8>,
    /// Where each id ends in `bytes`; it starts where the one before ends.
    ends: Vec<usize>,
    numbers: HashTable<usize>,
    hasher: DefaultHashBuilder,
}

impl IdTable {
    /// How many ids there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The number of `id`, which is [`len`](Self::len) as it was before if the id is new.
    pub(crate) fn insert(&mut self, id: &[u8]) -> usize {
        let Self { bytes, ends, numbers, hasher } = self;
        let number_of = |number: &usize| slice(bytes, ends, *number);
        let hash = hasher.hash_one(id);
        if let Some(number) = numbers.find(hash, |number| number_of(number) == id) {
            return *number;
        }
        let number = ends.len();
        numbers.insert_unique(hash, number, |number| hasher.hash_one(number_of(number)));
        bytes.extend_from_slice(id);
        ends.push(bytes.len());
        number
    }

    /// The number of `id`, if it was inserted.
    pub(crate) fn get(&self, id: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one(id);
        self.numbers.find(hash, |number| self.id(*number) == id).copied()
    }

    /// The number of `id`, which is likely `guess`: right, that costs one comparison.
    pub(crate) fn get_near(&self, guess: usize, id: &[u8]) -> Option<usize> {
        if guess < self.len() && self.id(guess) == id { Some(guess) } else { self.get(id) }
    }

    /// The same ids with new numbers: `order` has the old number of each, all of them once.
    pub(crate) fn renumbered(self, order: &[usize]) -> Self {
        let Self { bytes, ends, mut numbers, hasher } = self;
        let mut new_bytes = Vec::with_capacity(bytes.len());
        let mut new_ends = Vec::with_capacity(ends.len());
        let mut new_numbers = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            new_bytes.extend_from_slice(slice(&bytes, &ends, *old));
            new_ends.push(new_bytes.len());
            if let Some(number) = new_numbers.get_mut(*old) {
                *number = new;
            }
        }
        for number in numbers.iter_mut() {
            *number = *new_numbers.get(*number).expect("the order has every number once");
        }
        Self { bytes: new_bytes, ends: new_ends, numbers, hasher }
    }

    /// The id of a number that [`insert`](Self::insert) has given.
    pub(crate) fn id(&self, number: usize) -> &[u8] {
        slice(&self.bytes, &self.ends, number)
    }
}

fn slice<'b>(bytes: &'b [u8], ends: &[usize], number: usize) -> &'b [u8] {
    let start = number.checked_sub(1).map_or(0, |before| ends.get(before).copied().unwrap_or(0));
    let end = ends.get(number).copied().unwrap_or(start);
    bytes.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_keep_the_number_of_their_first_insertion(ids in proptest::collection::vec("[ab]{0,3}", 0..200)) {
            let mut table = IdTable::default();
            let mut first: Vec<&str> = Vec::new();
            for id in &ids {
                let number = table.insert(id.as_bytes());
                match first.iter().position(|known| known == id) {
                    Some(known) => prop_assert_eq!(number, known),
                    None => {
                        prop_assert_eq!(number, first.len());
                        first.push(id);
                    }
                }
            }
            prop_assert_eq!(table.len(), first.len());
            for (number, id) in first.iter().enumerate() {
                prop_assert_eq!(table.id(number), id.as_bytes());
                prop_assert_eq!(table.get(id.as_bytes()), Some(number));
            }
            prop_assert_eq!(table.get(b"c"), None);
            let reversed: Vec<usize> = (0..table.len()).rev().collect();
            let table = table.renumbered(&reversed);
            for (number, id) in first.iter().rev().enumerate() {
                prop_assert_eq!(table.id(number), id.as_bytes());
                prop_assert_eq!(table.get(id.as_bytes()), Some(number));
                prop_assert_eq!(table.get_near(0, id.as_bytes()), Some(number));
            }
        }
    }
}
