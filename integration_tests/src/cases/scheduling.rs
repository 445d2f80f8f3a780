//! `process.scheduler` and `process.ioPriority`: what the kernel says the program has.

use anyhow::ensure;
use serde_json::{Value, json};

use super::cgroups::has;
use super::{Test, cases, same};
use crate::container::Container;

cases!("scheduling":
    policies, real_time, deadline, children_have_no_more, unset, exec_has_it, io_priorities, what_the_kernel_refuses,
);

/// The policy and the priority that the kernel calculates with, and what has to do with a deadline.
const SHOWN: &str =
    "grep -E '^(policy|prio|dl.runtime|dl.deadline) ' /proc/self/sched | tr -s ' ' | tr '\\n' ' '";

fn shown(container: &mut Container, scheduler: Value) -> anyhow::Result<String> {
    container.set("/process/scheduler", scheduler);
    Ok(container.run_script(SHOWN)?.success()?.stdout.trim().to_owned())
}

fn policies(container: &mut Container) -> Test {
    for (scheduler, expected) in [
        (json!({ "policy": "SCHED_OTHER", "nice": 7 }), "policy : 0 prio : 127"),
        (json!({ "policy": "SCHED_BATCH", "nice": -5 }), "policy : 3 prio : 115"),
        (json!({ "policy": "SCHED_IDLE" }), "policy : 5 prio : 120"),
    ] {
        same!(shown(container, scheduler)?, expected);
    }
    Ok(())
}

/// With the kernel's group scheduling a cgroup has no real time but what it is given.
fn real_time(container: &mut Container) -> Test {
    if has("cpu") {
        let cpu = json!({ "realtimeRuntime": 10_000, "realtimePeriod": 1_000_000 });
        container.set("/linux/resources/cpu", cpu);
    }
    for (policy, number) in [("SCHED_FIFO", 1), ("SCHED_RR", 2)] {
        let scheduler = json!({ "policy": policy, "priority": 3 });
        same!(shown(container, scheduler)?, format!("policy : {number} prio : 96"));
    }
    Ok(())
}

const DEADLINE: [u64; 3] = [10_000_000, 30_000_000, 40_000_000];

fn deadline(container: &mut Container) -> Test {
    let [runtime, deadline, period] = DEADLINE;
    let scheduler = json!({ "policy": "SCHED_DEADLINE", "runtime": runtime, "deadline": deadline,
        "period": period, "flags": ["SCHED_FLAG_RESET_ON_FORK"] });
    container.set("/process/scheduler", scheduler);
    // A shell could not make a process without the flag, so none is made here.
    container.set("/process/args", json!(["cat", "/proc/self/sched"]));
    let text = container.run()?.success()?.stdout;
    let line = |name: &str| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().last()?.parse::<u64>().ok())
    };
    same!(line("policy"), Some(6));
    // What is left of it in this period.
    ensure!(line("dl.runtime").is_some_and(|left| left > 0 && left <= runtime), "{text}");
    Ok(())
}

fn children_have_no_more(container: &mut Container) -> Test {
    let flags = json!(["SCHED_FLAG_RESET_ON_FORK"]);
    let scheduler = json!({ "policy": "SCHED_BATCH", "nice": -5, "flags": flags });
    // grep is the shell's child, whose priority is not higher than normal.
    same!(shown(container, scheduler)?, "policy : 3 prio : 120");
    Ok(())
}

fn unset(container: &mut Container) -> Test {
    same!(container.run_script(SHOWN)?.success()?.stdout.trim(), "policy : 0 prio : 120");
    Ok(())
}

fn exec_has_it(container: &mut Container) -> Test {
    container.set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 5 }));
    container.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 }));
    container.start_idle()?;
    let output = container.exec(&["sh", "-c", &format!("{SHOWN}; ionice -p $$")])?.success()?;
    same!(output.stdout.trim(), "policy : 3 prio : 125 idle");
    Ok(())
}

fn io_priorities(container: &mut Container) -> Test {
    for (class, priority, expected) in [
        ("IOPRIO_CLASS_RT", 1, "realtime: prio 1"),
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        container.set("/process/ioPriority", json!({ "class": class, "priority": priority }));
        same!(container.run_script("ionice -p $$")?.success()?.lines(), [expected]);
    }
    Ok(())
}

/// A deadline longer than the period.
fn what_the_kernel_refuses(container: &mut Container) -> Test {
    let scheduler =
        json!({ "policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 9000, "period": 4000 });
    container.set("/process/scheduler", scheduler);
    let output = container.run()?;
    container.refused(&output, &["scheduler"])
}
