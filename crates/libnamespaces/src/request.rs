//! What a container asks for: which namespaces are new, which are joined, and how ids are mapped.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Kind, KindSet};

/// The namespaces of one container. A kind that is neither new nor joined is the runtime's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Kinds created for this container.
    pub new: KindSet,
    /// Existing namespaces to enter, in the order of joining.
    pub joined: Vec<Joined>,
    /// `linux.uidMappings`, for a new user namespace.
    pub uid_mappings: Vec<IdMapping>,
    /// `linux.gidMappings`, for a new user namespace.
    pub gid_mappings: Vec<IdMapping>,
    /// `linux.timeOffsets`, for a new time namespace.
    pub time_offsets: Vec<TimeOffset>,
}

/// An existing namespace that is entered by the path of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The kind it must be.
    pub kind: Kind,
    /// A namespace file in the runtime's mount namespace, such as `/proc/PID/ns/net`.
    pub path: PathBuf,
    /// Its place in `linux.namespaces`, for messages.
    pub index: usize,
    /// JSON pointers to what would change the runtime's own namespace, if that is what `path` leads to.
    pub changed_by: Vec<String>,
}

/// A range of ids (user_namespaces(7), "User and group ID mappings").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id inside the user namespace.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many ids.
    pub size: u32,
}

/// An offset of one clock in a new time namespace (time_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOffset {
    /// Which clock.
    pub clock: Clock,
    /// Whole seconds, which may be negative.
    pub seconds: i64,
    /// Nanoseconds below one second.
    pub nanoseconds: u32,
}

/// The clocks a time namespace can shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_BOOTTIME`.
    Boottime,
}

impl Clock {
    /// The name in `linux.timeOffsets` and in `/proc/PID/timens_offsets`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monotonic => "monotonic",
            Self::Boottime => "boottime",
        }
    }
}

impl Namespaces {
    /// Whether the container has a `kind` of its own or a joined one, not the runtime's.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.new.contains(kind) || self.joins(kind)
    }

    /// Whether `kind` is entered by path.
    #[must_use]
    pub fn joins(&self, kind: Kind) -> bool {
        self.joined.iter().any(|joined| joined.kind == kind)
    }

    /// Notes that what `pointer` points to would change the runtime's own `kind`, were that joined.
    pub fn note_change(&mut self, kind: Kind, pointer: impl Into<String>) {
        if let Some(joined) = self.joined.iter_mut().find(|joined| joined.kind == kind) {
            joined.changed_by.push(pointer.into());
        }
    }

    /// The kinds that the container does not share with the runtime.
    #[must_use]
    pub fn kinds(&self) -> KindSet {
        self.joined.iter().fold(self.new, |set, joined| set.with(joined.kind))
    }
}
