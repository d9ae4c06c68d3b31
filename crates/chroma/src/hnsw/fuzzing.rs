//! Access of the fuzz targets to private functions of this module.

use std::io::Cursor;

use super::{labels::Labels, persistent_data::PersistentData};

/// The content of a pickle: ids with their labels, and the last sequence number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) labels: Vec<(Vec<u8>, u64)>,
    pub(crate) max_seq_id: Option<i64>,
}

/// Decodes a pickle; for a broken one, returns the error and the readable part.
pub(crate) fn decode_pickle(bytes: &[u8]) -> Result<Decoded, (String, Decoded)> {
    let size = u32::try_from(bytes.len()).expect("inputs are small");
    match PersistentData::decode(Cursor::new(bytes), size) {
        Ok(PersistentData { labels, max_seq_id }) => Ok(Decoded { labels: list(&labels), max_seq_id }),
        Err((error, labels)) => Err((error.to_string(), Decoded { labels: list(&labels), max_seq_id: None })),
    }
}

fn list(labels: &Labels) -> Vec<(Vec<u8>, u64)> {
    labels.labels.iter().enumerate().map(|(number, label)| (labels.ids.id(number).to_vec(), *label)).collect()
}
