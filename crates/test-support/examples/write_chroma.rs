//! `cargo run --release -p test-support --example write_chroma -- FOLDER RECORDS log|flushed [l2|cosine|ip]` writes a
//! persist directory of Chroma 1.5.9 with the collection `generated`.

use std::{env, path::Path, time::Instant};

use records::DistanceSpace;
use test_support::{ChromaCollection, ChromaForm, ChromaWriter, generated_records};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, records, form, space @ ..] = &arguments[..] else {
        panic!("expected FOLDER RECORDS log|flushed [l2|cosine|ip]")
    };
    let form = match form.as_str() {
        "log" => ChromaForm::Log,
        "flushed" => ChromaForm::Flushed,
        form => panic!("expected log or flushed, found {form}"),
    };
    let space = space.first().map_or("cosine", String::as_str);
    let space = DistanceSpace::from_chroma(space).expect("l2, cosine or ip");
    let records = records.parse().expect("a number of records");
    let started = Instant::now();
    let mut writer = ChromaWriter::create(Path::new(folder));
    let collection = ChromaCollection::new("generated", space, form);
    let written = writer.write(&collection, generated_records(records, 7));
    writer.finish();
    println!("{written} records in {:.1} s", started.elapsed().as_secs_f64());
}
