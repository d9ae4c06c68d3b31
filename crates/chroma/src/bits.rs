//! A growable bitmap.

/// Bits by number. Bits that were never set are 0; an empty bitmap allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Whether the bit is 1.
    pub(crate) fn get(&self, number: usize) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Sets the bit to `value`.
    pub(crate) fn set(&mut self, number: usize, value: bool) {
        let mask = 1 << (number % 64);
        match self.words.get_mut(number / 64) {
            Some(word) if value => *word |= mask,
            Some(word) => *word &= !mask,
            None if value => {
                self.words.resize(number / 64, 0);
                self.words.push(mask);
            }
            None => {}
        }
    }

    /// Exchanges two bits.
    pub(crate) fn swap(&mut self, a: usize, b: usize) {
        let (old_a, old_b) = (self.get(a), self.get(b));
        self.set(a, old_b);
        self.set(b, old_a);
    }

    /// Sets all bits to 0.
    pub(crate) fn clear(&mut self) {
        self.words.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_keep_their_last_value(changes in proptest::collection::vec((0..300_usize, any::<bool>()), 0..100)) {
            let mut bits = Bits::default();
            let mut model = [false; 300];
            for (number, value) in changes {
                bits.set(number, value);
                model[number] = value;
                bits.swap(number, 299 - number);
                model.swap(number, 299 - number);
                prop_assert!(model.iter().enumerate().all(|(number, value)| bits.get(number) == *value));
            }
            bits.clear();
            prop_assert!((0..400).all(|number| !bits.get(number)));
        }
    }
}
