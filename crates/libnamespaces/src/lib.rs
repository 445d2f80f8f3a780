//! Linux namespaces: what a container asks for, and how its first process is spawned into them.
//!
//! [`Namespaces`] says what is new and what is joined, [`decide`] turns it into a [`Spawn`] (a pure
//! table), [`prepare`] opens every namespace to join before any is entered and makes what must
//! exist beforehand, and [`spawn`] makes init or the joiner that clones it, returning twice.

mod child;
mod decision;
mod error;
mod holder;
mod join;
mod joiner;
mod kind;
mod mapping;
mod network_device;
mod own_files;
mod report;
mod request;
mod route;
mod spawn;
mod visit;

pub use child::{Child, Children};
pub use decision::{Spawn, decide};
pub use error::Error;
pub use holder::{Prepared, prepare, user_namespace};
pub use join::NamespaceFiles;
pub use joiner::{Expected, Forked, Joiner};
pub use kind::{Kind, KindSet};
pub use network_device::{MovedDevices, NetworkDevice};
pub use own_files::open_own_file;
pub use request::{Clock, IdMapping, Joined, Namespaces, TimeOffset};
pub use route::bring_loopback_up;
pub use spawn::{Coming, Newborn, Spawned, enter_namespaces, spawn};
pub use visit::{in_mount_namespace, own_root};
