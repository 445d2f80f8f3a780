//! The life of one OCI container: create, start, kill, delete and all that goes with them.
//!
//! Data flows one way: parse ([`request`], [`spec`]) -> probe ([`host`]) -> plan ([`plan`]) -> open
//! (`files`) -> apply (outside: `runtime`; inside: `init`) -> report ([`Error`], `state`). The
//! verbs put these together.

mod error;
mod files;
mod hooks;
pub mod host;
mod init;
mod mount;
mod notify_socket;
pub mod plan;
mod protocol;
pub mod request;
mod runtime;
pub mod spec;
mod start_socket;
mod state;
mod verbs;
mod wait;
pub mod wording;

pub use error::{Details, Error, ErrorKind, Result};
pub use libviolation::{Class, Violation};
pub use request::Context;
pub use runtime::callers_limits::accept as accept_callers_limits;
pub use runtime::own_binary::protect as protect_own_binary;
pub use spec::default_spec;
pub use state::{StateDocument, Status};
pub use verbs::{
    create, delete, exec, features, kill, list, pause, ps, resume, run, start, state, update, wait,
};
