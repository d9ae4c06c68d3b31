//! Classes of filters that affect the cost and the recall of a search.

use std::{fmt, str::FromStr};

use crate::storage::{RecordFilter, Selection};

/// How the searched records are filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FilterClass {
    /// Nothing.
    None,
    /// Theme or metric type.
    Category,
    /// Metadata, including the model.
    Metadata,
    /// The text.
    Text,
    /// Times.
    Time,
    /// More than one of them.
    Several,
}

/// An unknown class of filters, written by a newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown class of filters `{0}`: use the version that wrote it")]
pub struct UnknownFilterClass(pub String);

impl FilterClass {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Category, Self::Metadata, Self::Text, Self::Time, Self::Several];

    /// The class of searches with `selection`.
    pub fn of(selection: &Selection) -> Self {
        let Selection { category, model_id, filter, document, from, before } = selection;
        let given = [
            (category.is_some(), Self::Category),
            (model_id.is_some() || filter.is_some(), Self::Metadata),
            (document.is_some(), Self::Text),
            (from.is_some() || before.is_some(), Self::Time),
        ];
        let mut classes = given.into_iter().filter(|(is_given, _)| *is_given).map(|(_, class)| class);
        match (classes.next(), classes.next()) {
            (None, _) => Self::None,
            (Some(class), None) => class,
            (Some(_), Some(_)) => Self::Several,
        }
    }

    /// The class of searches of a collection with `filter`.
    pub(crate) fn of_filter(filter: Option<&RecordFilter>) -> Self {
        fn parts(filter: &RecordFilter) -> (bool, bool) {
            match filter {
                RecordFilter::Key { .. } => (true, false),
                RecordFilter::Document(_) => (false, true),
                RecordFilter::And(filters) | RecordFilter::Or(filters) => {
                    let both = |all: (bool, bool), one: (bool, bool)| (all.0 || one.0, all.1 || one.1);
                    filters.iter().map(parts).fold((false, false), both)
                }
            }
        }
        match filter.map(parts) {
            None => Self::None,
            Some((true, true)) => Self::Several,
            Some((false, true)) => Self::Text,
            Some((_, false)) => Self::Metadata,
        }
    }

    /// Its name, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Category => "category",
            Self::Metadata => "metadata",
            Self::Text => "text",
            Self::Time => "time",
            Self::Several => "several",
        }
    }
}

impl fmt::Display for FilterClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FilterClass {
    type Err = UnknownFilterClass;

    fn from_str(name: &str) -> Result<Self, UnknownFilterClass> {
        let found = Self::ALL.into_iter().find(|class| class.as_str() == name);
        found.ok_or_else(|| UnknownFilterClass(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn classes_follow_from_what_is_given_and_names_are_read_back() {
        let all = Selection::default();
        let time = Some(datetime!(2026-01-31 12:00));
        let category = Some("physics".to_owned());
        for (selection, expected) in [
            (all.clone(), "none"),
            (Selection { category: category.clone(), ..all.clone() }, "category"),
            (Selection { model_id: Some("gpt-4".to_owned()), ..all.clone() }, "metadata"),
            (Selection { from: time, before: time, ..all.clone() }, "time"),
            (Selection { category, before: time, ..all }, "several"),
        ] {
            let class = FilterClass::of(&selection);
            assert_eq!(class.as_str(), expected, "{selection:?}");
            assert_eq!(expected.parse(), Ok(class));
        }
        assert_eq!("colour".parse::<FilterClass>(), Err(UnknownFilterClass("colour".to_owned())));
    }
}
