//! The life of one OCI container: create, start, kill, delete and all that goes with them.
//!
//! Data flows one way: parse ([`spec`]) -> probe ([`host`]) -> plan ([`plan`]) -> open (`files`)
//! -> apply (the runtime: `pending`, `serve`; the container: `init`) -> report ([`Error`],
//! `state`). Each verb is one file.

mod error;
mod features;
pub mod host;
pub mod plan;
pub mod request;
pub mod spec;
mod violation;

pub use error::{Error, ErrorKind, Result};
pub use request::Context;
pub use violation::Violation;
