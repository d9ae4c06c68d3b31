//! Random histories.

use proptest::{prelude::*, sample::Index};
use records::{DistanceSpace, MetadataValue};

use super::{CollectionPlan, Fields, History, Release, Step};

pub(super) const DIMENSION: usize = 3;

/// Most ids of a collection, so that several steps change the same id.
const IDS: usize = 6;

/// Any history of either release.
pub(crate) fn history() -> impl Strategy<Value = History> {
    let release = prop_oneof![Just(Release::First), Just(Release::Last)];
    (release, prop::collection::vec(collection(), 1..4)).prop_flat_map(|(release, collections)| {
        let spaces: Vec<_> = collections.iter().map(|plan| plan.space).collect();
        let step = any::<Index>().prop_flat_map(move |index| {
            let number = index.index(spaces.len());
            (Just(number), step(release, spaces[number]))
        });
        (prop::collection::vec(step, 0..50), 0..12_usize, any::<bool>()).prop_map(
            move |(steps, unapplied, purges)| History {
                release,
                collections: collections.clone(),
                steps,
                unapplied,
                purges,
            },
        )
    })
}

fn collection() -> impl Strategy<Value = CollectionPlan> {
    let space =
        prop_oneof![Just(DistanceSpace::L2), Just(DistanceSpace::Cosine), Just(DistanceSpace::InnerProduct)];
    let ids = prop::collection::btree_set(any::<String>(), IDS);
    (space, ids).prop_map(|(space, ids)| CollectionPlan { space, ids: ids.into_iter().collect() })
}

fn step(release: Release, space: DistanceSpace) -> BoxedStrategy<Step> {
    let write = (0..IDS, any::<bool>(), prop::option::of(vector(space)), fields(release))
        .prop_map(|(id, is_upsert, vector, fields)| Step::Write { id, is_upsert, vector, fields });
    prop_oneof![8 => write, 2 => (0..IDS).prop_map(|id| Step::Delete { id }), 1 => Just(Step::Flush)].boxed()
}

/// A cosine index destroys vectors of extreme lengths (FORMAT §6); other spaces preserve all bits.
fn vector(space: DistanceSpace) -> BoxedStrategy<Vec<f32>> {
    let component = match space {
        DistanceSpace::Cosine => (-5000..5000_i16).prop_map(|x| f32::from(x) / 7.0).boxed(),
        _ => any::<u32>().prop_map(f32::from_bits).boxed(),
    };
    prop::collection::vec(component, DIMENSION).boxed()
}

fn fields(release: Release) -> impl Strategy<Value = Fields> {
    let key = any::<String>().prop_filter("a key of the user's", |key| !key.starts_with("chroma:"));
    // A few keys are common to several steps.
    let key = prop_oneof![Just("k".to_owned()), Just("l".to_owned()), key];
    let metadata = prop::collection::btree_map(key, prop::option::of(value(release)), 0..4);
    (any::<Option<String>>(), any::<Option<String>>(), metadata)
        .prop_map(|(document, uri, metadata)| Fields { document, uri, metadata })
}

/// A value that the release can store: SQLite has neither NaN nor −0.0, 0.4.0 no booleans, 1.x no infinities.
fn value(release: Release) -> BoxedStrategy<MetadataValue> {
    let int = any::<i64>().prop_map(MetadataValue::Int).boxed();
    let text = any::<String>().prop_map(MetadataValue::Text).boxed();
    let float = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL;
    let float = float.prop_map(MetadataValue::Float).boxed();
    let infinite = prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY)].prop_map(MetadataValue::Float);
    if release == Release::First {
        return prop_oneof![int, text, float, infinite].boxed();
    }
    let boolean = any::<bool>().prop_map(MetadataValue::Bool).boxed();
    let list = |element: &BoxedStrategy<MetadataValue>| {
        prop::collection::vec(element.clone(), 1..4).prop_map(MetadataValue::List).boxed()
    };
    let lists = [list(&int), list(&text), list(&float), list(&boolean)];
    let [ints, texts, floats, booleans] = lists;
    prop_oneof![int, text, float, boolean, ints, texts, floats, booleans].boxed()
}
