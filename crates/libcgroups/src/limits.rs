//! What a container's cgroup limits, as writes to its files: pure, planned from tables.

use std::fmt::Display;

use libviolation::{Class, Violation};

use crate::Layout;

/// What a container's cgroup limits; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    writes: Vec<Write>,
}

impl Limits {
    /// Those that `writes` are.
    pub(crate) const fn of(writes: Vec<Write>) -> Self {
        Self { writes }
    }

    /// Takes out the number of processes, if that is so low that a container could not be made under it: what is
    /// cloned into a cgroup counts, of the runtime's processes up to three at once (the joiner, the maker and init).
    #[must_use]
    pub fn take_tight(&mut self) -> Self {
        let is_tight = |write: &mut Write| {
            write.file == PROCESSES && write.value.parse().is_ok_and(|limit: u64| limit < 3)
        };
        Self { writes: self.writes.extract_if(.., is_tight).collect() }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The writes, in the order they are to be done.
    pub(crate) fn writes(&self) -> &[Write] {
        &self.writes
    }
}

/// The file with the number of processes, v1's and v2's.
pub(crate) const PROCESSES: &str = "pids.max";

/// One write to one file of the container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// In which hierarchy.
    pub(crate) hierarchy: Hierarchy,
    /// The file's name.
    pub(crate) file: String,
    /// What is written.
    pub(crate) value: String,
    /// The property it comes from, as a JSON pointer into config.json.
    pub(crate) pointer: String,
    /// The file and the value for a kernel that has no such file.
    pub(crate) instead: Option<Box<FileValue>>,
}

/// A file of a cgroup, and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileValue {
    /// The file's name.
    pub file: String,
    /// What is written.
    pub value: String,
}

/// Which hierarchy a file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// The v1 hierarchy of this controller.
    Legacy(&'static str),
    /// The v2 hierarchy.
    Unified,
}

/// Writes and violations that are being collected.
pub(crate) struct Table<'a> {
    layout: &'a Layout,
    writes: Vec<Write>,
    violations: Vec<Violation>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(layout: &'a Layout) -> Self {
        Self { layout, writes: Vec::new(), violations: Vec::new() }
    }

    /// The writes, or everything that is wrong.
    pub(crate) fn into_writes(self) -> Result<Vec<Write>, Vec<Violation>> {
        if self.violations.is_empty() { Ok(self.writes) } else { Err(self.violations) }
    }

    /// The same as the limits of a cgroup.
    pub(crate) fn into_limits(self) -> Result<Limits, Vec<Violation>> {
        self.into_writes().map(|writes| Limits { writes })
    }

    /// Whether something is wrong already.
    pub(crate) const fn has_violations(&self) -> bool {
        !self.violations.is_empty()
    }

    /// Whether v2 is all there is.
    pub(crate) const fn is_unified(&self) -> bool {
        self.layout.is_unified()
    }

    /// Which hierarchy has `controller`: v1 where it is mounted, else v2. Without any, the
    /// property at `pointer` is a violation.
    pub(crate) fn hierarchy(
        &mut self,
        controller: &'static str,
        pointer: &str,
    ) -> Option<Hierarchy> {
        if self.layout.has_legacy(controller) {
            return Some(Hierarchy::Legacy(controller));
        }
        if self.layout.unified.is_some() {
            return Some(Hierarchy::Unified);
        }
        self.without(controller, pointer, "");
        None
    }

    /// The property at `pointer` needs a controller that is not there.
    fn without(&mut self, controller: &'static str, pointer: &str, value: impl Display) {
        let (why, fix) = if self.layout.has_others {
            (
                "where the user can make a cgroup",
                "have a cgroup delegated to the user (systemd: Delegate=yes)",
            )
        } else {
            ("mounted", "mount the controller")
        };
        let rule = format!("needs the {controller} controller, which no hierarchy {why} has");
        self.not_here(pointer, value, &rule, &format!("{fix} or leave the property out"));
    }

    pub(crate) fn write(
        &mut self,
        hierarchy: Hierarchy,
        file: &str,
        value: impl ToString,
        pointer: &str,
    ) {
        let (file, value) = (file.to_owned(), value.to_string());
        let pointer = full(pointer);
        self.writes.push(Write { hierarchy, file, value, pointer, instead: None });
    }

    /// What the last write is on a kernel that has no such file.
    pub(crate) fn or_write(&mut self, file: &str, value: impl ToString) {
        if let Some(last) = self.writes.last_mut() {
            let (file, value) = (file.to_owned(), value.to_string());
            last.instead = Some(Box::new(FileValue { file, value }));
        }
    }

    /// A property that is wrong.
    pub(crate) fn violation(&mut self, pointer: &str, value: impl Display, rule: &str, fix: &str) {
        self.violations.push(Violation::new(Class::Specification, full(pointer), value, rule, fix));
    }

    /// A property that the hierarchies of this machine cannot have.
    pub(crate) fn not_here(&mut self, pointer: &str, value: impl Display, rule: &str, fix: &str) {
        self.violations.push(Violation::new(Class::Host, full(pointer), value, rule, fix));
    }

    /// Whether a v1 hierarchy has `controller`.
    pub(crate) fn has_legacy(&self, controller: &str) -> bool {
        self.layout.has_legacy(controller)
    }

    /// The v1 hierarchy of `controller`. Without it the property at `pointer`, which only v1 has, is a violation.
    pub(crate) fn legacy(
        &mut self,
        controller: &'static str,
        pointer: &str,
        value: impl Display,
    ) -> Option<Hierarchy> {
        if self.has_legacy(controller) {
            return Some(Hierarchy::Legacy(controller));
        }
        if self.is_unified() {
            self.only_v1(pointer, value);
        } else {
            self.without(controller, pointer, value);
        }
        None
    }

    /// A property that only v1 has.
    pub(crate) fn only_v1(&mut self, pointer: &str, value: impl Display) {
        let rule = "cgroup v2 has no such control (config-linux.md, \"Control groups\": a v1 setting \
                    that cannot be converted must be an error)";
        self.not_here(pointer, value, rule, "leave it out on a cgroup v2 host");
    }
}

fn full(pointer: &str) -> String {
    format!("/linux/resources{pointer}")
}

/// `max` for the spec's -1.
pub(crate) fn or_max(value: i64) -> String {
    if value == -1 { "max".to_owned() } else { value.to_string() }
}
