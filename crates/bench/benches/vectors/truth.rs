//! The exact results of searches, by comparing every vector.

use std::thread;

use super::{embeddings::Corpus, filters::Filter};

/// Results per search.
pub(super) const LIMIT: usize = 10;
/// Two similarities this close are a tie: sums in a different order differ by as much.
const TIE: f32 = 2e-6;

/// The questions (numbers of corpus texts that are not stored), and the similarity of each one's tenth nearest record.
pub(super) struct Truth {
    questions: Vec<usize>,
    /// Similarity of the last of the nearest matching ones; `None` where fewer than one match.
    bounds: Vec<Option<f32>>,
    /// How many records match.
    matching: usize,
}

impl Truth {
    /// Exact results among the first `stored` texts that match `filter`.
    pub(super) fn of(corpus: &Corpus, stored: usize, questions: &[usize], filter: &Filter) -> Self {
        let matching: Vec<usize> =
            (0..stored).filter(|number| filter.matches(&corpus.texts[*number], *number)).collect();
        let half = questions.len().div_ceil(2);
        let bounds = thread::scope(|scope| {
            let parts: Vec<_> = questions
                .chunks(half)
                .map(|part| {
                    scope.spawn(|| {
                        part.iter().map(|question| bound(corpus, &matching, *question)).collect::<Vec<_>>()
                    })
                })
                .collect();
            parts.into_iter().flat_map(|part| part.join().expect("measuring does not panic")).collect()
        });
        Self { questions: questions.to_vec(), bounds, matching: matching.len() }
    }

    /// Records that match.
    pub(super) fn matching(&self) -> usize {
        self.matching
    }

    pub(super) fn questions(&self) -> &[usize] {
        &self.questions
    }

    /// The recall of `found`, numbers of records, for the question at `place`.
    pub(super) fn recall(&self, corpus: &Corpus, place: usize, found: &[usize]) -> f64 {
        let Some(bound) = self.bounds[place] else { return 1.0 };
        let question = corpus.vector(self.questions[place]);
        let near =
            found.iter().filter(|number| dot(question, corpus.vector(**number)) >= bound - TIE).count();
        near.min(LIMIT) as f64 / self.matching.min(LIMIT) as f64
    }
}

fn bound(corpus: &Corpus, matching: &[usize], question: usize) -> Option<f32> {
    let question = corpus.vector(question);
    // The least similar one first.
    let mut nearest: Vec<f32> = Vec::with_capacity(LIMIT + 1);
    for number in matching {
        let similarity = dot(question, corpus.vector(*number));
        if nearest.len() < LIMIT || similarity > nearest[0] {
            let place = nearest.partition_point(|other| *other < similarity);
            nearest.insert(place, similarity);
            if nearest.len() > LIMIT {
                nearest.remove(0);
            }
        }
    }
    nearest.first().copied()
}

/// The cosine similarity of vectors of length one.
fn dot(one: &[f32], other: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    for (one, other) in one.chunks_exact(16).zip(other.chunks_exact(16)) {
        for (sum, (one, other)) in sums.iter_mut().zip(one.iter().zip(other)) {
            *sum += one * other;
        }
    }
    sums.iter().sum()
}
