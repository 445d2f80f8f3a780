//! `linux.intelRdt`: the container's groups in the kernel's filesystem for resource control, resctrl.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIntelRdt, Spec};
use serde::{Deserialize, Serialize};

use crate::plan::{Given, Violations};
use crate::request::Schema;

/// The groups that the container's processes are in, as the state keeps them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceGroup {
    /// The directory of its class of service.
    pub directory: PathBuf,
    /// Whether the class is the container's own, and ends with it.
    pub is_own: bool,
    /// The directory of its monitoring group, which is always its own.
    pub monitoring: Option<PathBuf>,
}

/// `linux.intelRdt`, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntelRdt {
    /// The groups.
    pub group: ResourceGroup,
    /// Whether the class may be made, and may be there.
    pub class: ClassOfService,
    /// `l3CacheSchema` and `memBwSchema` as lines of the file `schemata`; empty writes nothing.
    pub schema: Vec<String>,
    /// `schemata`, written after these.
    pub schemata: Vec<String>,
}

/// What becomes of the directory of the class (config-linux.md, "IntelRdt").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassOfService {
    /// It has the container's id, and is made for it.
    Made,
    /// It is made unless it is there; then it must have the schema that is asked for.
    MadeOrCompared,
    /// It is there.
    Present,
}

/// The class that is always there, the root of the filesystem.
const DEFAULT: &str = "/";
/// What else is in that root (Documentation/filesystems/resctrl.rst of the kernel).
const RESERVED: [&str; 5] = [".", "..", "info", "mon_groups", "mon_data"];

/// Whether `spec` asks for it.
pub(crate) fn is_named(spec: &Spec) -> bool {
    spec.linux().as_ref().is_some_and(|linux| linux.intel_rdt().is_some())
}

pub(crate) fn plan(given: &Given<'_>, found: &mut Violations) -> Option<IntelRdt> {
    let rdt = given.linux.intel_rdt().as_ref()?;
    let Some(root) = given.host.resctrl.as_deref() else {
        let rule = "no resctrl filesystem is mounted (config-linux.md, \"IntelRdt\")";
        found.not_here("/linux/intelRdt", "", rule, "mount -t resctrl resctrl /sys/fs/resctrl");
        return None;
    };
    let class_name = set(rdt.clos_id());
    let id = given.request.id.as_str();
    let directory = directory(root, class_name, id, found);
    let schema = schema(set(rdt.l3_cache_schema()), set(rdt.mem_bw_schema()), found);
    let schemata = schemata(rdt, found);
    let class = match class_name {
        None => ClassOfService::Made,
        Some(_) if schema.is_empty() && schemata.is_empty() => ClassOfService::Present,
        Some(_) => ClassOfService::MadeOrCompared,
    };
    let is_monitored = rdt.enable_monitoring() == &Some(true);
    let group = ResourceGroup {
        monitoring: is_monitored.then(|| directory.join("mon_groups").join(id)),
        is_own: class_name.is_none(),
        directory,
    };
    Some(IntelRdt { group, class, schema, schemata })
}

/// The new schema of a container's class, as lines; empty leaves it as it is.
pub(crate) fn new_schema(
    wanted: &Schema,
    group: Option<&ResourceGroup>,
    found: &mut Violations,
) -> Vec<String> {
    let lines = schema(set(&wanted.l3_cache), set(&wanted.memory_bandwidth), found);
    if let (None, Some(first)) = (group, lines.first()) {
        let rule = "the container has no class of service";
        found.add("/linux/intelRdt", first, rule, "create it with linux.intelRdt");
    }
    lines
}

/// The directory of the class. Without a name it has the container's.
fn directory(root: &Path, class: Option<&str>, id: &str, found: &mut Violations) -> PathBuf {
    let Some(name) = class else { return root.join(id) };
    if name == DEFAULT {
        return root.to_owned();
    }
    if name.contains(['/', '\n', '\0']) || RESERVED.contains(&name) {
        let rule =
            "is no name of a class of service: one directory of the resctrl filesystem, or /";
        found.add("/linux/intelRdt/closID", name, rule, "write a name without /");
    }
    root.join(name)
}

/// The lines of `l3CacheSchema` and `memBwSchema`, which are written at once. Where the first has lines about the memory,
/// too, the second counts.
fn schema(cache: Option<&str>, memory: Option<&str>, found: &mut Violations) -> Vec<String> {
    if let Some(line) = memory.filter(|line| !line.starts_with("MB:") || line.contains('\n')) {
        let rule = "must be one line that starts with MB: (config-linux.md, \"IntelRdt\")";
        found.add("/linux/intelRdt/memBwSchema", line, rule, "write for example \"MB:0=70\"");
    }
    let lines = cache.into_iter().flat_map(str::lines).filter(|line| !line.trim().is_empty());
    let of_the_cache = |line: &&str| memory.is_none() || !line.trim_start().starts_with("MB:");
    lines.filter(of_the_cache).chain(memory).map(str::to_owned).collect()
}

/// `schemata`, of which each entry is a line.
fn schemata(rdt: &LinuxIntelRdt, found: &mut Violations) -> Vec<String> {
    let lines = rdt.schemata().iter().flatten();
    for (index, line) in lines.clone().enumerate().filter(|(_, line)| line.contains('\n')) {
        let rule = "must be one line (config-linux.md, \"IntelRdt\")";
        let pointer = format!("/linux/intelRdt/schemata/{index}");
        found.add(&pointer, line, rule, "write an entry for each line");
    }
    lines.cloned().collect()
}

/// Engines send an empty string for what is not set.
fn set(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}
