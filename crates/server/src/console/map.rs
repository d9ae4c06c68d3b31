//! A sample of records in two dimensions.

use std::collections::BTreeMap;

use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::collection_records::{SAMPLED_CHARACTERS, SampledRecord};

use super::{
    layout,
    plot::{MOST_GROUPS, Spot, scatter},
    projection::{MOST_VECTORS, Projection, project},
    text,
};
use crate::{process::Process, wire::Whole};

/// How many records are sampled by default: a page of this many has about 100 kB.
const SAMPLED: u32 = 300;

/// How many records are shown.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) struct MapParameters {
    #[serde(default)]
    pub(super) limit: Whole<2, { MOST_VECTORS as u32 }, SAMPLED>,
}

/// A sample of records, projected onto the plane in which they differ most.
#[derive(Debug, Serialize)]
pub(super) struct RecordMap {
    /// All records.
    count: u64,
    /// Those with a vector, in no particular order.
    points: Vec<MapPoint>,
    /// Sampled records without a vector, which the picture leaves out.
    without_vector: u64,
    /// Components of the vectors.
    dimension: usize,
    /// The parts of the sample's variance that the two axes have.
    explained: [f64; 2],
    /// Categories of the points, most frequent first.
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
struct MapPoint {
    id: String,
    /// The beginning of its text.
    text: Option<String>,
    category: Option<String>,
    x: f64,
    y: f64,
}

#[derive(Debug, Serialize)]
struct Group {
    category: Option<String>,
    count: u64,
}

impl RecordMap {
    /// Projects `sample`, which is of `count` records.
    pub(super) async fn of(process: &Process, count: u64, sample: Vec<SampledRecord>) -> Self {
        let sampled = sample.len() as u64;
        let (mut records, mut vectors) = (Vec::new(), Vec::new());
        for mut record in sample {
            // Another program may have stored other vectors than those of the table.
            let is_like_others = |vector: &Vec<f32>| {
                vector.iter().all(|one| one.is_finite())
                    && vectors.first().is_none_or(|first: &Vec<f32>| first.len() == vector.len())
            };
            if let Some(vector) = record.embedding.take().filter(is_like_others) {
                vectors.push(vector);
                records.push(record);
            }
        }
        let dimension = vectors.first().map_or(0, Vec::len);
        // It takes a core for some tenths of a second.
        let projected = process.large_workers.run(async move { project(&vectors) }).await;
        let Projection { points, explained } = projected;
        let mut counts: BTreeMap<&Option<String>, u64> = BTreeMap::new();
        for record in &records {
            *counts.entry(&record.category).or_default() += 1;
        }
        let mut groups: Vec<Group> =
            counts.into_iter().map(|(category, count)| Group { category: category.clone(), count }).collect();
        // Stable: equal ones stay in the order of their names.
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        let without_vector = sampled - records.len() as u64;
        let points = records.into_iter().zip(points).map(|(record, (x, y))| {
            let SampledRecord { id, text, category, embedding: _ } = record;
            MapPoint { id, text, category, x, y }
        });
        Self { count, points: points.collect(), without_vector, dimension, explained, groups }
    }

    /// The picture and its numbers; `link` is the page of a record, `noun` what the groups are.
    pub(super) fn shown(&self, noun: Option<&str>, link: impl Fn(&str) -> String) -> Markup {
        if self.points.is_empty() {
            return layout::empty(
                "There is nothing to show.",
                html! {
                    p { "No record of the sample has a vector, so there is nothing to draw." }
                },
            );
        }
        let name = |category: Option<&String>| match (category, noun) {
            (Some(category), _) => category.clone(),
            (None, Some(noun)) => format!("(no {noun})"),
            (None, None) => "records".to_owned(),
        };
        let groups: Vec<String> = self.groups.iter().map(|group| name(group.category.as_ref())).collect();
        let place =
            |category: &Option<String>| self.groups.iter().position(|group| group.category == *category);
        let spots: Vec<Spot> = self
            .points
            .iter()
            .map(|point| {
                let text = point.text.as_deref().filter(|text| !text.trim().is_empty());
                Spot {
                    x: point.x,
                    y: point.y,
                    group: place(&point.category).unwrap_or(MOST_GROUPS),
                    label: text.unwrap_or(&point.id).to_owned(),
                    link: link(&point.id),
                }
            })
            .collect();
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        let both = percent(self.explained[0] + self.explained[1]);
        let described = format!(
            "{} points; the axes have {} and {} of the variance. Records that are near to each other are similar.",
            spots.len(),
            percent(self.explained[0]),
            percent(self.explained[1])
        );
        html! {
            p {
                (text::counted(self.points.len() as u64, "record")) " of " (text::count(self.count)) ", by the two directions in which their vectors of "
                (self.dimension) " components differ most."
            }
            p { a.skip href="#numbers" { "Skip the picture" } }
            (scatter(("Records by their first two principal components", &described), &groups, &spots))
            p.note {
                "The picture has " (both) " of the sample's variance; what is near in it may be far in the directions that it leaves out, and searches use all of them. "
                "The sample is by a hash of ids, and the same until records change. Texts are shown by their first " (SAMPLED_CHARACTERS) " characters."
                @if self.without_vector > 0 { " Left out: " (text::counted(self.without_vector, "record")) " without a vector." }
            }
        }
    }
}
