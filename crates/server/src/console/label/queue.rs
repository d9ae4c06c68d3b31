//! What an annotator labels next.
//!
//! All annotators see the items in the same order, by their digests, so that their labels overlap. Of two answers, the one
//! that is shown first follows from annotator and item: it looks random, is the same when the page is loaded again, and
//! differs between annotators.

use std::collections::{HashMap, HashSet};

use ::records::Service;
use sha2::{Digest as _, Sha256};
use store::{
    StoredTime,
    postgres::{ItemDigest, JudgedItem, JudgedKind, ResultSelection, label_item},
};

use super::Kind;
use crate::{answer::ApiError, results::Results};

/// Results that are read at once: few enough for a small answer, which waits for no large one.
const PAGE: u32 = 1_000;
/// How often at most: people label hundreds, not thousands.
const MOST_PAGES: usize = 20;

/// The items of an annotator.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Those without a label, in their order.
    pub(super) open: Vec<JudgedItem>,
    /// Number of those with a label.
    pub(super) labelled: u64,
    /// Number of skipped ones.
    pub(super) skipped: u64,
    /// Whether these are all that are selected. If not, there are more open ones.
    pub(super) is_all: bool,
}

/// Which items are open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) kind: Option<Kind>,
    pub(super) includes_skipped: bool,
}

impl Queue {
    /// The items of the selected results.
    pub(super) async fn of(
        results: &Results,
        selection: &ResultSelection,
        annotator: &str,
        wanted: Wanted,
    ) -> Result<Self, ApiError> {
        let (mut queue, mut seen, mut after) = (Self::default(), HashSet::new(), None);
        let mut open: Vec<(Option<StoredTime>, ItemDigest, JudgedItem)> = Vec::new();
        for _ in 0..MOST_PAGES {
            let listed = results.database.judged_items(selection, after.as_deref(), PAGE);
            let page = results.process.measured(Service::Judge, "list_judged_items", listed).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|item| item.result_id.clone());
            let mut items = Vec::new();
            for item in page.into_iter().filter(|item| wanted.is_of_kind(item)) {
                let digest = digest_of(&item);
                if seen.insert(digest) {
                    items.push((digest, item));
                }
            }
            let digests: Vec<ItemDigest> = items.iter().map(|(digest, _)| *digest).collect();
            let found = results.database.labelled_items(annotator, &digests);
            let found = results.process.measured(Service::Judge, "find_labels", found).await?;
            let found: HashMap<ItemDigest, Option<StoredTime>> = found.into_iter().collect();
            for (digest, item) in items {
                match found.get(&digest) {
                    Some(Some(skipped_at)) => {
                        queue.skipped += 1;
                        if wanted.includes_skipped {
                            open.push((Some(*skipped_at), digest, item));
                        }
                    }
                    Some(None) => queue.labelled += 1,
                    None => open.push((None, digest, item)),
                }
            }
            queue.is_all = is_last;
            if is_last || !open.is_empty() {
                break;
            }
        }
        // Skipped ones last, and of these the longest skipped first.
        open.sort_unstable_by_key(|(skipped_at, digest, _)| (*skipped_at, *digest));
        queue.open = open.into_iter().map(|(_, _, item)| item).collect();
        Ok(queue)
    }
}

impl Wanted {
    fn is_of_kind(self, item: &JudgedItem) -> bool {
        match (&item.kind, self.kind) {
            (JudgedKind::Incomplete, _) => false,
            (JudgedKind::Alone, kind) => kind != Some(Kind::Pairs),
            (JudgedKind::Paired { .. }, kind) => kind != Some(Kind::Scores),
        }
    }
}

fn digest_of(item: &JudgedItem) -> ItemDigest {
    let opponent = match &item.kind {
        JudgedKind::Paired { opponent } => Some(opponent.as_str()),
        JudgedKind::Alone | JudgedKind::Incomplete => None,
    };
    label_item(&item.query, item.metric.as_deref(), (&item.model, opponent))
}

/// Whether `annotator` sees the answer of the result's own model second.
pub(super) fn is_turned(annotator: &str, item: &JudgedItem) -> bool {
    let JudgedKind::Paired { opponent } = &item.kind else { return false };
    let hash = Sha256::new().chain_update(digest_of(item)).chain_update(annotator.as_bytes()).finalize();
    // The result may be of either model.
    (hash[0] & 1 == 1) != (item.model > *opponent)
}

#[cfg(test)]
mod tests {
    use store::postgres::LabelledQuery;

    use super::*;

    fn pair(query: usize, model: &str, opponent: &str) -> JudgedItem {
        JudgedItem {
            result_id: "r".to_owned(),
            query: LabelledQuery::Id(format!("q{query}")),
            metric: None,
            model: model.to_owned(),
            kind: JudgedKind::Paired { opponent: opponent.to_owned() },
        }
    }

    #[test]
    fn order_depends_on_annotator_and_item_and_not_on_the_result() {
        let first = |annotator: &str, query: usize, (model, opponent): (&str, &str)| {
            if is_turned(annotator, &pair(query, model, opponent)) {
                opponent.to_owned()
            } else {
                model.to_owned()
            }
        };
        let (mut ahead, mut differ) = (0, 0);
        for query in 0..1_000 {
            let of_ann = first("ann", query, ("m", "n"));
            assert_eq!(first("ann", query, ("n", "m")), of_ann, "{query}");
            ahead += usize::from(of_ann == "m");
            differ += usize::from(first("bob", query, ("m", "n")) != of_ann);
        }
        // Six standard deviations of a fair coin.
        assert!((405..=595).contains(&ahead) && (405..=595).contains(&differ), "{ahead} {differ}");
    }
}
