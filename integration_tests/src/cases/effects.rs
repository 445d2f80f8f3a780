//! What limits and devices do, by effect: the same for each manager of cgroups. A row of the table is three tests: `_v1`
//! where controllers are v1's (`--view v1`), `_v2` where v2 has them, `_systemd` where systemd makes the cgroup (both in
//! `hack/test --vm effects::`). What a row waits for is another's progress, never a time.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::cgroups::{directories, need, read};
use super::device_access::{allowed, denied};
use super::{Test, same, systemd};
use crate::command::wait_until;
use crate::config;
use crate::container::Container;
use crate::leftovers::cgroups;
use crate::skip::Skip;
use crate::systemd::busctl;
use crate::view::{Layout, layout};

/// Who manages the cgroup of the row's container.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manager {
    V1,
    V2,
    Systemd,
}

/// Each row by each manager.
macro_rules! table {
    ($($row:ident),* $(,)?) => {
        pub(crate) const CASES: &[crate::suite::Case] = &[$(
            crate::suite::Case {
                name: concat!("effects::", stringify!($row), "_v1"),
                body: |container| Manager::V1.show(container, $row),
            },
            crate::suite::Case {
                name: concat!("effects::", stringify!($row), "_v2"),
                body: |container| Manager::V2.show(container, $row),
            },
            crate::suite::Case {
                name: concat!("effects::", stringify!($row), "_systemd"),
                body: |container| Manager::Systemd.show(container, $row),
            },
        )*];
    };
}

table!(
    over_memory_is_killed,
    over_pids_cannot_fork,
    over_cpu_is_throttled,
    cpu_is_shared,
    reads_are_throttled,
    writes_are_throttled,
    denied_device,
    allowed_device,
    device_of_exec,
    frozen_makes_no_progress,
    delegated,
    device_programs_go,
    connections_go,
);

impl Manager {
    /// Shows the row with a container of this manager; after it nothing is left.
    fn show(self, container: &mut Container, row: fn(&mut Container) -> Test) -> Test {
        self.take(container)?;
        row(container)?;
        container.delete_force()?;
        let left = cgroups(&container.id);
        ensure!(left.is_empty(), "cgroups are left: {left:?}");
        if self == Self::Systemd { systemd::no_unit(container) } else { Ok(()) }
    }

    fn take(self, container: &mut Container) -> Test {
        let is_v2 = layout()? == Layout::V2;
        match self {
            Self::V1 if is_v2 => skip("a v1 hierarchy: --view v1, on a machine that has some"),
            Self::V2 if !is_v2 => skip("v2 alone: --view v2, or hack/test --vm effects::"),
            Self::V1 | Self::V2 => Ok(()),
            Self::Systemd => systemd::need_systemd(container),
        }
    }
}

fn skip(need: &str) -> Test {
    Err(Skip(format!("needs {need}")).into())
}

/// Whose container this is.
fn is_legacy() -> anyhow::Result<bool> {
    Ok(layout()? != Layout::V2)
}

fn over_memory_is_killed(container: &mut Container) -> Test {
    need("memory")?;
    for (limit, status) in [(20_971_520, "137"), (209_715_200, "0")] {
        container.set("/linux/resources/memory", json!({ "limit": limit, "swap": limit }));
        // It reads the whole block into memory, and ends with the status of SIGKILL.
        let script = "dd if=/dev/zero of=/dev/null bs=50000000 count=1; echo $?";
        same!(container.run_script(script)?.lines(), [status]);
    }
    Ok(())
}

fn over_pids_cannot_fork(container: &mut Container) -> Test {
    need("pids")?;
    let script = "for n in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo all";
    for (limit, all) in [(5, &[][..]), (50, &["all"])] {
        container.set("/linux/resources/pids", json!({ "limit": limit }));
        let output = container.run_script(script)?;
        same!(output.words(), all);
        same!(output.stderr.contains("fork"), all.is_empty());
    }
    Ok(())
}

/// What the kernel has counted of a container's CPU time.
struct Usage {
    /// Microseconds.
    used: u64,
    periods: u64,
    throttled: u64,
}

impl Usage {
    fn load(container: &Container) -> anyhow::Result<Self> {
        // Another hierarchy may have a file of this name with other counts.
        let stat = counts(container, "nr_periods")?;
        let count = |name: &str| {
            let found = stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            found.with_context(|| format!("{stat:?} has no {name}"))
        };
        let used = match is_legacy()? {
            true => read(container, &["cpuacct.usage"])?.parse::<u64>()? / 1000,
            false => count("usage_usec")?,
        };
        Ok(Self { used, periods: count("nr_periods")?, throttled: count("nr_throttled")? })
    }
}

/// The `cpu.stat` that has `name`.
fn counts(container: &Container, name: &str) -> anyhow::Result<String> {
    let all = directories(container.pid()?)?.into_iter();
    let all = all.filter_map(|directory| fs::read_to_string(directory.join("cpu.stat")).ok());
    all.into_iter().find(|text| text.contains(name)).with_context(|| format!("no {name}"))
}

/// A tenth of a CPU: of each period in which it was throttled it has had that, and of all periods not more.
fn over_cpu_is_throttled(container: &mut Container) -> Test {
    need("cpu")?;
    let quota = 10_000;
    container.set("/linux/resources/cpu", json!({ "quota": quota, "period": 100_000 }));
    container.start_script("while :; do :; done")?;
    let mut before = Usage::load(container)?;
    wait_until("throttled", || {
        before = Usage::load(container)?;
        Ok(before.throttled >= 1)
    })?;
    let mut after = Usage::load(container)?;
    wait_until("throttled ten times more", || {
        after = Usage::load(container)?;
        Ok(after.throttled >= before.throttled + 10)
    })?;
    let used = after.used - before.used;
    let least = (after.throttled - before.throttled) * quota / 2;
    let most = (after.periods - before.periods + 1) * quota * 3 / 2;
    ensure!((least..=most).contains(&used), "{used} µs used, not {least} to {most}");
    Ok(())
}

/// Two on one CPU, of which the one has eight times the shares of the other.
fn cpu_is_shared(container: &mut Container) -> Test {
    need("cpu")?;
    need("cpuset")?;
    let systemds = container.flags;
    let busy = |container: &mut Container, shares: u32| {
        let cpu = json!({ "shares": shares, "cpus": "0", "mems": "0" });
        container.set("/linux/resources/cpu", cpu);
        container.flags = systemds;
        if !systemds.is_empty() {
            let path = format!("system.slice:test:{}", container.id);
            container.set("/linux/cgroupsPath", json!(path));
        }
        container.start_script("while :; do :; done")
    };
    let mut other = Container::new(&container.runtime, &format!("{}-other", container.id))?;
    let shared = busy(&mut other, 4096).and_then(|()| busy(container, 512)).and_then(|()| {
        let used = |one: &Container| super::cgroups::ticks(one.pid()?);
        let before = (used(container)?, used(&other)?);
        wait_until("both have had the CPU", || Ok(used(&other)? >= before.1 + 50))?;
        let (few, many) = (used(container)? - before.0, used(&other)? - before.1);
        ensure!(few > 0 && many > few * 3, "an eighth has had {few} of {many} ticks");
        Ok(())
    });
    other.finish()?;
    shared
}

/// A file as a block device, for as long as this lives.
struct LoopDevice {
    /// Its name in the machine's /dev.
    path: String,
    numbers: [u64; 2],
}

/// Makes what follows see the machine's /dev.
const WITH_DEVICES: &str = "mount -t devtmpfs devtmpfs /dev && exec losetup \"$@\"";

impl LoopDevice {
    fn new(container: &Container, name: &str) -> anyhow::Result<Self> {
        let file = container.file(name);
        fs::write(&file, vec![1; SIZE])?;
        let path = losetup(&["--find", "--show", "--direct-io=off", &file]).map_err(|error| {
            let is_one = Path::new("/sys/block/loop0").exists();
            if is_one { error } else { Skip("needs loop devices: modprobe loop".to_owned()).into() }
        })?;
        let mut this = Self { path, numbers: [0; 2] };
        let name = this.path.trim_start_matches("/dev/");
        let numbers = fs::read_to_string(format!("/sys/block/{name}/dev"))?;
        let numbers: Vec<u64> = numbers.trim().split(':').flat_map(str::parse).collect();
        this.numbers = numbers.try_into().ok().context("no numbers")?;
        Ok(this)
    }

    /// Gives it to the container, as /dev/`name`.
    fn give(&self, container: &mut Container, name: &str) {
        let [major, minor] = self.numbers;
        let device = json!({
            "path": format!("/dev/{name}"), "type": "b", "major": major, "minor": minor,
            "fileMode": 0o666, "uid": 0, "gid": 0,
        });
        container.push("/linux/devices", device);
        let rule = json!({
            "allow": true, "type": "b", "major": major, "minor": minor, "access": "rwm",
        });
        container.push("/linux/resources/devices", rule);
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = losetup(&["--detach", &self.path]);
    }
}

fn losetup(args: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", WITH_DEVICES, "sh"]);
    let output = command.args(args).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Of the files that are loop devices.
const SIZE: usize = 1 << 20;

fn reads_are_throttled(container: &mut Container) -> Test {
    throttled(container, "throttleReadBpsDevice", "iflag=direct if=$1 of=/dev/null")
}

fn writes_are_throttled(container: &mut Container) -> Test {
    throttled(container, "throttleWriteBpsDevice", "oflag=direct of=$1 if=/dev/zero")
}

/// While as much is copied of a device that is throttled, far more is copied of a free one than where none is.
fn throttled(container: &mut Container, property: &str, copy: &str) -> Test {
    if need("blkio").is_err() {
        need("io")?;
    }
    let (slow, free) = (LoopDevice::new(container, "slow")?, LoopDevice::new(container, "free")?);
    slow.give(container, "slow");
    free.give(container, "free");
    container.mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
    container.script(&format!(
        "copy() {{ dd {copy} bs=16k count=8 2>/tmp/said || cat /tmp/said; }}
         {{ copy /dev/slow; echo >/tmp/done; }} & turns=0
         while [ ! -e /tmp/done ]; do copy /dev/free; turns=$((turns + 1)); done; echo $turns"
    ));
    let turns = |container: &mut Container, limits: Value| {
        container.set("/linux/resources/blockIO", limits);
        let output = container.run()?.success()?;
        output.stdout.trim().parse::<u64>().with_context(|| format!("{output:?}"))
    };
    let [major, minor] = slow.numbers;
    let unlimited = turns(container, json!({}))?;
    let limit = json!([{ "major": major, "minor": minor, "rate": 32768 }]);
    let limited = turns(container, json!({ property: limit }))?;
    ensure!(limited > 3 * unlimited, "{limited} turns of the free one, and {unlimited} before");
    Ok(())
}

fn denied_device(container: &mut Container) -> Test {
    denied(container)
}

fn allowed_device(container: &mut Container) -> Test {
    allowed(container)
}

/// What enters later has no more.
fn device_of_exec(container: &mut Container) -> Test {
    let capabilities = ["CAP_MKNOD", "CAP_SYSLOG", "CAP_DAC_OVERRIDE"];
    config::allow_capabilities(&mut container.config, &capabilities);
    let rule = json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "m" });
    container.push("/linux/resources/devices", rule);
    container.start_idle()?;
    let script = "mknod /dev/log c 1 11 && head -c 1 /dev/zero >/dev/null && echo zero; head -c 1 /dev/log && echo log";
    let output = container.exec(&["sh", "-c", script])?;
    same!(output.words(), ["zero"]);
    ensure!(output.stderr.contains("not permitted"), "{output:?}");
    Ok(())
}

/// A turn of the program is a byte of a file; while it is frozen, others make fifty.
fn frozen_makes_no_progress(container: &mut Container) -> Test {
    if is_legacy()? {
        need("freezer")?;
    }
    container.set("/root/readonly", json!(false));
    container.start_script("while :; do echo >>/turns; sleep 0.01; done")?;
    let path = container.file("rootfs/turns");
    let turns = || Ok::<_, anyhow::Error>(fs::metadata(&path).map_or(0, |file| file.len()));
    wait_until("a turn", || Ok(turns()? > 0))?;
    container.pause()?;
    let frozen = turns()?;
    let others = "n=0; while [ $n -lt 50 ]; do sleep 0.01; n=$((n + 1)); done";
    let status = Command::new("sh").args(["-c", others]).stdin(Stdio::null()).status()?;
    ensure!(status.success(), "{status}");
    same!(turns()?, frozen);
    container.verb("resume")?.success()?;
    wait_until("a turn after that", || Ok(turns()? > frozen))
}

/// Root of a user namespace divides what the container has, and cannot have more (cgroups(7), "Cgroup delegation
/// containment").
fn delegated(container: &mut Container) -> Test {
    if is_legacy()? {
        return skip("v2: a v1 cgroup is given to nobody");
    }
    need("pids")?;
    config::add_user_namespace(&mut container.config);
    config::remove_mounts(&mut container.config, |path| path == "/sys/fs/cgroup");
    container
        .mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" }));
    container.set("/linux/resources/pids", json!({ "limit": 30 }));
    let script = "cd /sys/fs/cgroup && mkdir rest small && echo 1 >rest/cgroup.procs && \
                  echo +pids >cgroup.subtree_control && echo 3 >small/pids.max && echo divided
                  echo 40 2>/dev/null >pids.max || echo kept
                  echo $$ >small/cgroup.procs && for n in 1 2 3 4 5; do sleep 100 & done; echo all";
    let output = container.run_script(script)?;
    same!(output.words(), ["divided", "kept"]);
    ensure!(output.stderr.contains("fork"), "{output:?}");
    Ok(())
}

/// The container's cgroup in the one hierarchy.
fn home(container: &Container) -> anyhow::Result<PathBuf> {
    directories(container.pid()?)?.into_iter().next().context("no cgroup")
}

/// The program of its cgroup is the container's alone: there is none after it.
fn device_programs_go(container: &mut Container) -> Test {
    if is_legacy()? {
        return skip("v2: v1 has files in place of programs");
    }
    container.start_idle()?;
    let directory = fs::File::open(home(container)?)?;
    let programs = libsyscall::bpf::attached_device_programs(directory.as_fd())?;
    drop(directory);
    ensure!(!programs.is_empty(), "no device program is attached");
    container.exec(&["true"])?.success()?;
    container.delete_force()?;
    // The kernel frees it when all that have read it at the time have.
    wait_until("the programs are gone", || {
        Ok(programs.iter().all(|program| libsyscall::bpf::program_by_id(*program).is_err()))
    })
}

/// Nobody is connected to the bus for the container, nor told of what systemd does.
fn connections_go(container: &mut Container) -> Test {
    if container.flags.is_empty() {
        return skip("systemd: no other manager has a connection");
    }
    container.start_idle()?;
    let ours = "member='JobRemoved'";
    let rules = "org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus.Debug.Stats GetAllMatchRules";
    wait_until("nobody waits for a job", || Ok(!busctl(rules)?.contains(ours)))
}
