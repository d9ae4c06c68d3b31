//! The records: clustered vectors from a fixed seed, and what is near to the searched ones.

use std::{fmt::Write as _, thread};

use serde_json::{Value, json};

pub(super) const DIMENSION: usize = 384;
/// Results per search.
pub(super) const LIMIT: usize = 10;
/// Searched vectors.
pub(super) const QUESTIONS: usize = 300;
/// Records per cluster, on average.
const CLUSTER: usize = 100;
/// The vectors are on a plane with this number of dimensions, plus noise, roughly like embeddings of texts.
const LATENT: usize = 32;
/// Two similarities this close are a tie: sums in a different order differ by as much.
const TIE: f32 = 2e-6;

pub(super) struct Records {
    /// First those of the records, then the searched ones.
    vectors: Vec<f32>,
    count: usize,
    /// For each question, the similarity of the tenth nearest record.
    bounds: Vec<f32>,
}

impl Records {
    pub(super) fn new(count: usize) -> Self {
        let vectors = vectors(count + QUESTIONS);
        let mut records = Self { vectors, count, bounds: Vec::new() };
        let questions: Vec<usize> = (0..QUESTIONS).collect();
        let (first, second) = questions.split_at(QUESTIONS / 2);
        let of_part = |part: &[usize]| part.iter().map(|one| records.bound(*one)).collect::<Vec<_>>();
        let bounds = thread::scope(|scope| {
            let second = scope.spawn(|| of_part(second));
            let mut bounds = of_part(first);
            bounds.extend(second.join().expect("comparing does not panic"));
            bounds
        });
        records.bounds = bounds;
        records
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn vector(&self, number: usize) -> &[f32] {
        &self.vectors[number * DIMENSION..(number + 1) * DIMENSION]
    }

    fn bound(&self, question: usize) -> f32 {
        let question = self.question(question);
        let mut similarities: Vec<f32> =
            (0..self.count).map(|number| dot(question, self.vector(number))).collect();
        *similarities.select_nth_unstable_by(LIMIT - 1, |one, other| other.total_cmp(one)).1
    }

    pub(super) fn question(&self, number: usize) -> &[f32] {
        self.vector(self.count + number % QUESTIONS)
    }

    /// The share of the nearest that are among `found`, numbers of records.
    pub(super) fn recall(&self, question: usize, found: &[usize]) -> f64 {
        let searched = self.question(question);
        let is_near = |number: &&usize| dot(searched, self.vector(**number)) >= self.bounds[question] - TIE;
        found.iter().filter(is_near).count().min(LIMIT) as f64 / LIMIT as f64
    }

    /// A body of `add` and `upsert`.
    pub(super) fn body(&self, numbers: impl Iterator<Item = usize> + Clone) -> Vec<u8> {
        let body = json!({
            "ids": numbers.clone().map(id).collect::<Vec<_>>(),
            "embeddings": numbers.clone().map(|number| self.vector(number)).collect::<Vec<_>>(),
            "documents": numbers.clone().map(document).collect::<Vec<_>>(),
            "metadatas": numbers.map(metadata).collect::<Vec<_>>(),
        });
        body.to_string().into_bytes()
    }
}

pub(super) fn id(number: usize) -> String {
    format!("record-{number}")
}

/// The number in an id.
pub(super) fn number(id: &str) -> Option<usize> {
    id.strip_prefix("record-")?.parse().ok()
}

fn document(number: usize) -> String {
    let (mut text, mut random) = (String::new(), Random(number as u64));
    for _ in 0..16 {
        write!(text, "word{} ", random.next() % 2_000).expect("it is in memory");
    }
    text
}

/// `percent` has 100 values, `tenth` ten.
fn metadata(number: usize) -> Value {
    let mixed = Random(number as u64).next() as usize;
    json!({"number": number, "percent": mixed % 100, "tenth": mixed % 10, "source": format!("page {}", mixed % 977)})
}

fn vectors(count: usize) -> Vec<f32> {
    let mut random = Random(22);
    let plane: Vec<f32> = (0..LATENT * DIMENSION).map(|_| random.normal()).collect();
    let clusters = (count / CLUSTER).max(1);
    let centres: Vec<f32> = (0..clusters * LATENT).map(|_| random.normal()).collect();
    let mut vectors = Vec::with_capacity(count * DIMENSION);
    for _ in 0..count {
        let cluster = random.next() as usize % clusters;
        let centre = &centres[cluster * LATENT..(cluster + 1) * LATENT];
        let mut vector = vec![0.0_f32; DIMENSION];
        for (place, centre) in centre.iter().enumerate() {
            let weight = centre + 0.6 * random.normal();
            for (component, direction) in vector.iter_mut().zip(&plane[place * DIMENSION..]) {
                *component += weight * direction;
            }
        }
        for component in &mut vector {
            *component += 0.5 * random.normal();
        }
        let length = dot(&vector, &vector).sqrt();
        vectors.extend(vector.iter().map(|component| component / length));
    }
    vectors
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Roughly of the normal distribution: the sum of four that are uniform, of variance 1.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|place| (bits >> (16 * place)) & 0xFFFF).sum();
        (sum as f32 / 65_536.0 - 2.0) * 1.732
    }
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    for (one, other) in one.chunks_exact(16).zip(other.chunks_exact(16)) {
        for (sum, (one, other)) in sums.iter_mut().zip(one.iter().zip(other)) {
            *sum += one * other;
        }
    }
    sums.iter().sum()
}
