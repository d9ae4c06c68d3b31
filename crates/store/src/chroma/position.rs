//! Reads a collection by offsets without missing records when others are deleted concurrently.
//!
//! The API pages only by offset: a record deleted before the offset shifts all later ones by one, and the next page
//! begins one record too late. So each page begins with the last record of the previous page, the anchor, and a page
//! that begins with another id shows the shift.
//!
//! Why no record is missed between two pages that share their anchor:
//!
//! 1. Servers list records in an order that is fixed for each record: by id (up to 0.5.5), or by a number assigned
//!    when it was added (since then; `ORDER BY embeddings.id` in all of them).
//! 2. A response is a contiguous part of that order at one moment: servers select its ids in one statement.
//! 3. So a record that exists throughout and follows the anchor in the order follows it in the page, and one between
//!    two anchors is in the page that has both.
//!
//! This does not detect an anchor that was deleted and added again at its old offset with unread records before it.
//! The reader lists all ids a second time for this case.

use super::{
    error::Error,
    fetch::{Fetch, PageSize},
};

/// How often the position may be lost without reading a record in between.
const MOST_LOSSES: u32 = 20;

/// How far to go back first when the position is lost; doubled until it is found.
const FIRST_STEP: u64 = 100;

/// A position in a collection: after its anchor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Position {
    /// Offset of the next record, if nothing has changed.
    offset: u64,
    /// The last record read; `None` at the beginning.
    anchor: Option<String>,
    losses: u32,
}

impl Position {
    /// The offset of the next request.
    pub(crate) fn start(&self) -> u64 {
        self.offset - u64::from(self.anchor.is_some())
    }

    /// Advances over the `ids` found at [`start`](Self::start) and returns those after the anchor, empty at the end
    /// of the collection; `None` if the position is lost because another record is there.
    pub(crate) fn step<'i>(&mut self, ids: &'i [String]) -> Option<&'i [String]> {
        let new = match &self.anchor {
            None => ids,
            Some(anchor) => {
                let (first, rest) = ids.split_first()?;
                if first != anchor {
                    return None;
                }
                rest
            }
        };
        if let Some(last) = new.last() {
            self.offset += new.len() as u64;
            self.anchor = Some(last.clone());
            self.losses = 0;
        }
        Some(new)
    }

    /// Finds the position after it was lost: goes back to a known record and continues before the first unknown one.
    /// All records before a known one were read.
    ///
    /// # Errors
    /// [`Error::Unstable`] when the position is lost repeatedly; when a request fails.
    pub(crate) async fn find(&mut self, fetch: &Fetch, is_known: impl Fn(&str) -> bool) -> Result<(), Error> {
        self.losses += 1;
        if self.losses > MOST_LOSSES {
            let operation = format!("read collection `{}`", fetch.collection.name);
            let address = fetch.connection.client.address().to_owned();
            return Err(Error::Unstable { operation, address, attempts: self.losses });
        }
        let mut step = FIRST_STEP;
        loop {
            let start = self.offset.saturating_sub(step);
            let mut size = PageSize::new(u32::try_from(2 * step).unwrap_or(u32::MAX));
            let ids = fetch.ids(&mut size, start).await?;
            let known = ids.iter().take_while(|id| is_known(id)).count();
            if known > 0 {
                self.offset = start + known as u64;
                self.anchor = ids.into_iter().nth(known - 1);
                return Ok(());
            }
            if start == 0 {
                (self.offset, self.anchor) = (0, None);
                return Ok(());
            }
            step = step.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn pages_overlap_by_their_anchor() {
        let mut place = Position::default();
        assert_eq!(place.step(&ids("abc")), Some(&*ids("abc")));
        assert_eq!(place.start(), 2);
        assert_eq!(place.step(&ids("cd")), Some(&*ids("d")));
        assert_eq!(place.start(), 3);
        assert_eq!(place.step(&ids("d")), Some(&[][..]), "the end");
    }

    #[test]
    fn another_record_in_place_of_the_anchor_is_detected() {
        let mut place = Position::default();
        place.step(&ids("abc"));
        assert_eq!(place.step(&ids("de")), None, "a record before `c` was deleted");
        assert_eq!(place.step(&[]), None, "so many were deleted that the page is empty");
    }
}
