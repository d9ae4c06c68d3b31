//! What handlers take from a request, with errors that name the field.

mod body;
mod idempotency;
mod parameters;
mod segment;
mod unknown;

pub(crate) use body::{Body, BodyLimit, BodyOrParameters};
pub(crate) use idempotency::IdempotencyKey;
pub(crate) use parameters::{Both, Parameters};
pub(crate) use segment::{Segment, TwoSegments};
pub(crate) use unknown::{Ignored, Refused, UnknownFields};
