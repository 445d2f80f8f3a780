//! Linux namespaces: what a container asks for, and how its first process is spawned into them.
//!
//! [`Namespaces`] says what is new and what is joined, [`decide`] turns it into a [`Spawn`] (a pure
//! table), [`NamespaceFiles`] holds every file to join, opened before any is entered, and
//! [`spawn`] makes init, returning twice.

mod child;
mod decision;
mod error;
mod join;
mod joiner;
mod kind;
mod mapping;
mod network_device;
mod report;
mod request;
mod route;
mod spawn;

pub use child::Child;
pub use decision::{Spawn, decide};
pub use error::Error;
pub use join::{NamespaceFiles, become_root};
pub use joiner::{Expected, Forked, Joiner};
pub use kind::{Kind, KindSet};
pub use mapping::{user_namespace, write_id_mappings};
pub use network_device::{MovedDevices, NetworkDevice};
pub use request::{Clock, IdMapping, Joined, Namespaces, TimeOffset};
pub use route::bring_loopback_up;
pub use spawn::{Spawned, spawn};
