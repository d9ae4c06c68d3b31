//! The names in JSON whose values differ between runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

/// The keys of JSON values at every depth, for golden files: `{id, items: [{name}]}`. The elements of a list are merged, as
/// are all values that are added to a shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The keys of objects.
    pub keys: BTreeMap<String, Shape>,
    /// The elements of lists.
    pub elements: Option<Box<Shape>>,
    /// The allowed values of an enum in a schema.
    pub words: BTreeSet<String>,
}

impl Shape {
    /// The shape of one value.
    pub fn of(value: &Value) -> Self {
        let mut shape = Self::default();
        shape.add(value);
        shape
    }

    /// Merges another value.
    pub fn add(&mut self, value: &Value) {
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    self.keys.entry(key.clone()).or_default().add(value);
                }
            }
            Value::Array(values) => {
                let elements = self.elements.get_or_insert_default();
                values.iter().for_each(|value| elements.add(value));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.keys.is_empty() {
            f.write_str("{")?;
            for (place, (key, shape)) in self.keys.iter().enumerate() {
                let separator = if place == 0 { "" } else { ", " };
                write!(f, "{separator}{key}")?;
                if *shape != Self::default() {
                    write!(f, ": {shape}")?;
                }
            }
            f.write_str("}")?;
        }
        if let Some(elements) = &self.elements {
            write!(f, "[{elements}]")?;
        }
        if !self.words.is_empty() {
            f.write_str(&self.words.iter().map(String::as_str).collect::<Vec<_>>().join("|"))?;
        }
        Ok(())
    }
}
