//! The life of one OCI container: create, start, kill, delete and all that goes with them.
//!
//! Data flows one way: parse ([`spec`]) -> probe ([`host`]) -> plan ([`plan`]) -> open (`files`)
//! -> apply (the runtime: `pending`, `serve`; the container: `init`) -> report ([`Error`],
//! `state`). Each verb is one file.

mod console;
mod create;
mod delete;
mod error;
mod exec;
mod features;
mod files;
mod freeze;
mod hooks;
pub mod host;
mod init;
mod kill;
mod own_binary;
mod pending;
pub mod plan;
mod protocol;
mod query;
pub mod request;
mod run;
mod serve;
pub mod spec;
mod start;
mod state;
mod supervise;
mod wait;

pub use create::create;
pub use delete::delete;
pub use error::{Error, ErrorKind, Result, Violation};
pub use exec::exec;
pub use features::features;
pub use freeze::{pause, resume};
pub use kill::kill;
pub use own_binary::protect as protect_own_binary;
pub use query::{list, ps, state};
pub use request::Context;
pub use run::run;
pub use spec::default_spec;
pub use start::start;
pub use state::{StateDocument, Status};
