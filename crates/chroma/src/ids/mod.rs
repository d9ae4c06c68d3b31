//! Compact numbering of a collection's ids: a million UUIDs take 27 MB.

mod packed;

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

pub(crate) use self::packed::IdText;
use self::packed::Packed;
use crate::bits::Bits;

/// A set of ids that assigns a number to each, in insertion order from 0.
///
/// UUIDs and short ids take 16 bytes, longer ones also their length. The hash has a random seed, so that a directory
/// cannot contain ids that collide on purpose.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdTable {
    keys: Keys,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// Ids by number.
#[derive(Clone, Debug, Default)]
struct Keys {
    /// [Packed] ids; for a long id, [its position](long_key).
    keys: Vec<u128>,
    is_uuid: Bits,
    /// The long ids, concatenated.
    long: Vec<u8>,
}

/// The last byte of a long id's key; that of a short id is less.
const LONG: u8 = 0xff;

impl IdTable {
    /// Number of ids.
    pub(crate) fn len(&self) -> usize {
        self.keys.keys.len()
    }

    /// Adds `id` if it is new; returns its number, which for a new id is the previous [`len`](Self::len).
    pub(crate) fn insert(&mut self, id: &[u8]) -> usize {
        let Self { keys, numbers, hasher } = self;
        let id = Packed::new(id);
        let hash = hasher.hash_one(id);
        if let Some(number) = numbers.find(hash, |number| keys.get(*number as usize) == id) {
            return *number as usize;
        }
        let number = u32::try_from(keys.keys.len()).expect("memory ends before four billion ids");
        numbers.insert_unique(hash, number, |number| hasher.hash_one(keys.get(*number as usize)));
        keys.push(id);
        number as usize
    }

    /// The number of `id`, if it was inserted.
    pub(crate) fn get(&self, id: &[u8]) -> Option<usize> {
        self.find(Packed::new(id))
    }

    /// The number of `id`. A correct `guess` costs only one comparison.
    pub(crate) fn get_near(&self, guess: usize, id: &[u8]) -> Option<usize> {
        let id = Packed::new(id);
        if guess < self.len() && self.keys.get(guess) == id { Some(guess) } else { self.find(id) }
    }

    fn find(&self, id: Packed<'_>) -> Option<usize> {
        let number =
            self.numbers.find(self.hasher.hash_one(id), |number| self.keys.get(*number as usize) == id);
        number.map(|number| *number as usize)
    }

    /// Assigns new numbers to the ids. `new_numbers` is a permutation, indexed by old number. Calls `swap` with each
    /// pair of numbers that exchange their ids, for other data that is indexed by number.
    pub(crate) fn renumber(&mut self, mut new_numbers: Vec<u32>, mut swap: impl FnMut(usize, usize)) {
        for number in &mut self.numbers {
            *number = *new_numbers.get(*number as usize).expect("every id has a new number");
        }
        for place in 0..new_numbers.len() {
            // Each iteration moves one id to its final position.
            while let Some(new) = new_numbers.get(place).map(|new| *new as usize).filter(|new| *new != place)
            {
                new_numbers.swap(place, new);
                self.keys.swap(place, new);
                swap(place, new);
            }
        }
    }

    /// The id of a number that [`insert`](Self::insert) returned.
    pub(crate) fn id(&self, number: usize) -> IdText<'_> {
        self.keys.get(number).text()
    }
}

impl Keys {
    fn push(&mut self, id: Packed<'_>) {
        let key = match id {
            Packed::Uuid(key) => {
                self.is_uuid.set(self.keys.len(), true);
                key
            }
            Packed::Short(key) => key,
            Packed::Long(id) => {
                let key = long_key(self.long.len(), id.len());
                self.long.extend_from_slice(id);
                key
            }
        };
        self.keys.push(key);
    }

    fn get(&self, number: usize) -> Packed<'_> {
        // Callers only pass existing numbers.
        let key = self.keys.get(number).copied().unwrap_or_default();
        if self.is_uuid.get(number) {
            return Packed::Uuid(key);
        }
        let [tail @ .., kind] = key.to_le_bytes();
        if kind != LONG {
            return Packed::Short(key);
        }
        let (start, length) = (number_of(&tail[..8]), number_of(&tail[8..]));
        // Within bounds: the key contains the position at which `insert` stored the text.
        Packed::Long(self.long.get(start..start + length).unwrap_or_default())
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.keys.swap(a, b);
        self.is_uuid.swap(a, b);
    }
}

/// Eight bytes of the start, seven of the length, and [`LONG`].
fn long_key(start: usize, length: usize) -> u128 {
    u128::from(LONG) << 120 | (length as u128) << 64 | start as u128
}

/// Decodes little-endian bytes of a [`long_key`].
fn number_of(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A few distinct ids: short, UUIDs, and long.
    fn id() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[ab]{0,3}",
            "[ab]{15,16}",
            "[ab]-[0-9]{20}",
            "0123456[789]-1234-4234-8234-123456789abc",
            "[ab]{3}4567[89]-1234-4234-8234-123456789abC",
        ]
        .prop_map(String::into_bytes)
    }

    proptest! {
        #[test]
        fn ids_keep_the_number_of_their_first_insertion(ids in proptest::collection::vec(id(), 0..200)) {
            let mut table = IdTable::default();
            let mut first: Vec<&[u8]> = Vec::new();
            for id in &ids {
                let number = table.insert(id);
                match first.iter().position(|known| *known == id) {
                    Some(known) => prop_assert_eq!(number, known),
                    None => {
                        prop_assert_eq!(number, first.len());
                        first.push(id);
                    }
                }
            }
            prop_assert_eq!(table.len(), first.len());
            for (number, id) in first.iter().enumerate() {
                prop_assert_eq!(&*table.id(number), *id);
                prop_assert_eq!(table.get(id), Some(number));
            }
            prop_assert_eq!(table.get(b"c"), None);
            let mut numbers: Vec<usize> = (0..table.len()).collect();
            let count = table.len() as u32;
            table.renumber((0..count).map(|number| (number + 2) % count).collect(), |a, b| numbers.swap(a, b));
            for (number, old) in numbers.into_iter().enumerate() {
                let id = first[old];
                prop_assert_eq!(number, (old + 2) % first.len());
                prop_assert_eq!(&*table.id(number), id);
                prop_assert_eq!(table.get(id), Some(number));
                prop_assert_eq!(table.get_near(0, id), Some(number));
            }
        }
    }
}
