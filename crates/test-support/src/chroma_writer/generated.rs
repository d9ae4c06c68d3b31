//! Random records, the same for the same seed.

use records::{Metadata, MetadataValue};
use time::{Duration, PrimitiveDateTime, macros::datetime};

use super::ChromaRecord;

/// Dimension of the vectors of [`generated_records`]: all-MiniLM-L6-v2's.
pub const GENERATED_DIMENSION: usize = 384;

const FIRST_TIMESTAMP: PrimitiveDateTime = datetime!(2023-01-01 00:00);
/// A million records, thirteen months.
const BETWEEN_TIMESTAMPS: Duration = Duration::milliseconds(34_567);

const THEMES: [&str; 8] =
    ["science", "history", "ethics", "coding", "travel", "medicine", "finance", "creative writing"];

const WORDS: [&str; 40] = [
    "the",
    "archive",
    "keeps",
    "every",
    "measurement",
    "since",
    "spring",
    "without",
    "a",
    "second",
    "look",
    "while",
    "our",
    "reader",
    "copies",
    "letters",
    "from",
    "old",
    "library",
    "before",
    "winter",
    "and",
    "small",
    "index",
    "repeats",
    "names",
    "of",
    "forgotten",
    "places",
    "in",
    "plain",
    "words",
    "prompts",
    "judge",
    "models",
    "answers",
    "evaluate",
    "rubric",
    "evidence",
    "because",
];

/// `n` records as Panopticon's services store them: a UUID as id, a document of about 300 characters, a vector of
/// length 1, and the metadata `theme` (one of eight), `n` (the record's number), `f` (below 1) and `timestamp`
/// (ISO 8601 as Python writes it, all distinct and in the past). A larger `n` adds records to the same first ones.
pub fn generated_records(n: u64, seed: u64) -> impl Iterator<Item = ChromaRecord> {
    let mut random = Random(seed.wrapping_mul(2).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (0..n).map(move |number| record(&mut random, number))
}

fn record(random: &mut Random, number: u64) -> ChromaRecord {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.next().to_le_bytes());
    bytes[8..].copy_from_slice(&random.next().to_le_bytes());
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid().to_string();

    let mut vector: Vec<f32> = (0..GENERATED_DIMENSION).map(|_| random.below_one() as f32 - 0.5).collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);

    let mut document = String::with_capacity(310);
    while document.len() < 290 {
        if !document.is_empty() {
            document.push(' ');
        }
        document.push_str(random.choose(&WORDS));
    }

    let passed = BETWEEN_TIMESTAMPS * i32::try_from(number).expect("below two billion records");
    let timestamp = FIRST_TIMESTAMP + passed;
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]"
    );
    let timestamp = timestamp.format(&format).expect("a time in this century");
    let metadata = Metadata::from([
        ("f".to_owned(), MetadataValue::Float(random.below_one())),
        ("n".to_owned(), MetadataValue::Int(number.cast_signed())),
        ("theme".to_owned(), MetadataValue::Text(random.choose(&THEMES).to_owned())),
        ("timestamp".to_owned(), MetadataValue::Text(timestamp)),
    ]);
    ChromaRecord { id, vector, document: Some(document), metadata }
}

/// xorshift64*, so that the records are the same on all machines.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// In [0, 1).
    fn below_one(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn choose(&mut self, among: &[&'static str]) -> &'static str {
        among[(self.next() >> 33) as usize % among.len()]
    }
}
