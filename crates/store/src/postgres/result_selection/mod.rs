//! Which of the judge's results are meant, and from which on.

mod cursor;
mod selection;

pub use self::{
    cursor::{InvalidResultCursor, ResultCursor},
    selection::{ResultSelection, ResultStatus, ResultWinner, UnknownStatus},
};
