//! A shared memory budget for external input.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Minimum memory of a value in an array, and of an object entry in addition.
const VALUE_BYTES: usize = 32;
const ENTRY_BYTES: usize = 48;
const PERMIT_BYTES: usize = 1 << 10;

/// A memory budget. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Room {
    total: u32,
    free: Arc<Semaphore>,
}

/// A reservation from a [`Room`], released on drop.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

/// The budget is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory budget is exhausted")]
pub struct NoRoom;

impl Room {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        let total = permits(bytes).min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self { total, free: Arc::new(Semaphore::new(total as usize)) }
    }

    /// Enlarges a reservation to `bytes` immediately.
    ///
    /// # Errors
    /// When they are not available.
    pub fn try_enlarge(&self, held: &mut Held, bytes: usize) -> Result<(), NoRoom> {
        let more = permits(bytes).saturating_sub(held.permits());
        let more = Arc::clone(&self.free).try_acquire_many_owned(more).map_err(|_| NoRoom)?;
        held.add(more);
        Ok(())
    }

    /// Enlarges a reservation to `bytes`, and waits for them. Requests beyond the budget are reduced to it. Two tasks
    /// that each hold a part and wait for more can deadlock: such a wait needs a time-out.
    pub async fn enlarge(&self, held: &mut Held, bytes: usize) {
        let more = permits(bytes).min(self.total).saturating_sub(held.permits());
        let more = Arc::clone(&self.free).acquire_many_owned(more).await;
        held.add(more.expect("it is never closed"));
    }

    /// Reserves `bytes`, once they are available.
    pub async fn hold(&self, bytes: usize) -> Held {
        let mut held = Held::default();
        self.enlarge(&mut held, bytes).await;
        held
    }
}

impl Held {
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
pub struct JsonWeight {
    bytes: usize,
    is_text: bool,
    is_escaped: bool,
}

impl JsonWeight {
    /// Adds the values of the next part of the text.
    pub fn add(&mut self, part: &[u8]) {
        let Self { bytes, is_text, is_escaped } = self;
        for byte in part {
            match byte {
                _ if *is_escaped => *is_escaped = false,
                b'\\' => *is_escaped = *is_text,
                b'"' => *is_text = !*is_text,
                b',' | b'[' | b'{' if !*is_text => *bytes += VALUE_BYTES,
                b':' if !*is_text => *bytes += ENTRY_BYTES,
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
        let room = Room::new(100 << 10);
        let mut held = Held::default();
        room.try_enlarge(&mut held, 60 << 10).expect("there is room");
        room.try_enlarge(&mut held, 10).expect("it holds more");
        assert_eq!(room.try_enlarge(&mut Held::default(), 41 << 10), Err(NoRoom));
        assert_eq!(room.try_enlarge(&mut held, 101 << 10), Err(NoRoom));
        room.try_enlarge(&mut held, 100 << 10).expect("there is room");
        assert!(room.hold(1).now_or_never().is_none(), "all is held");
        drop(held);
        let all = room.hold(usize::MAX).now_or_never().expect("all of it is enough");
        assert_eq!(room.try_enlarge(&mut Held::default(), 1), Err(NoRoom));
        drop(all);
        room.try_enlarge(&mut Held::default(), 100 << 10).expect("it was given back");
    }

    #[test]
    fn punctuation_in_strings_is_not_counted() {
        let json = br#"{"a\"[,": ["\\", 1]}"#;
        for cut in 0..json.len() {
            let mut weight = JsonWeight::default();
            weight.add(&json[..cut]);
            weight.add(&json[cut..]);
            assert_eq!(weight.bytes(), 3 * VALUE_BYTES + ENTRY_BYTES);
        }
    }
}
