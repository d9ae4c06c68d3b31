//! Responses: the contract's envelope, the bare `data` of the old routes, and errors.

mod chroma;
mod envelope;
mod error;
mod form;
mod page;

pub(crate) use chroma::ChromaError;
pub(crate) use envelope::{Check, Details, Envelope, ErrorEnvelope};
pub(crate) use error::{ApiError, Failed, SHOWN_CHARACTERS};
pub(crate) use form::{Answer, Enveloped, Form, Unwrapped};
pub(crate) use page::{Page, Pagination};
