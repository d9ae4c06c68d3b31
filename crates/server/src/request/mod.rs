//! Extractors, with errors that name the field.

mod body;
mod body_memory;
mod idempotency;
mod object;
mod parameters;
mod segment;
mod text;
mod unknown;

pub(crate) use body::{Body, BodyOrParameters, OptionalBody, check_media_type};
pub(crate) use body_memory::{BodyContents, BodyMemory, Received};
pub(crate) use idempotency::IdempotencyKey;
pub(crate) use object::Object;
pub(crate) use parameters::{Both, Parameters, QueryString, read_query};
pub(crate) use segment::{Segment, TwoSegments};
pub(crate) use text::{truth, whole};
pub(crate) use unknown::{Ignored, Rejected, UnknownFields, read_value};
