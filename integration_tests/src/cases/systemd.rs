//! Cgroups that systemd makes (`--systemd-cgroup`). They need a machine whose first process is systemd:
//! `hack/test --vm systemd::`.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases, same};
use crate::command::wait_until;
use crate::container::Container;
use crate::skip::Skip;
use crate::systemd::{is_booted, systemctl};
use crate::view::CGROUPS;

cases!("systemd":
    the_scope_has_its_slice_and_properties, without_a_path_the_slice_is_systems,
    limits_are_files_and_properties, limits_and_devices_survive_a_reload,
    the_program_sees_its_cgroup, exec_is_in_the_scope, kill_and_delete_end_the_unit, a_unit_that_ended_by_itself,
    delete_by_force, run_in_the_foreground, pause_and_resume, a_failed_create_leaves_no_unit,
    a_unit_that_exists_is_refused, an_annotation_is_a_property, a_denied_annotation_is_refused,
    paths_that_are_no_unit_are_refused, a_user_namespace, the_hosts_cgroups_are_shown, no_bus, a_silent_bus,
    a_bus_that_closes, a_killed_create, a_slice_in_a_slice, cruns_flag, in_a_pod,
);

/// How long a command may take that meets a bus which does not answer.
const BOUND: Duration = Duration::from_secs(18);

/// Skips the test where there is no systemd, or not cgroup v2 alone.
pub(super) fn need_systemd(container: &mut Container) -> Test {
    if !is_booted() {
        return Err(Skip("no systemd here".to_owned()).into());
    }
    if !Path::new(CGROUPS).join("cgroup.controllers").exists() {
        return Err(Skip("no cgroup v2 alone here".to_owned()).into());
    }
    container.set("/linux/cgroupsPath", json!(format!("system.slice:test:{}", container.id)));
    container.flags = &["--systemd-cgroup"];
    Ok(())
}

pub(super) fn unit(container: &Container) -> String {
    format!("test-{}.scope", container.id)
}

/// The scope's cgroup.
pub(super) fn directory(container: &Container) -> PathBuf {
    Path::new(CGROUPS).join("system.slice").join(unit(container))
}

pub(super) fn read(container: &Container, file: &str) -> anyhow::Result<String> {
    let path = directory(container).join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.trim().to_owned())
}

/// A property of the container's unit.
pub(super) fn property(container: &Container, name: &str) -> anyhow::Result<String> {
    systemctl(&["show", "--property", name, "--value", &unit(container)])
}

/// Neither systemd nor the hierarchy knows the unit.
pub(super) fn no_unit(container: &Container) -> Test {
    let gone = || Ok(property(container, "LoadState")? == "not-found");
    wait_until("systemd forgets the unit", gone)?;
    ensure!(!directory(container).exists(), "{} is left", directory(container).display());
    Ok(())
}

fn the_scope_has_its_slice_and_properties(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.start_idle()?;
    for (name, value) in [
        ("Slice", "system.slice"),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("ActiveState", "active"),
        ("Transient", "yes"),
    ] {
        same!(property(container, name)?, value);
    }
    let description = property(container, "Description")?;
    ensure!(description.contains(&container.id), "{description:?}");
    same!(read(container, "cgroup.procs")?, container.pid()?.to_string());
    Ok(())
}

/// In the runtime's own name: PREFIX-ID.scope.
fn without_a_path_the_slice_is_systems(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.remove("/linux/cgroupsPath");
    container.start_idle()?;
    let id = &container.id;
    let listed = systemctl(&["list-units", "--plain", "--no-legend", &format!("*-{id}.scope")])?;
    let unit = listed.split_whitespace().next().context("no such unit")?.to_owned();
    same!(systemctl(&["show", "--property", "Slice", "--value", &unit])?, "system.slice");
    container.delete_force()?;
    ensure!(!Path::new(CGROUPS).join("system.slice").join(unit).exists(), "the cgroup is left");
    Ok(())
}

pub(super) fn set_limits(container: &mut Container) {
    container.set(
        "/linux/resources",
        json!({
            "memory": { "limit": 67108864, "reservation": 33554432, "swap": 67108864 },
            "cpu": { "shares": 2048, "quota": 50000, "period": 100000, "cpus": "0" },
            "pids": { "limit": 20 },
            "devices": [{ "allow": false, "access": "rwm" }],
        }),
    );
}

fn check_limits(container: &Container) -> Test {
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.swap.max", "0"),
        ("cpu.max", "50000 100000"),
        ("pids.max", "20"),
        ("cpuset.cpus", "0"),
    ] {
        same!(read(container, file)?, value);
    }
    Ok(())
}

fn limits_are_files_and_properties(container: &mut Container) -> Test {
    need_systemd(container)?;
    set_limits(container);
    container.start_idle()?;
    check_limits(container)?;
    for (name, value) in [
        ("MemoryMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemorySwapMax", "0"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("CPUQuotaPeriodUSec", "100ms"),
        ("TasksMax", "20"),
        ("AllowedCPUs", "0"),
    ] {
        same!(property(container, name)?, value);
    }
    same!(property(container, "CPUWeight")?, read(container, "cpu.weight")?);
    Ok(())
}

/// A device that no rule allows, and one of the default set.
const DEVICES: &str = "rm -f /dev/refused; mknod /dev/refused c 1 11 && ! head -c 1 /dev/refused && \
                       head -c 1 /dev/zero > /dev/null && echo kept";

fn limits_and_devices_survive_a_reload(container: &mut Container) -> Test {
    need_systemd(container)?;
    set_limits(container);
    let capabilities = ["CAP_MKNOD", "CAP_SYSLOG", "CAP_DAC_OVERRIDE"];
    crate::config::allow_capabilities(&mut container.config, &capabilities);
    container.start_idle()?;
    for change in
        [&["daemon-reload"][..], &["set-property", "--runtime", &unit(container), "TasksMax=20"]]
    {
        same!(container.exec(&["sh", "-c", DEVICES])?.success()?.lines(), ["kept"]);
        systemctl(change)?;
        check_limits(container).with_context(|| format!("{change:?}"))?;
        same!(container.exec(&["sh", "-c", DEVICES])?.success()?.lines(), ["kept"]);
    }
    Ok(())
}

/// The joiner is in the scope before it clones init, and so its maker.
fn in_a_pod(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.beside(
        |_| {},
        |container, other| {
            let path = format!("/proc/{}/ns/pid", other.pid()?);
            crate::config::namespace(&mut container.config, "pid", Some(&path));
            container.start_idle()?;
            same!(read(container, "cgroup.procs")?, container.pid()?.to_string());
            container.delete_force()?;
            no_unit(container)
        },
    )
}

fn the_program_sees_its_cgroup(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    }));
    container.script("cat /proc/self/cgroup; wc -l < /sys/fs/cgroup/cgroup.procs");
    let output = container.run()?.success()?;
    same!(output.lines()[..1], ["0::/"]);
    ensure!(output.lines().len() == 2 && output.lines()[1] != "0", "{output:?}");
    Ok(())
}

/// Without a cgroup namespace a mount of type cgroup shows the container's own, which comes after init.
fn the_hosts_cgroups_are_shown(container: &mut Container) -> Test {
    need_systemd(container)?;
    crate::config::namespace(&mut container.config, "cgroup", None);
    container.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    }));
    container.script("cat /proc/self/cgroup; ls /sys/fs/cgroup");
    let output = container.run()?.success()?;
    same!(output.lines()[0], format!("0::/system.slice/{}", unit(container)));
    ensure!(output.stdout.contains("cgroup.procs"), "{output:?}");
    Ok(())
}

fn exec_is_in_the_scope(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.start_idle()?;
    container.exec_with(&["--detach"], &["sleep", "100"])?.success()?;
    same!(read(container, "cgroup.procs")?.lines().count(), 2);
    Ok(())
}

fn kill_and_delete_end_the_unit(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.start_idle()?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    no_unit(container)
}

fn a_unit_that_ended_by_itself(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.start_script("exit 3")?;
    container.wait_for("stopped")?;
    no_unit(container)?;
    container.verb("delete")?.success()?;
    // The id and the unit's name can be taken again at once.
    container.start_idle()
}

fn delete_by_force(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.start_script("sleep 100 & sleep 101")?;
    container.delete_force()?;
    no_unit(container)
}

fn run_in_the_foreground(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.script("exit 7");
    same!(container.run()?.code, 7);
    no_unit(container)
}

fn pause_and_resume(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.start_idle()?;
    container.pause()?;
    same!(read(container, "cgroup.freeze")?, "1");
    same!(container.state()?["status"], "paused");
    container.verb("resume")?.success()?;
    same!(container.state()?["status"], "running");
    Ok(())
}

fn a_failed_create_leaves_no_unit(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.set("/process/args", json!(["/no/such/program"]));
    let output = container.create()?;
    container.refused(&output, &["no such file"])?;
    no_unit(container)
}

fn a_unit_that_exists_is_refused(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.start_idle()?;
    let second = format!("{}-second", container.id);
    let bundle = container.bundle();
    let args = ["create", "--bundle", &bundle, &second];
    container.runtime(&args)?.fails(1, &["exists"])?;
    ensure!(!container.root().join(&second).exists(), "the second is left");
    same!(container.state()?["status"], "running");
    same!(property(container, "ActiveState")?, "active");
    Ok(())
}

fn an_annotation_is_a_property(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.set(
        "/annotations",
        json!({
            "org.systemd.property.TimeoutStopSec": "7",
            "org.systemd.property.CollectMode": "'inactive'",
            "org.systemd.property.After": "['dbus.service']",
        }),
    );
    container.start_idle()?;
    same!(property(container, "TimeoutStopUSec")?, "7s");
    same!(property(container, "CollectMode")?, "inactive");
    ensure!(property(container, "After")?.contains("dbus.service"), "no dependency");
    Ok(())
}

/// CVE-2024-3154: a property that would run a program on the host.
fn a_denied_annotation_is_refused(container: &mut Container) -> Test {
    need_systemd(container)?;
    for (name, value) in [
        ("ExecStopPost", "['/bin/sh', '-c', 'true']"),
        ("Wants", "['rescue.target']"),
        ("SuccessAction", "'poweroff'"),
    ] {
        let key = format!("org.systemd.property.{name}");
        container.set("/annotations", json!({ &key: value }));
        let output = container.create()?;
        container.refused(&output, &[&format!("/annotations/{key}")])?;
    }
    no_unit(container)
}

fn paths_that_are_no_unit_are_refused(container: &mut Container) -> Test {
    need_systemd(container)?;
    for path in ["/absolute", "a:b", "a.slice:b:c:d", "../a.slice:b:c", "a:b:c", "a.slice:b:../c"] {
        container.set("/linux/cgroupsPath", json!(path));
        let output = container.create()?;
        container.refused(&output, &["/linux/cgroupsPath"])?;
    }
    Ok(())
}

fn a_user_namespace(container: &mut Container) -> Test {
    need_systemd(container)?;
    crate::config::add_user_namespace(&mut container.config);
    container.start_idle()?;
    same!(read(container, "cgroup.procs")?, container.pid()?.to_string());
    Ok(())
}

/// `create` with the bus at `socket` fails in time, says `words`, and leaves nothing.
fn fails_at(container: &Container, socket: &Path, words: &[&str]) -> Test {
    container.save()?;
    let bundle = container.bundle();
    let args = ["create", "--bundle", &bundle, &container.id];
    let mut command = container.command(&args);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", socket.display()));
    let began = Instant::now();
    let output = container.finish_command(command, Stdio::null())?;
    ensure!(began.elapsed() < BOUND, "took {:?}", began.elapsed());
    container.refused(&output, words)?;
    no_unit(container)
}

fn no_bus(container: &mut Container) -> Test {
    need_systemd(container)?;
    fails_at(container, &container.directory.join("none"), &["D-Bus", "none", "connect"])
}

fn a_silent_bus(container: &mut Container) -> Test {
    need_systemd(container)?;
    let socket = container.directory.join("silent");
    let _listener = UnixListener::bind(&socket)?;
    fails_at(container, &socket, &["D-Bus", "does not answer"])
}

fn a_bus_that_closes(container: &mut Container) -> Test {
    need_systemd(container)?;
    let socket = container.directory.join("closing");
    let listener = UnixListener::bind(&socket)?;
    let closing = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept()?;
        let mut greeting = [0; 8];
        stream.read_exact(&mut greeting)?;
        stream.write_all(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nl\x02")
    });
    fails_at(container, &socket, &["D-Bus", "closed"])?;
    closing.join().ok().context("the bus panicked")??;
    Ok(())
}

/// The runtime is killed while systemd is asked: what is left is found by its state.
fn a_killed_create(container: &mut Container) -> Test {
    need_systemd(container)?;
    let socket = container.directory.join("silent");
    let listener = UnixListener::bind(&socket)?;
    container.save()?;
    let bundle = container.bundle();
    let args = ["create", "--bundle", &bundle, &container.id];
    let mut command = container.command(&args);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", socket.display()));
    let mut create = command.stdin(Stdio::null()).spawn()?;
    let (_stream, _) = listener.accept()?;
    create.kill()?;
    create.wait()?;
    container.delete_force()?;
    no_unit(container)
}

/// Where systemd puts it is where the runtime looks for it.
fn a_slice_in_a_slice(container: &mut Container) -> Test {
    need_systemd(container)?;
    let outer = format!("t{}", container.runtime.token);
    let path = format!("{outer}-a-b.slice:test:{}", container.id);
    container.set("/linux/cgroupsPath", json!(path));
    container.start_idle()?;
    same!(property(container, "Slice")?, format!("{outer}-a-b.slice"));
    let below = format!("{outer}.slice/{outer}-a.slice/{outer}-a-b.slice");
    let directory = Path::new(CGROUPS).join(below).join(unit(container));
    let procs = fs::read_to_string(directory.join("cgroup.procs"))?;
    same!(procs.trim(), container.pid()?.to_string());
    container.delete_force()?;
    systemctl(&["stop", &format!("{outer}.slice")])?;
    no_unit(container)
}

fn cruns_flag(container: &mut Container) -> Test {
    need_systemd(container)?;
    container.flags = &[];
    container.script("true");
    container.save()?;
    let bundle = container.bundle();
    let args = ["--cgroup-manager", "systemd", "create", "--bundle", &bundle, &container.id];
    container.runtime(&args)?.success()?;
    same!(property(container, "ActiveState")?, "active");
    let contradiction = [
        "--systemd-cgroup",
        "--cgroup-manager",
        "cgroupfs",
        "create",
        "--bundle",
        &bundle,
        "other",
    ];
    container.runtime(&contradiction)?.fails(1, &["--systemd-cgroup", "exclude"])
}
