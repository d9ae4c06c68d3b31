//! Filters and cursors for the judge's results.

mod cursor;
mod selection;

pub use self::{
    cursor::{InvalidResultCursor, ResultCursor},
    selection::{ResultSelection, ResultStatus, ResultWinner, UnknownStatus},
};
