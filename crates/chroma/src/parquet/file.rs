//! One open parquet file: its row groups and columns, with decoding limited to errors.

use std::{
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parquet::{
    basic::Type,
    data_type::{ByteArrayType, DataType, DoubleType},
    file::metadata::ParquetMetaData,
    schema::types::ColumnDescriptor,
};
use rustix::{
    fs::{Mode, OFlags, openat},
    io::Errno,
};

use super::{
    column::{Column, Decoded},
    footer,
    pages::{Allowance, Budget, Chunk, Pages, Use},
};
use crate::{error::Error, extents, fault::ParquetFault};

/// Size and time of a file, to detect a writer.
type Stamp = (u64, Option<SystemTime>);

/// A parquet file with its decoded footer.
pub(super) struct ParquetFile {
    path: PathBuf,
    file: Arc<File>,
    stamp: Stamp,
    metadata: ParquetMetaData,
    budget: Budget,
}

/// A column of nullable texts.
#[derive(Clone, Copy)]
pub(super) struct TextColumn(usize);

/// A column of nullable lists of f64.
#[derive(Clone, Copy)]
pub(super) struct ListColumn(usize);

impl ParquetFile {
    /// Opens the file `name` in the directory `root` with the path `directory`; `None` if it does not exist. `values`
    /// determines how much of it may be decoded.
    pub(super) fn open(
        root: &File,
        directory: &Path,
        name: &str,
        values: Use,
    ) -> Result<Option<Self>, Error> {
        let path = directory.join(name);
        // NONBLOCK: opening a pipe must not block until there is a writer. NOFOLLOW: see `Error::NotRegularFile`.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(root, name, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => return Err(Error::NotRegularFile { path }),
            Err(error) => return Err(Error::Io { operation: "open", path, source: error.into() }),
        };
        let metadata = match file.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Err(Error::NotRegularFile { path }),
            Err(source) => return Err(Error::Io { operation: "look at", path, source }),
        };
        let stamp = stamp(&metadata);
        let metadata = catch_panic(|| {
            let metadata = footer::read(&file, stamp.0)?;
            let stored_bytes = stored_bytes(&file, stamp.0)?;
            check_rows(&metadata, stored_bytes)?;
            Ok((metadata, Budget::new(stored_bytes, values)))
        });
        match metadata {
            Ok((metadata, budget)) => Ok(Some(Self { path, file: Arc::new(file), stamp, metadata, budget })),
            Err(source) => Err(Error::Parquet { subject: "the footer", path, source }),
        }
    }

    /// Starts an operation, which may decode an amount in proportion to the size of the file.
    pub(super) fn begin_operation(&self) {
        self.budget.renew();
    }

    /// Whether the file of this name is not the one that was opened, or has changed.
    pub(super) fn has_changed(&self) -> bool {
        self.path.symlink_metadata().map(|metadata| stamp(&metadata)).ok() != Some(self.stamp)
    }

    /// The number of rows of each row group.
    pub(super) fn row_groups(&self) -> impl Iterator<Item = u64> {
        self.metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
    }

    /// Finds a column of texts.
    pub(super) fn texts(&self, name: &'static str) -> Result<TextColumn, Error> {
        let is_text = |column: &ColumnDescriptor| {
            column.physical_type() == Type::BYTE_ARRAY && column.max_rep_level() == 0
        };
        self.find(name, "BYTE_ARRAY", is_text).map(TextColumn)
    }

    /// Finds a column of lists.
    pub(super) fn lists(&self, name: &'static str) -> Result<ListColumn, Error> {
        let is_list = |column: &ColumnDescriptor| {
            let levels = (column.max_def_level(), column.max_rep_level());
            column.physical_type() == Type::DOUBLE && levels == (3, 1)
        };
        self.find(name, "optional lists of optional DOUBLE", is_list).map(ListColumn)
    }

    /// Opens a column of texts in a row group.
    pub(super) fn open_texts(
        &self,
        group: usize,
        column: TextColumn,
    ) -> Result<Column<ByteArrayType>, ParquetFault> {
        // Each text is preceded by its length.
        self.column(group, column.0, 4)
    }

    /// Opens a column of lists in a row group.
    pub(super) fn open_lists(
        &self,
        group: usize,
        column: ListColumn,
    ) -> Result<Column<DoubleType>, ParquetFault> {
        self.column(group, column.0, 8)
    }

    /// Runs a closure that decodes `subject` from this file.
    pub(super) fn decode<T>(
        &self,
        subject: &'static str,
        decode: impl FnOnce() -> Result<T, ParquetFault>,
    ) -> Result<T, Error> {
        catch_panic(decode).map_err(|fault| {
            let source = if self.has_changed() { ParquetFault::Changed } else { fault };
            Error::Parquet { subject, path: self.path.clone(), source }
        })
    }

    fn find(
        &self,
        name: &'static str,
        expected: &'static str,
        fits: impl Fn(&ColumnDescriptor) -> bool,
    ) -> Result<usize, Error> {
        let columns = self.metadata.file_metadata().schema_descr().columns();
        let is_named =
            |column: &ColumnDescriptor| column.path().parts().first().is_some_and(|own| own == name);
        let named = columns.iter().position(|column| is_named(column));
        let found = match named.and_then(|index| Some((index, columns.get(index)?))) {
            Some((index, column)) if fits(column) => return Ok(index),
            Some((_, column)) => format!(
                "{} of definition level {} and repetition level {}",
                column.physical_type(),
                column.max_def_level(),
                column.max_rep_level()
            ),
            None => "none".to_owned(),
        };
        let source = ParquetFault::Column { name, expected, found };
        Err(Error::Parquet { subject: "the schema", path: self.path.clone(), source })
    }

    fn column<T: DataType<T: Decoded>>(
        &self,
        group: usize,
        column: usize,
        value_size: usize,
    ) -> Result<Column<T>, ParquetFault> {
        let broken = |message: String| ParquetFault::Panicked { message };
        let groups = self.metadata.row_groups();
        let metadata = groups.get(group).and_then(|group| group.columns().get(column));
        let metadata = metadata.ok_or_else(|| broken(format!("row group {group} has no column {column}")))?;
        let descriptor = metadata.column_descr_ptr();
        if metadata.column_type() != T::get_physical_type() {
            return Err(broken(format!(
                "expected column {column} of row group {group} to be {}, found {}",
                T::get_physical_type(),
                metadata.column_type()
            )));
        }
        // The dictionary precedes the values; some writers store 0 for a column without a dictionary.
        let dictionary = metadata.dictionary_page_offset().filter(|offset| *offset > 0);
        let start = dictionary
            .map_or(metadata.data_page_offset(), |dictionary| dictionary.min(metadata.data_page_offset()));
        let range = u64::try_from(start).ok().zip(u64::try_from(metadata.compressed_size()).ok());
        let in_file =
            |(start, length): &(u64, u64)| start.checked_add(*length).is_some_and(|end| end <= self.stamp.0);
        let Some((start, length)) = range.filter(in_file) else {
            return Err(broken(format!(
                "expected column {column} of row group {group} within {} bytes, found {} bytes at {start}",
                self.stamp.0,
                metadata.compressed_size()
            )));
        };
        let chunk = Chunk { start, length, compression: metadata.compression(), value_size };
        let allowance = Allowance::default();
        let pages = Pages::new(Arc::clone(&self.file), chunk, allowance.clone());
        Ok(Column::new(descriptor, pages, allowance, self.budget.clone()))
    }
}

/// Every record has its own UUID, so there are fewer rows than bytes. Rows without bytes (a run of nulls) could
/// keep a reader busy for years.
fn check_rows(metadata: &ParquetMetaData, size: u64) -> Result<(), ParquetFault> {
    let counts = metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
    let rows = counts.into_iter().try_fold(0_u64, |sum, rows| sum.checked_add(rows?));
    if rows.is_some_and(|rows| rows <= size) {
        return Ok(());
    }
    let found = rows.map_or("a number beyond 64 bits or below 0".to_owned(), |rows| rows.to_string());
    let expected = format!("at most {size} rows, one for each byte,");
    Err(ParquetFault::Unexpected { expected, offset: size, found })
}

/// Runs a decoding step and converts a panic to an error. The `parquet` crate indexes and asserts on what it reads (a
/// length prefix truncated at the end of a page fails an `assert!`) and does not guarantee the absence of panics. The
/// values that the closure borrows are dropped after an error, so an inconsistent state is never used.
pub(super) fn catch_panic<T>(decode: impl FnOnce() -> Result<T, ParquetFault>) -> Result<T, ParquetFault> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|message| (*message).to_owned()));
        Err(ParquetFault::Panicked { message: message.unwrap_or_else(|| "no message".to_owned()) })
    })
}

/// How many bytes of a file of `size` bytes are stored: rows in a hole have no bytes either.
fn stored_bytes(file: &File, size: u64) -> Result<u64, ParquetFault> {
    extents::stored_bytes(file).map_err(|source| ParquetFault::Io { length: 0, offset: size, source })
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    let modified: io::Result<SystemTime> = metadata.modified();
    (metadata.len(), modified.ok())
}
