//! One column of a row group, read forward in batches of rows.

use parquet::{
    column::reader::ColumnReaderImpl,
    data_type::{ByteArray, ByteArrayType, DataType, DoubleType},
    schema::types::ColumnDescPtr,
};

use super::pages::{Allowance, Budget, Pages};
use crate::fault::ParquetFault;

/// A decoded value.
pub(super) trait Decoded {
    /// Bytes that a reader copies for it.
    fn size_bytes(&self) -> usize;
}

impl Decoded for ByteArray {
    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.len()
    }
}

impl Decoded for f64 {
    fn size_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// A column and its latest batch.
pub(super) struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    allowance: Allowance,
    budget: Budget,
    /// The next row of the group.
    position: u64,
    /// The definition level of a value; smaller levels are nulls or empty lists.
    defined: i16,
    /// Whether a row may have more than one value.
    repeats: bool,
    values: Vec<T::T>,
    definition_levels: Vec<i16>,
    repetition_levels: Vec<i16>,
}

/// The list of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum List<'b> {
    /// The list is null.
    Null,
    /// These elements, possibly none.
    Values(&'b [f64]),
    /// Some of its elements are null.
    WithNulls,
}

/// The definition level of a null list; 1 is an empty list, 2 a null element, 3 an element.
const NULL_LIST: i16 = 0;
const EMPTY_LIST: i16 = 1;

/// Rows of lists that are decoded at once to be skipped.
const SKIPPED_ROWS: usize = 64;

impl<T: DataType<T: Decoded>> Column<T> {
    pub(super) fn new(descriptor: ColumnDescPtr, pages: Pages, allowance: Allowance, budget: Budget) -> Self {
        Self {
            defined: descriptor.max_def_level(),
            repeats: descriptor.max_rep_level() > 0,
            reader: ColumnReaderImpl::new(descriptor, Box::new(pages)),
            allowance,
            budget,
            position: 0,
            values: Vec::new(),
            definition_levels: Vec::new(),
            repetition_levels: Vec::new(),
        }
    }

    /// Decodes `count` rows from `first` on, which must not be before the end of the previous batch.
    pub(super) fn read(&mut self, first: u64, count: usize) -> Result<(), ParquetFault> {
        while self.position < first {
            let distance = usize::try_from(first - self.position).unwrap_or(usize::MAX);
            let skipped = if self.repeats {
                // `skip_records` never returns if a page has fewer repetition levels than declared.
                self.decode(distance.min(SKIPPED_ROWS))?
            } else {
                self.allowance.lift();
                self.reader.skip_records(distance)?
            };
            if skipped == 0 {
                return Err(self.too_few_rows(first));
            }
            self.position += skipped as u64;
        }
        let rows = self.decode(count)?;
        self.position += rows as u64;
        if rows < count { Err(self.too_few_rows(first + count as u64)) } else { Ok(()) }
    }

    /// Decodes the next rows into the batch.
    fn decode(&mut self, count: usize) -> Result<usize, ParquetFault> {
        self.values.clear();
        self.definition_levels.clear();
        self.repetition_levels.clear();
        self.allowance.renew();
        let (rows, _, _) = self.reader.read_records(
            count,
            Some(&mut self.definition_levels),
            Some(&mut self.repetition_levels),
            &mut self.values,
        )?;
        let levels = size_of_val(&*self.definition_levels) + size_of_val(&*self.repetition_levels);
        let values: usize = self.values.iter().map(Decoded::size_bytes).sum();
        self.budget.take((levels + values) as u64)?;
        Ok(rows)
    }

    fn too_few_rows(&self, expected: u64) -> ParquetFault {
        let message = format!("expected at least {expected} rows in a column, found {}", self.position);
        ParquetFault::Panicked { message }
    }
}

impl Column<ByteArrayType> {
    /// The text in each row of the batch.
    pub(super) fn texts(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut values = self.values.iter().map(ByteArray::data);
        // A column without nulls has no levels.
        let rows = self.values.len().max(self.definition_levels.len());
        (0..rows).map(move |row| match self.definition_levels.get(row) {
            Some(level) if *level < self.defined => None,
            _ => values.next(),
        })
    }
}

impl Column<DoubleType> {
    /// The list in each row of the batch.
    pub(super) fn lists(&self) -> impl Iterator<Item = List<'_>> {
        let mut values = self.values.as_slice();
        let mut definition_levels = self.definition_levels.as_slice();
        let mut repetition_levels = self.repetition_levels.as_slice();
        std::iter::from_fn(move || {
            let (&first, _) = definition_levels.split_first()?;
            // A repetition level of 0 starts the next row.
            let rest = repetition_levels.get(1..)?;
            let length = 1 + rest.iter().position(|level| *level == 0).unwrap_or(rest.len());
            let (levels, later) = definition_levels.split_at_checked(length)?;
            (definition_levels, repetition_levels) = (later, repetition_levels.get(length..)?);
            let defined = levels.iter().filter(|level| **level == self.defined).count();
            let (own, later) = values.split_at_checked(defined)?;
            values = later;
            Some(match first {
                NULL_LIST => List::Null,
                EMPTY_LIST => List::Values(&[]),
                _ if defined < length => List::WithNulls,
                _ => List::Values(own),
            })
        })
    }
}
