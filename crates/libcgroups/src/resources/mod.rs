//! `linux.resources` as writes to cgroup files: pure tables, one file an area.
//!
//! What a hierarchy cannot express is a violation, never silence.

use oci_spec::runtime::LinuxResources;

use crate::{Error, Layout, devices, files};

mod block_io;
mod cpu;
mod memory;
mod others;

/// What a container's cgroup limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Writes, in the order they are to be done.
    pub writes: Vec<Write>,
    /// The v2 device program, 8 bytes an instruction.
    pub device_program: Option<Vec<u64>>,
}

/// One write to one file of the container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// In which hierarchy.
    pub hierarchy: Hierarchy,
    /// The file's name.
    pub file: String,
    /// What is written.
    pub value: String,
    /// The property it comes from, as a JSON pointer into config.json.
    pub pointer: String,
}

/// Which hierarchy a file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// The v1 hierarchy of this controller.
    Legacy(&'static str),
    /// The v2 hierarchy.
    Unified,
}

/// A value that a hierarchy cannot express, or that breaks a rule of the spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer into config.json.
    pub pointer: String,
    /// The value.
    pub value: String,
    /// The rule.
    pub rule: String,
    /// What to do.
    pub fix: String,
}

impl Write {
    /// Does it, in the container's `directory`.
    pub(crate) fn apply(&self, directory: &std::path::Path) -> Result<(), Error> {
        let path = directory.join(&self.file);
        files::write(&path, &self.value).map_err(|errno| Error::Limit {
            pointer: self.pointer.clone(),
            value: self.value.clone(),
            path,
            errno,
        })
    }
}

/// Turns `resources` into writes for the hierarchies of `layout`.
///
/// # Errors
/// Everything that cannot be expressed.
pub fn plan(resources: &LinuxResources, layout: &Layout) -> Result<Limits, Vec<Violation>> {
    let mut table = Table::new(layout);
    if let Some(memory) = resources.memory() {
        memory::plan(memory, &mut table);
    }
    if let Some(cpu) = resources.cpu() {
        cpu::plan(cpu, &mut table);
    }
    if let Some(block_io) = resources.block_io() {
        block_io::plan(block_io, &mut table);
    }
    others::plan(resources, &mut table);
    let rules = resources.devices().as_deref().unwrap_or_default();
    devices::plan(rules, &mut table);
    if table.violations.is_empty() { Ok(table.limits) } else { Err(table.violations) }
}

/// What is being collected.
pub(crate) struct Table<'a> {
    layout: &'a Layout,
    pub limits: Limits,
    pub violations: Vec<Violation>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(layout: &'a Layout) -> Self {
        Self { layout, limits: Limits::default(), violations: Vec::new() }
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
        let rule = format!("needs the {controller} controller, which no mounted hierarchy has");
        self.violation(pointer, "", &rule, "mount the controller or leave the property out");
        None
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
        self.limits.writes.push(Write { hierarchy, file, value, pointer });
    }

    pub(crate) fn violation(&mut self, pointer: &str, value: impl ToString, rule: &str, fix: &str) {
        self.violations.push(Violation {
            pointer: full(pointer),
            value: value.to_string(),
            rule: rule.to_owned(),
            fix: fix.to_owned(),
        });
    }

    /// A property that only v1 has.
    pub(crate) fn only_v1(&mut self, pointer: &str, value: impl ToString) {
        let rule = "cgroup v2 has no such control (config-linux.md, \"Control groups\": a v1 setting \
                    that cannot be converted must be an error)";
        self.violation(pointer, value, rule, "leave it out on a cgroup v2 host");
    }
}

fn full(pointer: &str) -> String {
    format!("/linux/resources{pointer}")
}

/// `max` for the spec's -1.
pub(crate) fn or_max(value: i64) -> String {
    if value == -1 { "max".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxResources;

    use super::{Hierarchy, Limits, plan};
    use crate::Layout;

    const V1: &str = "\
1 0 0:1 / /c/cpu rw - cgroup c rw,cpu,cpuacct
2 0 0:2 / /c/memory rw - cgroup c rw,memory
3 0 0:3 / /c/pids rw - cgroup c rw,pids
4 0 0:4 / /c/devices rw - cgroup c rw,devices
5 0 0:5 / /c/blkio rw - cgroup c rw,blkio
6 0 0:6 / /c/cpuset rw - cgroup c rw,cpuset";

    fn layout(v2: bool) -> Layout {
        Layout::parse(if v2 { "1 0 0:1 / /c rw - cgroup2 c rw" } else { V1 }, "").unwrap()
    }

    fn limits(json: &str, v2: bool) -> Result<Limits, Vec<String>> {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        plan(&resources, &layout(v2))
            .map_err(|all| all.into_iter().map(|violation| violation.pointer).collect())
    }

    #[track_caller]
    fn check(json: &str, v2: bool, expected: &[(&str, &str)]) {
        let limits = limits(json, v2).unwrap();
        let writes: Vec<_> = limits
            .writes
            .iter()
            .filter(|write| !write.file.starts_with("devices."))
            .map(|write| (write.file.as_str(), write.value.as_str()))
            .collect();
        assert_eq!(writes, expected);
    }

    #[track_caller]
    fn refused(json: &str, v2: bool, pointers: &[&str]) {
        assert_eq!(limits(json, v2).unwrap_err(), pointers);
    }

    #[test]
    fn memory_on_v1() {
        let json = r#"{"memory":{"limit":1000,"reservation":500,"swap":2000,"swappiness":60,"disableOOMKiller":true}}"#;
        check(
            json,
            false,
            &[
                ("memory.limit_in_bytes", "1000"),
                ("memory.memsw.limit_in_bytes", "2000"),
                ("memory.soft_limit_in_bytes", "500"),
                ("memory.swappiness", "60"),
                ("memory.oom_control", "1"),
            ],
        );
    }

    #[test]
    fn memory_on_v2_has_swap_alone() {
        let json = r#"{"memory":{"limit":1000,"reservation":500,"swap":2500}}"#;
        let expected = [("memory.max", "1000"), ("memory.swap.max", "1500"), ("memory.low", "500")];
        check(json, true, &expected);
        let json = r#"{"memory":{"limit":-1,"swap":-1}}"#;
        check(json, true, &[("memory.max", "max"), ("memory.swap.max", "max")]);
        check(
            r#"{"memory":{"limit":7,"swap":7}}"#,
            true,
            &[("memory.max", "7"), ("memory.swap.max", "0")],
        );
    }

    #[test]
    fn memory_that_cannot_be() {
        refused(r#"{"memory":{"limit":1000,"swap":500}}"#, true, &["/linux/resources/memory/swap"]);
        refused(r#"{"memory":{"limit":-2}}"#, false, &["/linux/resources/memory/limit"]);
        let json = r#"{"memory":{"swappiness":10,"disableOOMKiller":true}}"#;
        let pointers =
            ["/linux/resources/memory/swappiness", "/linux/resources/memory/disableOOMKiller"];
        refused(json, true, &pointers);
    }

    #[test]
    fn cpu_on_both() {
        let json = r#"{"cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0","mems":"0"}}"#;
        check(
            json,
            false,
            &[
                ("cpu.shares", "1024"),
                ("cpu.cfs_period_us", "100000"),
                ("cpu.cfs_quota_us", "50000"),
                ("cpuset.cpus", "0"),
                ("cpuset.mems", "0"),
            ],
        );
        check(
            json,
            true,
            &[
                ("cpu.weight", "100"),
                ("cpu.max", "50000 100000"),
                ("cpuset.cpus", "0"),
                ("cpuset.mems", "0"),
            ],
        );
        check(r#"{"cpu":{"quota":-1}}"#, true, &[("cpu.max", "max")]);
        refused(
            r#"{"cpu":{"realtimeRuntime":5}}"#,
            true,
            &["/linux/resources/cpu/realtimeRuntime"],
        );
    }

    #[test]
    fn no_processes_is_not_unlimited_processes() {
        check(r#"{"pids":{"limit":0}}"#, true, &[("pids.max", "0")]);
        check(r#"{"pids":{"limit":-1}}"#, false, &[("pids.max", "max")]);
        refused(r#"{"pids":{"limit":-2}}"#, false, &["/linux/resources/pids/limit"]);
    }

    #[test]
    fn unified_is_for_v2_and_stays_in_the_cgroup() {
        check(r#"{"unified":{"memory.high":"5"}}"#, true, &[("memory.high", "5")]);
        refused(r#"{"unified":{"../x":"5"}}"#, true, &["/linux/resources/unified/..~1x"]);
        refused(r#"{"unified":{"memory.high":"5"}}"#, false, &["/linux/resources/unified"]);
    }

    #[test]
    fn a_controller_that_is_not_there_is_named() {
        let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":1}]}"#;
        refused(json, false, &["/linux/resources/hugepageLimits/0"]);
        check(json, true, &[("hugetlb.2MB.max", "1"), ("hugetlb.2MB.rsvd.max", "1")]);
        let json = r#"{"hugepageLimits":[{"pageSize":"2 MB","limit":1}]}"#;
        refused(json, true, &["/linux/resources/hugepageLimits/0/pageSize"]);
    }

    #[test]
    fn a_hybrid_machine_takes_each_controller_where_it_is() {
        let text = format!("{V1}\n9 0 0:9 / /c/unified rw - cgroup2 c rw");
        let layout = Layout::parse(&text, "").unwrap();
        let json = r#"{"pids":{"limit":5},"hugepageLimits":[{"pageSize":"2MB","limit":1}]}"#;
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        let writes = plan(&resources, &layout).unwrap().writes;
        let of = |name: &str| writes.iter().find(|write| write.file == name).unwrap().hierarchy;
        assert_eq!(of("pids.max"), Hierarchy::Legacy("pids"));
        assert_eq!(of("hugetlb.2MB.max"), Hierarchy::Unified);
    }

    #[test]
    fn block_io_on_both() {
        let json = r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":100}],
            "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":7}]}}"#;
        check(
            json,
            false,
            &[
                ("blkio.throttle.read_bps_device", "8:0 100"),
                ("blkio.throttle.write_iops_device", "8:0 7"),
            ],
        );
        check(json, true, &[("io.max", "8:0 rbps=100"), ("io.max", "8:0 wiops=7")]);
        check(r#"{"blockIO":{"weight":0}}"#, true, &[]);
    }
}
