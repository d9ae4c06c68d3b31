//! One call of the interface.

use futures_util::TryStreamExt as _;
use store::storage::{Atomicity, Change, Cursor, NewRecord, Search, Selection, Start, Storage, StorageError};

use super::{answers::Answer, inputs::Inputs, random::Random};

#[derive(Debug)]
pub(super) enum Operation {
    Insert {
        records: Vec<NewRecord>,
        atomicity: Atomicity,
    },
    Get {
        ids: Vec<String>,
    },
    Update {
        id: String,
        change: Change,
    },
    Delete {
        ids: Vec<String>,
    },
    List {
        selection: Selection,
        offset: u64,
        limit: u32,
    },
    /// All pages, from cursor to cursor.
    Walk {
        selection: Selection,
        limit: u32,
    },
    Count {
        selection: Selection,
    },
    Categories,
    Search {
        search: Search,
    },
    Export {
        selection: Selection,
    },
}

impl Operation {
    pub(super) fn random(random: &mut Random, inputs: &mut Inputs) -> Self {
        let limit = |random: &mut Random| u32::try_from(random.below(25)).expect("it is small");
        match random.below(20) {
            0..=3 => {
                let records = (0..1 + random.below(8)).map(|_| inputs.record(random)).collect();
                let atomicity = if random.once_in(2) { Atomicity::Each } else { Atomicity::AllOrNothing };
                Self::Insert { records, atomicity }
            }
            4 => Self::Get { ids: (0..random.below(12)).map(|_| inputs.id(random)).collect() },
            5 | 6 => Self::Update { id: inputs.id(random), change: inputs.change(random) },
            7 => Self::Delete { ids: (0..random.below(4)).map(|_| inputs.id(random)).collect() },
            8 | 9 => {
                let selection = inputs.selection(random);
                Self::List { selection, offset: random.below(20) as u64, limit: limit(random) }
            }
            10 => Self::Walk { selection: inputs.selection(random), limit: 1 + limit(random) },
            11 | 12 => Self::Count { selection: inputs.selection(random) },
            13 => Self::Categories,
            14 => Self::Export { selection: inputs.selection(random) },
            _ => {
                let search = inputs.search(random, limit);
                Self::Search { search }
            }
        }
    }

    /// Without the components of vectors.
    pub(super) fn describe(&self) -> String {
        let described = format!("{self:?}");
        let mut parts = described.split("Embedding([");
        let first = parts.next().expect("splitting gives a part").to_owned();
        parts.fold(first, |text, part| {
            let (components, rest) = part.split_once("])").expect("the list ends");
            let start = components.get(..30).unwrap_or(components);
            format!("{text}Embedding([{start}...]){rest}")
        })
    }

    pub(super) async fn run(&self, storage: &dyn Storage) -> Answer {
        let answer = match self {
            Self::Insert { records, atomicity } => {
                storage.insert(records, *atomicity).await.map(Answer::Insertions)
            }
            Self::Get { ids } => storage.get(ids).await.map(Answer::Records),
            Self::Update { id, change } => storage.update(id, change).await.map(Answer::Updated),
            Self::Delete { ids } => storage.delete(ids).await.map(Answer::Ids),
            Self::List { selection, offset, limit } => {
                storage.list(selection, Start::Offset(*offset), *limit).await.map(Answer::Records)
            }
            Self::Walk { selection, limit } => walk(storage, selection, *limit).await,
            Self::Count { selection } => storage.count(selection).await.map(Answer::Count),
            Self::Categories => storage.categories().await.map(Answer::Categories),
            Self::Search { search } => {
                let limit = search.limit as usize;
                storage.search(search).await.map(|hits| Answer::Hits { hits, limit })
            }
            Self::Export { selection } => {
                storage.export(selection.clone()).try_concat().await.map(Answer::Records)
            }
        };
        answer.unwrap_or_else(Answer::Error)
    }
}

async fn walk(storage: &dyn Storage, selection: &Selection, limit: u32) -> Result<Answer, StorageError> {
    let (mut records, mut start) = (Vec::new(), Start::Offset(0));
    loop {
        let page = storage.list(selection, start, limit).await?;
        let Some(last) = page.last() else { return Ok(Answer::Records(records)) };
        start = Start::After(Cursor::after(last));
        records.extend(page);
    }
}
