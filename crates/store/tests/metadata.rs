//! Metadata is written byte for byte as PostgreSQL prints it: digests of rows rest on it.

use proptest::{collection, prelude::*, test_runner::TestRunner};
use records::{Metadata, MetadataValue};
use store::metadata_to_json;
use test_support::TestDatabase;

/// All that JSONB can hold: no NUL, no NaN, no infinity, no minus zero. Characters that are escaped are as likely as
/// others.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        "[ -~]",
        "[\u{1}-\u{1f}\u{7f}\"\\\\/]",
        "[\u{80}-\u{7ff}\u{2028}\u{202e}\u{feff}\u{fffd}\u{10ffff}\u{1f600}]",
        any::<char>().prop_filter("no NUL", |c| *c != '\0').prop_map(String::from),
    ];
    collection::vec(character, 0..8).prop_map(|characters| characters.concat())
}

fn float() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL};
    let whole = any::<i64>().prop_map(|whole| whole as f64);
    let power = (-300..300).prop_map(|exponent| 10_f64.powi(exponent));
    prop_oneof![Just(0.0), POSITIVE | NEGATIVE | NORMAL | SUBNORMAL, whole, power]
}

fn value() -> impl Strategy<Value = MetadataValue> {
    use MetadataValue::{Bool, Float, Int, List, Text};
    let scalar = prop_oneof![
        any::<bool>().prop_map(Bool),
        any::<i64>().prop_map(Int),
        float().prop_map(Float),
        text().prop_map(Text),
    ];
    prop_oneof![4 => scalar.clone(), 1 => collection::vec(scalar, 0..5).prop_map(List)]
}

#[test]
fn json_of_any_metadata_is_what_postgres_prints() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let test_database = runtime.block_on(TestDatabase::create());
    let mut connection = runtime.block_on(test_database.connection());
    let printed = |json: &str| -> String {
        let print = sqlx::query_scalar("select $1::jsonb::text").bind(json).fetch_one(&mut connection);
        runtime.block_on(print).expect("it is JSON")
    };
    // The runner's closure is `Fn`.
    let printed = std::cell::RefCell::new(printed);
    let mut runner = TestRunner::new(ProptestConfig { cases: 1_000, ..ProptestConfig::default() });
    let metadata = collection::btree_map(text(), value(), 0..8);
    let checked = runner.run(&metadata, |metadata: Metadata| {
        let json = metadata_to_json(&metadata);
        let found = printed.borrow_mut()(&json);
        prop_assert_eq!(json, found);
        Ok(())
    });
    checked.expect("every metadata is printed as it is written");
}
