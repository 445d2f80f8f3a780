//! `process.scheduler`, `process.ioPriority` and `process.execCPUAffinity`.

use libsyscall::scheduler::Attributes;
use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler,
};

use crate::plan::{NumberSet, Violations};

/// On which CPUs an exec process runs (config.md, "Linux Process", `execCPUAffinity`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// CPUs of the runtime before it enters the container's cgroup; absent leaves them.
    pub initial: Option<NumberSet>,
    /// CPUs of the process in the container's cgroup; absent leaves them to the kernel.
    pub last: Option<NumberSet>,
}

/// The CPUs of exec processes.
pub(crate) fn affinity(process: &Process, pointer: &str, found: &mut Violations) -> Affinity {
    let Some(given) = process.exec_cpu_affinity() else { return Affinity::default() };
    let mut cpus = |name: &str, text: &Option<String>| {
        let text = text.as_deref()?;
        let set = NumberSet::parse(text);
        set.map_err(|rule| found.add(&format!("{pointer}/{name}"), text, rule, "name CPUs")).ok()
    };
    Affinity {
        initial: cpus("initial", given.initial()),
        last: cpus("final", given.cpu_affinity_final()),
    }
}

/// The value for ioprio_set(2): the class above bit 13, the level below.
pub(crate) fn io_priority(given: &LinuxIOPriority, pointer: &str, found: &mut Violations) -> u32 {
    let class = match given.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = u32::try_from(given.priority()).ok().filter(|level| *level <= 7);
    if level.is_none() {
        let rule = "is between 0 and 7 (ioprio_set(2))";
        found.add(&format!("{pointer}/priority"), given.priority(), rule, "write such a number");
    }
    class << 13 | level.unwrap_or(0)
}

/// The attributes for sched_setattr(2).
pub(crate) fn scheduler(given: &Scheduler, pointer: &str, found: &mut Violations) -> Attributes {
    check_policy(given, pointer, found);
    check_priorities(given, pointer, found);
    Attributes {
        policy: policy(*given.policy()),
        flags: given.flags().iter().flatten().fold(0, |bits, one| bits | flag(*one)),
        nice: given.nice().unwrap_or(0),
        priority: given.priority().and_then(|one| u32::try_from(one).ok()).unwrap_or(0),
        runtime: given.runtime().unwrap_or(0),
        deadline: given.deadline().unwrap_or(0),
        period: given.period().unwrap_or(0),
        ..Attributes::default()
    }
}

/// `SCHED_*` (linux/sched.h).
const fn policy(name: LinuxSchedulerPolicy) -> u32 {
    match name {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

/// `SCHED_FLAG_*` (linux/sched.h).
const fn flag(name: LinuxSchedulerFlag) -> u64 {
    match name {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

fn check_policy(given: &Scheduler, pointer: &str, found: &mut Violations) {
    if *given.policy() == LinuxSchedulerPolicy::SchedIso {
        let rule = "is reserved, and Linux does not implement it (sched(7))";
        found.add(&format!("{pointer}/policy"), "SCHED_ISO", rule, "write another policy");
    }
    if *given.policy() == LinuxSchedulerPolicy::SchedDeadline {
        return;
    }
    let times =
        [("runtime", given.runtime()), ("deadline", given.deadline()), ("period", given.period())];
    for (name, value) in times {
        if let Some(value) = value.filter(|value| *value != 0) {
            let rule = "is for SCHED_DEADLINE (config.md, \"POSIX process\")";
            found.add(&format!("{pointer}/{name}"), value, rule, "leave it out");
        }
    }
}

/// The ranges of sched_setattr(2).
fn check_priorities(given: &Scheduler, pointer: &str, found: &mut Violations) {
    let nice = given.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        let rule = "is between -20 and 19 (sched(7))";
        found.add(&format!("{pointer}/nice"), nice, rule, "write such a number");
    }
    let real_time = [LinuxSchedulerPolicy::SchedFifo, LinuxSchedulerPolicy::SchedRr];
    let priority = given.priority().unwrap_or(0);
    let pointer = format!("{pointer}/priority");
    if !real_time.contains(given.policy()) {
        if priority != 0 {
            let rule = "is for SCHED_FIFO and SCHED_RR (sched(7))";
            found.add(&pointer, priority, rule, "leave it out");
        }
    } else if !(1..=99).contains(&priority) {
        let rule = "is between 1 and 99 for SCHED_FIFO and SCHED_RR (sched(7))";
        found.add(&pointer, priority, rule, "write such a number");
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxIOPriority, Scheduler};
    use serde_json::{Value, json};

    use super::{Violations, io_priority, scheduler};

    #[test]
    fn an_io_priority_has_its_class_above_its_level() {
        let value = |class: &str, priority: i64| {
            let given = json!({"class": class, "priority": priority});
            let given: LinuxIOPriority = serde_json::from_value(given).unwrap();
            let mut found = Violations::default();
            let value = io_priority(&given, "", &mut found);
            found.all.is_empty().then_some(value)
        };
        assert_eq!(value("IOPRIO_CLASS_RT", 0), Some(0x2000));
        assert_eq!(value("IOPRIO_CLASS_BE", 7), Some(0x4007));
        assert_eq!(value("IOPRIO_CLASS_IDLE", 3), Some(0x6003));
        assert_eq!(value("IOPRIO_CLASS_BE", 8), None);
        assert_eq!(value("IOPRIO_CLASS_BE", -1), None);
    }

    fn wrong(given: Value) -> Vec<String> {
        let given: Scheduler = serde_json::from_value(given).unwrap();
        let mut found = Violations::default();
        scheduler(&given, "", &mut found);
        found.all.into_iter().map(|violation| violation.pointer).collect()
    }

    #[test]
    fn each_policy_has_its_own_numbers() {
        assert!(wrong(json!({"policy": "SCHED_BATCH", "nice": -20})).is_empty());
        assert!(wrong(json!({"policy": "SCHED_RR", "priority": 99})).is_empty());
        let deadline =
            json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3});
        assert!(wrong(deadline).is_empty());
        assert_eq!(wrong(json!({"policy": "SCHED_OTHER", "nice": 20})), ["/nice"]);
        assert_eq!(wrong(json!({"policy": "SCHED_OTHER", "priority": 1})), ["/priority"]);
        assert_eq!(wrong(json!({"policy": "SCHED_FIFO"})), ["/priority"]);
        assert_eq!(wrong(json!({"policy": "SCHED_FIFO", "priority": -1})), ["/priority"]);
        assert_eq!(wrong(json!({"policy": "SCHED_ISO"})), ["/policy"]);
        let times = json!({"policy": "SCHED_IDLE", "runtime": 1, "deadline": 2, "period": 3});
        assert_eq!(wrong(times), ["/runtime", "/deadline", "/period"]);
    }

    #[test]
    fn the_attributes_are_those_of_the_kernel() {
        let given = json!({"policy": "SCHED_DEADLINE", "runtime": 10, "deadline": 20, "period": 30,
            "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_KEEP_PARAMS"]});
        let given: Scheduler = serde_json::from_value(given).unwrap();
        let attributes = scheduler(&given, "", &mut Violations::default());
        assert_eq!((attributes.policy, attributes.flags), (6, 0x12));
        assert_eq!((attributes.runtime, attributes.deadline, attributes.period), (10, 20, 30));
    }

    #[test]
    fn policies_and_flags_have_the_kernels_numbers() {
        let attributes = |given: Value| {
            let given: Scheduler = serde_json::from_value(given).unwrap();
            scheduler(&given, "", &mut Violations::default())
        };
        let policies = ["OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE"];
        for (number, policy) in policies.into_iter().enumerate() {
            let planned = attributes(json!({"policy": format!("SCHED_{policy}")}));
            assert_eq!(planned.policy, u32::try_from(number).unwrap(), "{policy}");
        }
        // As oci-spec has them; config.json has the kernel's names, which are repaired when it is read.
        let flags = [
            "SCHED_RESET_ON_FORK",
            "SCHED_FLAG_RECLAIM",
            "SCHED_FLAG_D_L_OVERRUN",
            "SCHED_FLAG_KEEP_POLICY",
            "SCHED_FLAG_KEEP_PARAMS",
            "SCHED_FLAG_UTIL_CLAMP_MIN",
            "SCHED_FLAG_UTIL_CLAMP_MAX",
        ];
        for (bit, flag) in flags.into_iter().enumerate() {
            let planned = attributes(json!({"policy": "SCHED_OTHER", "flags": [flag]}));
            assert_eq!(planned.flags, 1 << bit, "{flag}");
        }
    }
}
