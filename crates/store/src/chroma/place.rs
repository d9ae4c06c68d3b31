//! Walking a collection by offsets without losing records when others are deleted meanwhile.
//!
//! The API pages by offset alone: a record deleted before the offset moves all later ones one place to the left, and
//! the next page begins one record too late. So each page begins with the last record of the page before it, the
//! anchor, and a page that begins with another id shows the shift.
//!
//! Why nothing is lost between two pages that share their anchor:
//!
//! 1. Servers list records in an order that is fixed for each record: by id (up to 0.5.5), or by the number it got
//!    when it was added (since then; `ORDER BY embeddings.id` in all of them).
//! 2. One answer is a contiguous stretch of that order at one moment: servers select its ids in one statement.
//! 3. So a record that exists throughout and stands after the anchor in the order stands after it in the page, and
//!    one that stands between two anchors is in the page that has both.
//!
//! What this does not show: an anchor that was deleted, added again, and has come to stand at its old offset with
//! unread records before it. The reader lists all ids a second time for this.

use super::{
    error::Error,
    fetch::{Fetch, PageSize},
};

/// How often the place may be lost without one record read in between.
const MOST_LOSSES: u32 = 20;

/// How far to go back at first when the place is lost; doubled until it is found.
const FIRST_STEP: u64 = 100;

/// Where a walk is: after its anchor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Offset of the next record, had nothing changed.
    offset: u64,
    /// The last record walked over; none at the beginning.
    anchor: Option<String>,
    losses: u32,
}

impl Place {
    /// The offset to ask from.
    pub(crate) fn start(&self) -> u64 {
        self.offset - u64::from(self.anchor.is_some())
    }

    /// Steps over the `ids` found at [`start`](Self::start) and returns those that come after the anchor, none at
    /// the end of the collection; `None` if the place is lost, since another record stands there.
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

    /// Finds the place again after it was lost: goes back to a known record and puts the place before the first
    /// unknown one. All records before a known one were walked over.
    ///
    /// # Errors
    /// [`Error::Unstable`] when the place is lost again and again; what the server fails with.
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
        let mut place = Place::default();
        assert_eq!(place.step(&ids("abc")), Some(&*ids("abc")));
        assert_eq!(place.start(), 2);
        assert_eq!(place.step(&ids("cd")), Some(&*ids("d")));
        assert_eq!(place.start(), 3);
        assert_eq!(place.step(&ids("d")), Some(&[][..]), "the end");
    }

    #[test]
    fn another_record_in_the_anchors_place_is_noticed() {
        let mut place = Place::default();
        place.step(&ids("abc"));
        assert_eq!(place.step(&ids("de")), None, "a record before `c` was deleted");
        assert_eq!(place.step(&[]), None, "so many were that nothing stands there");
    }
}
