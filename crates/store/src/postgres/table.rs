//! The services' tables: one pattern, other names.

use records::Service;

/// Names of one service's table and of its columns that differ from service to service.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceTable {
    /// The table, named as the service's Chroma collection is.
    pub name: &'static str,
    /// The text that was embedded.
    pub text_column: &'static str,
    /// Theme or metric type.
    pub category_column: &'static str,
    /// Further `text not null` columns.
    pub attribute_columns: &'static [&'static str],
}

impl ServiceTable {
    /// The table of `service`.
    pub fn of(service: Service) -> &'static Self {
        match service {
            Service::Query => &Self {
                name: "queries",
                text_column: "query_text",
                category_column: "theme",
                attribute_columns: &[],
            },
            Service::Evaluation => &Self {
                name: "evaluation_metrics",
                text_column: "prompt",
                category_column: "metric_type",
                attribute_columns: &[],
            },
            Service::Judge => &Self {
                name: "llm_outputs",
                text_column: "output_text",
                category_column: "theme",
                attribute_columns: &["model_id", "query"],
            },
        }
    }

    /// All columns in the order in which [`crate::StoredRecord`] has them and rows are copied and read back.
    pub(crate) fn columns(&self) -> Vec<&'static str> {
        let mut columns = vec!["id", "source_id", self.text_column, self.category_column];
        columns.extend(self.attribute_columns);
        columns.extend(["metadata", "uri", "created_at", "embedding"]);
        columns
    }
}
