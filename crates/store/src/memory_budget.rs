//! A shared memory budget for external input.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Minimum memory of a value in an array, and of an object entry in addition.
const VALUE_BYTES: usize = 32;
const ENTRY_BYTES: usize = 48;
const PERMIT_BYTES: usize = 1 << 10;

/// A memory budget. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    total: u32,
    free: Arc<Semaphore>,
}

/// A reservation from a [`MemoryBudget`], released on drop.
#[derive(Debug, Default)]
pub struct Reservation(Option<OwnedSemaphorePermit>);

/// The budget is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory budget is exhausted")]
pub struct MemoryExhausted;

impl MemoryBudget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        let total = permits(bytes).min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self { total, free: Arc::new(Semaphore::new(total as usize)) }
    }

    /// Enlarges a reservation to `bytes` immediately.
    ///
    /// # Errors
    /// When they are not available.
    pub fn try_enlarge(&self, reservation: &mut Reservation, bytes: usize) -> Result<(), MemoryExhausted> {
        let more = permits(bytes).saturating_sub(reservation.permits());
        let more = Arc::clone(&self.free).try_acquire_many_owned(more).map_err(|_| MemoryExhausted)?;
        reservation.add(more);
        Ok(())
    }

    /// Enlarges a reservation to `bytes`, and waits for them. Requests beyond the budget are reduced to it. Two tasks
    /// that each hold a part and wait for more can deadlock: such a wait needs a time-out.
    pub async fn enlarge(&self, reservation: &mut Reservation, bytes: usize) {
        let more = permits(bytes).min(self.total).saturating_sub(reservation.permits());
        let more = Arc::clone(&self.free).acquire_many_owned(more).await;
        reservation.add(more.expect("it is never closed"));
    }

    /// Reserves `bytes`, once they are available.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let mut reservation = Reservation::default();
        self.enlarge(&mut reservation, bytes).await;
        reservation
    }
}

impl Reservation {
    fn permits(&self) -> u32 {
        let permits = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        u32::try_from(permits).unwrap_or(u32::MAX)
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX)
}

/// The minimum memory of the values of a JSON text, in addition to its bytes.
#[derive(Debug, Default)]
pub struct JsonMemory {
    bytes: usize,
    is_text: bool,
    is_escaped: bool,
    /// Memory of a component of a vector.
    component_bytes: Option<usize>,
    depth: usize,
    /// The brackets of the outermost levels.
    brackets: [u8; VECTOR_LEVELS.len()],
}

/// Memory of a component of a vector, whose list grows by doubling.
const COMPONENT_BYTES: usize = 8;
/// An object with a list of vectors, which are lists.
const VECTOR_LEVELS: [u8; 3] = *b"{[[";

impl JsonMemory {
    /// For a text whose lists of lists are read as vectors.
    pub fn of_vectors() -> Self {
        Self { component_bytes: Some(COMPONENT_BYTES), ..Self::default() }
    }

    /// Adds the values of the next part of the text.
    pub fn add(&mut self, part: &[u8]) {
        let Self { bytes, is_text, is_escaped, component_bytes, depth, brackets } = self;
        let mut rest = part;
        while let [byte, after @ ..] = rest {
            rest = after;
            match byte {
                _ if *is_escaped => *is_escaped = false,
                b'"' => *is_text = !*is_text,
                b'\\' if *is_text => *is_escaped = true,
                // Most bytes are those of strings.
                _ if *is_text => {
                    rest = memchr::memchr2(b'"', b'\\', after).map_or(&[], |next| &after[next..])
                }
                b'[' | b'{' => {
                    *bytes += VALUE_BYTES;
                    if let Some(bracket) = brackets.get_mut(*depth) {
                        *bracket = *byte;
                    }
                    *depth += 1;
                }
                b']' | b'}' => *depth = depth.saturating_sub(1),
                b',' => {
                    let is_vector = *depth == VECTOR_LEVELS.len() && *brackets == VECTOR_LEVELS;
                    *bytes += component_bytes.filter(|_| is_vector).unwrap_or(VALUE_BYTES);
                }
                b':' => *bytes += ENTRY_BYTES,
                _ => {}
            }
        }
    }

    /// The bytes so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn reservations_are_served_in_order_and_released() {
        let budget = MemoryBudget::new(100 << 10);
        let mut reservation = Reservation::default();
        budget.try_enlarge(&mut reservation, 60 << 10).expect("there is room");
        budget.try_enlarge(&mut reservation, 10).expect("it holds more");
        assert_eq!(budget.try_enlarge(&mut Reservation::default(), 41 << 10), Err(MemoryExhausted));
        assert_eq!(budget.try_enlarge(&mut reservation, 101 << 10), Err(MemoryExhausted));
        budget.try_enlarge(&mut reservation, 100 << 10).expect("there is room");
        assert!(budget.reserve(1).now_or_never().is_none(), "all is held");
        drop(reservation);
        let all = budget.reserve(usize::MAX).now_or_never().expect("all of it is enough");
        assert_eq!(budget.try_enlarge(&mut Reservation::default(), 1), Err(MemoryExhausted));
        drop(all);
        budget.try_enlarge(&mut Reservation::default(), 100 << 10).expect("it was given back");
    }

    #[test]
    fn components_of_vectors_count_less_than_values() {
        let bytes = |json: &str| {
            let mut memory = JsonMemory::of_vectors();
            memory.add(json.as_bytes());
            memory.bytes()
        };
        let values = |count: usize| count * VALUE_BYTES + ENTRY_BYTES;
        assert_eq!(bytes(r#"{"v": [[1,2,3]]}"#), values(3) + 2 * COMPONENT_BYTES);
        assert_eq!(bytes(r#"{"v": [[1,2],[3]]}"#), values(5) + COMPONENT_BYTES);
        assert_eq!(bytes(r#"{"v": [{"k": [1,2]}]}"#), values(5) + ENTRY_BYTES);
        assert_eq!(bytes(r#"{"v": [[[1,2]]]}"#), values(5));
        assert_eq!(bytes("[[[1,2]]]"), 4 * VALUE_BYTES);
        assert_eq!(bytes("]]]{"), VALUE_BYTES);
    }

    #[test]
    fn punctuation_in_strings_is_not_counted() {
        let json = br#"{"a\"[,": ["\\", 1]}"#;
        for cut in 0..json.len() {
            let mut weight = JsonMemory::default();
            weight.add(&json[..cut]);
            weight.add(&json[cut..]);
            assert_eq!(weight.bytes(), 3 * VALUE_BYTES + ENTRY_BYTES);
        }
    }
}
