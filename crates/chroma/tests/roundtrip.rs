//! After any history of operations, the remaining records are read back identically.

use std::collections::BTreeMap;

use chroma::{PersistDirectory, Vector};
use proptest::prelude::*;
use records::Metadata;
use tempfile::TempDir;

use crate::{
    generator::{History, history, write},
    golden::read,
    run_mode::count,
};

fn check(history: &History) -> Result<(), TestCaseError> {
    let temporary = TempDir::new().unwrap();
    let wanted = write(temporary.path(), history);
    let directory = PersistDirectory::open(temporary.path()).unwrap();
    prop_assert_eq!(directory.warnings(), &[]);
    prop_assert_eq!(directory.collections().len(), wanted.len());
    // The order of names is that of their numbers.
    for (number, (collection, wanted)) in directory.collections().iter().zip(wanted).enumerate() {
        prop_assert_eq!(collection.space, history.collections[number].space);
        let (records, report) = read(&directory, collection);
        prop_assert_eq!(&report.warnings, &[]);
        let found: BTreeMap<_, _> = records.iter().map(|record| (&record.id, record)).collect();
        prop_assert_eq!(records.len(), wanted.len());
        for (id, wanted) in &wanted {
            let record = found[id];
            prop_assert_eq!(&record.document, &wanted.document);
            prop_assert_eq!(&record.uri, &wanted.uri);
            let metadata: Metadata = wanted.metadata.clone().into_iter().collect();
            prop_assert_eq!(&record.metadata, &metadata);
            prop_assert_eq!(&record.problems, &[]);
            let Vector::Present { embedding, .. } = &record.vector else { panic!("{record:?}") };
            let bits = |vector: &[f32]| vector.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(embedding.as_slice()), bits(&wanted.vector), "{}", id);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: count(128, 2_000), ..ProptestConfig::default() })]
    #[test]
    fn remaining_records_are_read(history in history()) {
        check(&history)?;
    }
}
