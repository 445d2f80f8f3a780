//! The limits of `linux.resources` as writes to cgroup files: pure tables, one file an area.
//!
//! What a hierarchy cannot express is a violation, never silence.

use libviolation::Violation;
use oci_spec::runtime::LinuxResources;

use crate::Layout;
use crate::limits::{Limits, Table};

mod block_io;
mod cpu;
mod memory;
mod others;
mod update;

pub use update::plan_update;

/// Turns `resources`, but for its devices, into limits for the hierarchies of `layout`.
///
/// # Errors
/// Everything that cannot be expressed.
pub fn plan_limits(resources: &LinuxResources, layout: &Layout) -> Result<Limits, Vec<Violation>> {
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
    table.into_limits()
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxResources;

    use super::plan_limits;
    use crate::Layout;
    use crate::limits::{Hierarchy, Limits};

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
        plan_limits(&resources, &layout(v2))
            .map_err(|all| all.into_iter().map(|violation| violation.pointer).collect())
    }

    #[track_caller]
    fn check(json: &str, v2: bool, expected: &[(&str, &str)]) {
        let limits = limits(json, v2).unwrap();
        let writes: Vec<_> = limits
            .writes()
            .iter()
            .map(|write| (write.file.as_str(), write.value.as_str()))
            .collect();
        assert_eq!(writes, expected);
    }

    #[track_caller]
    fn refused(json: &str, v2: bool, pointers: &[&str]) {
        assert_eq!(limits(json, v2).unwrap_err(), pointers);
    }

    #[test]
    fn devices_are_not_limits() {
        for v2 in [false, true] {
            check(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#, v2, &[]);
        }
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
        for shares in ["1", "262145"] {
            let json = format!(r#"{{"cpu":{{"shares":{shares}}}}}"#);
            refused(&json, false, &["/linux/resources/cpu/shares"]);
        }
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
    fn what_a_container_cannot_be_made_under() {
        for (limit, is_tight) in [(-1, false), (0, true), (2, true), (3, false)] {
            let json = format!(r#"{{"pids":{{"limit":{limit}}},"cpu":{{"cpus":"0"}}}}"#);
            let mut limits = limits(&json, true).unwrap();
            assert_eq!(limits.take_tight().is_empty(), !is_tight, "{limit}");
            assert_eq!(limits.writes().len(), if is_tight { 1 } else { 2 });
        }
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
        let limits = plan_limits(&resources, &layout).unwrap();
        let of =
            |name: &str| limits.writes().iter().find(|write| write.file == name).unwrap().hierarchy;
        assert_eq!(of("pids.max"), Hierarchy::Legacy("pids"));
        assert_eq!(of("hugetlb.2MB.max"), Hierarchy::Unified);
    }

    /// Where the kernel has lost a file.
    #[test]
    fn what_is_written_instead() {
        let json =
            r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":10}]}}"#;
        for (v2, expected) in [
            (false, [("blkio.bfq.weight", "500"), ("blkio.bfq.weight_device", "8:0 10")]),
            (true, [("io.bfq.weight", "default 500"), ("io.bfq.weight", "8:0 10")]),
        ] {
            let limits = limits(json, v2).unwrap();
            let instead = limits.writes().iter().filter_map(|write| write.instead.as_deref());
            let instead: Vec<_> =
                instead.map(|one| (one.file.as_str(), one.value.as_str())).collect();
            assert_eq!(instead, expected);
        }
    }

    #[test]
    fn no_class_needs_no_controller() {
        for v2 in [false, true] {
            check(r#"{"network":{"classID":0}}"#, v2, &[]);
            refused(r#"{"network":{"classID":1}}"#, v2, &["/linux/resources/network/classID"]);
        }
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
        let json =
            r#"{"blockIO":{"weight":1000,"weightDevice":[{"major":8,"minor":16,"weight":10}]}}"#;
        check(json, false, &[("blkio.weight", "1000"), ("blkio.weight_device", "8:16 10")]);
        check(json, true, &[("io.weight", "default 10000"), ("io.weight", "8:16 1")]);
        let json = r#"{"blockIO":{"weight":9,"weightDevice":[{"major":8,"minor":16},
            {"major":8,"minor":0,"leafWeight":20}]}}"#;
        let wrong = ["/weight", "/weightDevice/0", "/weightDevice/1/leafWeight"];
        refused(
            json,
            true,
            &wrong
                .map(|end| format!("/linux/resources/blockIO{end}"))
                .each_ref()
                .map(|one| one.as_str()),
        );
    }

    #[test]
    fn the_rest_of_cpu_on_both() {
        let json = r#"{"cpu":{"quota":50000,"period":100000,"burst":7000,"idle":1}}"#;
        let legacy = [
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "50000"),
            ("cpu.cfs_burst_us", "7000"),
            ("cpu.idle", "1"),
        ];
        check(json, false, &legacy);
        let unified = [("cpu.max", "50000 100000"), ("cpu.max.burst", "7000"), ("cpu.idle", "1")];
        check(json, true, &unified);
        let json = r#"{"cpu":{"realtimeRuntime":5,"realtimePeriod":6}}"#;
        check(json, false, &[("cpu.rt_period_us", "6"), ("cpu.rt_runtime_us", "5")]);
        let pointers =
            ["/linux/resources/cpu/realtimeRuntime", "/linux/resources/cpu/realtimePeriod"];
        refused(json, true, &pointers);
    }

    #[test]
    fn every_rate_on_both() {
        let device = r#"[{"major":8,"minor":0,"rate":9}]"#;
        for (property, file, key) in [
            ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
            ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
            ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
            ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
        ] {
            let json = format!(r#"{{"blockIO":{{"{property}":{device}}}}}"#);
            check(&json, false, &[(file, "8:0 9")]);
            check(&json, true, &[("io.max", &format!("8:0 {key}=9"))]);
        }
        let json = r#"{"blockIO":{"leafWeight":20,"weightDevice":[{"major":8,"minor":0,"leafWeight":30}]}}"#;
        check(json, false, &[("blkio.leaf_weight", "20"), ("blkio.leaf_weight_device", "8:0 30")]);
    }

    #[test]
    fn network_is_for_two_controllers_of_v1() {
        let mounts = "1 0 0:1 / /c/n rw - cgroup c rw,net_cls,net_prio";
        let layout = Layout::parse(mounts, "").unwrap();
        let json = r#"{"network":{"classID":1048577,"priorities":[
            {"name":"eth0","priority":500},{"name":"eth1","priority":7}]}}"#;
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        let limits = plan_limits(&resources, &layout).unwrap();
        let writes: Vec<_> = limits
            .writes()
            .iter()
            .map(|write| (write.file.as_str(), write.value.as_str()))
            .collect();
        let expected = [
            ("net_cls.classid", "1048577"),
            ("net_prio.ifpriomap", "eth0 500"),
            ("net_prio.ifpriomap", "eth1 7"),
        ];
        assert_eq!(writes, expected);
        let pointers = [
            "/linux/resources/network/classID",
            "/linux/resources/network/priorities/0",
            "/linux/resources/network/priorities/1",
        ];
        refused(json, true, &pointers);
    }
}
