//! Published escapes, each by its number.
//!
//! The victims are scratch directories and what belongs to the container's own namespaces, never a
//! file of the machine: a runtime that is vulnerable must do no harm here.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::command::{Output, wait_until};
use crate::config;
use crate::container::Container;

cases!("escapes":
    cve_2016_3697_numeric_user, cve_2016_9962_init_is_not_dumpable, cve_2016_9962_exec_process_is_not_dumpable,
    cve_2016_9962_exec_process_of_a_user_is_not_dumpable, cve_2019_16884_fake_proc, cve_2019_16884_tmpfs_on_proc,
    cve_2019_18837_linked_destination, cve_2019_19921_linked_proc, cve_2019_19921_linked_sys,
    cve_2021_43784_long_netlink, cve_2022_0811_sysctl_value,
    cve_2022_29162_inheritable,
    cve_2025_31133_linked_null, cve_2025_52881_fake_sysctl,
    cve_2026_30892_user, cve_2026_30892_empty_user, cve_2026_41579_linked_dev,
    cve_2026_41579_linked_dev_without_mount, cve_2026_88265_linked_null_streams, cve_2026_88265_null_streams_of_exec,
    cve_2026_115521_linked_proc_self_fd, host_propagation_is_untouched, links_in_dev, another_procfs,
    another_procfs_without_pivot_root, another_procfs_without_pivot_root_in_a_user_namespace,
    another_procfs_without_a_mount_namespace,
);

fn names(directory: &Path) -> anyhow::Result<usize> {
    Ok(fs::read_dir(directory)?.count())
}

/// In /etc/passwd of the image, a user called 1000 has uid 0.
fn cve_2016_3697_numeric_user(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    same!(container.run_script("id -u")?.success()?.lines(), ["1000"]);
    container.start_idle()?;
    let output = container.exec_with(&["--user", "1000"], &["id", "-u"])?.success()?;
    same!(output.lines(), ["1000"]);
    Ok(())
}

/// Lists what a program of the container can follow of the processes that are the runtime's, by
/// their names: lines of `PID LINK TARGET`, and `PID` alone for each such process.
const FOLLOW: &str = r#"
    for process in /proc/[0-9]*; do
        case "$(cat $process/comm 2> /dev/null)" in
        "" | sh | sleep | cat | readlink | busybox) continue ;;
        esac
        echo "${process#/proc/}"
        for link in exe root cwd fd/0 fd/3 fd/4 fd/5 ns/mnt; do
            target=$(readlink $process/$link) && [ "$target" ] && echo "${process#/proc/} $link $target"
        done
    done
    true"#;

fn follow(container: &Container, flags: &[&str]) -> anyhow::Result<Output> {
    container.exec_with(flags, &["sh", "-c", FOLLOW])?.success()
}

fn powerful(container: &mut Container) {
    let all = ["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_KILL"];
    config::allow_capabilities(&mut container.config, &all);
}

/// While the runtime is in the container, a program there must not look into it.
fn cve_2016_9962_init_is_not_dumpable(container: &mut Container) -> Test {
    powerful(container);
    container.create()?.success()?;
    same!(follow(container, &[])?.lines(), ["1"]);
    Ok(())
}

fn cve_2016_9962_exec_process_is_not_dumpable(container: &mut Container) -> Test {
    powerful(container);
    container.start_idle()?;
    exec_process_is_not_dumpable(container, container.config["process"].clone(), &[])
}

/// A sysctl of the machine, put back whatever happens.
struct Sysctl {
    path: &'static str,
    before: String,
}

impl Sysctl {
    fn set(path: &'static str, value: &str) -> anyhow::Result<Self> {
        let before = fs::read_to_string(path)?;
        fs::write(path, value)?;
        Ok(Self { path, before })
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        let _ = fs::write(self.path, &self.before);
    }
}

/// Where `fs.suid_dumpable` is 1 a change of ids makes a process dumpable (proc_sys_fs(5)).
fn cve_2016_9962_exec_process_of_a_user_is_not_dumpable(container: &mut Container) -> Test {
    powerful(container);
    container.start_idle()?;
    let _restored = Sysctl::set("/proc/sys/fs/suid_dumpable", "1")?;
    let mut process = container.config["process"].clone();
    process["user"] = json!({ "uid": 1000, "gid": 1000 });
    process["capabilities"] = json!({});
    exec_process_is_not_dumpable(container, process, &["--user", "1000:1000"])
}

/// Looks at `process` with an exec process of `flags` before it is its program.
fn exec_process_is_not_dumpable(container: &Container, mut process: Value, flags: &[&str]) -> Test {
    // It takes a while to look for a program in so many directories.
    process["args"] = json!(["nowhere"]);
    process["env"] = json!([format!("PATH={}", "/etc:".repeat(2_000_000))]);
    let file = container.directory.join("process.json");
    fs::write(&file, process.to_string())?;
    let file = file.display().to_string();
    let mut exec = container.command(&["exec", "--process", &file, &container.id]);
    let mut exec = exec.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut seen = String::new();
    while seen.is_empty() && exec.try_wait()?.is_none() {
        seen = follow(container, flags)?.stdout;
    }
    exec.wait()?;
    ensure!(!seen.is_empty(), "the exec process was not seen");
    ensure!(seen.lines().all(|line| !line.contains(' ')), "{seen}");
    Ok(())
}

fn cve_2019_16884_fake_proc(container: &mut Container) -> Test {
    fs::create_dir_all(container.victim.join("self/attr"))?;
    fs::write(container.victim.join("self/attr/exec"), "")?;
    let source = container.victim.clone();
    container.mount(json!({ "destination": "/proc", "source": source, "options": ["bind"] }));
    container.create_refused(&["/proc"])
}

fn cve_2019_16884_tmpfs_on_proc(container: &mut Container) -> Test {
    for destination in ["/proc/self/attr", "/proc/self", "/proc/1"] {
        container.mount(json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" }));
        container.create_refused(&["/proc"])?;
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
    }
    Ok(())
}

/// The image leads a destination out of itself: it stays inside.
fn cve_2019_18837_linked_destination(container: &mut Container) -> Test {
    symlink(&container.victim, container.rootfs().join("way"))?;
    container.mount(json!({ "destination": "/way/out", "type": "tmpfs", "source": "tmpfs" }));
    let _ = container.run()?;
    same!(names(&container.victim)?, 0);
    let inside = container.rootfs().join(container.victim.strip_prefix("/")?);
    fs::create_dir_all(&inside)?;
    container.run_script("touch /way/out/x")?.success()?;
    same!((names(&container.victim)?, names(&inside)?), (0, 1));
    Ok(())
}

fn linked(container: &mut Container, name: &str) -> Test {
    fs::remove_dir(container.rootfs().join(name))?;
    fs::create_dir_all(container.rootfs().join("evil"))?;
    symlink("/evil", container.rootfs().join(name))?;
    container.create_refused(&["must be mounted on ordinary directory"])
}

fn cve_2019_19921_linked_proc(container: &mut Container) -> Test {
    linked(container, "proc")
}

fn cve_2019_19921_linked_sys(container: &mut Container) -> Test {
    linked(container, "sys")
}

fn cve_2021_43784_long_netlink(container: &mut Container) -> Test {
    let path = format!("/{}", "x".repeat(1 << 20));
    config::namespace(&mut container.config, "network", Some(&path));
    container.create_refused(&[])
}

fn cve_2022_0811_sysctl_value(container: &mut Container) -> Test {
    for (key, value) in [
        ("kernel.shm_rmid_forced+kernel.core_pattern", "1"),
        ("kernel.shm_rmid_forced=1+kernel.core_pattern", "1"),
        ("net/../kernel/core_pattern", "core"),
        ("net.ipv4/../../kernel/core_pattern", "core"),
        ("kernel.shm_rmid_forced", "1\nkernel.core_pattern=core"),
    ] {
        container.set("/linux/sysctl", json!({ key: value }));
        container.create_refused(&[]).with_context(|| format!("{key:?}"))?;
    }
    Ok(())
}

fn cve_2022_29162_inheritable(container: &mut Container) -> Test {
    container.start_idle()?;
    let args = ["grep", "-E", "Cap(Inh|Amb)", "/proc/self/status"];
    let none = ["CapInh:", "0000000000000000", "CapAmb:", "0000000000000000"];
    same!(container.exec(&args)?.success()?.words(), none);
    same!(container.exec_with(&["--cap", "CAP_NET_RAW"], &args)?.success()?.words(), none);
    Ok(())
}

/// What masks is not the image's to choose. The target is a name in the container's UTS namespace.
fn cve_2025_31133_linked_null(container: &mut Container) -> Test {
    config::without_dev(&mut container.config);
    symlink("/proc/sys/kernel/domainname", container.rootfs().join("dev/null"))?;
    container.set("/linux/maskedPaths", json!(["/proc/kcore"]));
    let output =
        container.run_script("stat -c %t:%T /proc/kcore; cat /proc/sys/kernel/domainname")?;
    if output.code == 0 {
        same!(output.lines(), ["1:3", "(none)"]);
    }
    Ok(())
}

/// Where the image has files in place of /proc/sys, a sysctl is set for real or not at all.
fn cve_2025_52881_fake_sysctl(container: &mut Container) -> Test {
    config::remove_mounts(&mut container.config, |path| path == "/proc");
    let directory = container.rootfs().join("proc/sys/net/ipv4");
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("ip_default_ttl"), "")?;
    fs::write(container.victim.join("file"), "")?;
    symlink(container.victim.join("file"), directory.join("ip_forward"))?;
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl")?;
    for key in ["net.ipv4.ip_default_ttl", "net.ipv4.ip_forward"] {
        container.set("/linux/sysctl", json!({ key: "77" }));
        let _ = container.run()?;
    }
    same!(fs::read_to_string(directory.join("ip_default_ttl"))?, "");
    same!(fs::read_to_string(container.victim.join("file"))?, "");
    same!(fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl")?, before);
    Ok(())
}

/// What is no number is an error, and never root.
fn cve_2026_30892_user(container: &mut Container) -> Test {
    container.start_idle()?;
    for user in ["1000x", "-1", "4294967296", "x", "1:", ":1", "1:x", " 1", "0x1", "1:1:1"] {
        let output = container.exec_with(&["--user", user], &["id", "-u"])?;
        ensure!(output.code != 0, "{user:?} became {}", output.stdout.trim());
    }
    for (user, ids) in [("1000", ["1000", "0"]), ("1", ["1", "0"]), ("1000:7", ["1000", "7"])] {
        let output = container.exec_with(&["--user", user], &["sh", "-c", "id -u; id -g"])?;
        same!(output.success()?.lines(), ids);
    }
    Ok(())
}

fn cve_2026_30892_empty_user(container: &mut Container) -> Test {
    container.start_idle()?;
    ensure!(container.exec_with(&["--user", ""], &["true"])?.code != 0, "an empty user");
    Ok(())
}

fn link_dev(container: &Container) -> Test {
    fs::remove_dir(container.rootfs().join("dev"))?;
    Ok(symlink(&container.victim, container.rootfs().join("dev"))?)
}

fn cve_2026_41579_linked_dev(container: &mut Container) -> Test {
    link_dev(container)?;
    let _ = container.run()?;
    same!(names(&container.victim)?, 0);
    Ok(())
}

fn cve_2026_41579_linked_dev_without_mount(container: &mut Container) -> Test {
    link_dev(container)?;
    config::without_dev(&mut container.config);
    let _ = container.run()?;
    same!(names(&container.victim)?, 0);
    Ok(())
}

/// Streams on the host's /dev/null are opened again in the container, where that is another file.
fn cve_2026_88265_linked_null_streams(container: &mut Container) -> Test {
    config::without_dev(&mut container.config);
    let target = container.rootfs().join("etc/target");
    fs::write(&target, "intact")?;
    symlink("/etc/target", container.rootfs().join("dev/null"))?;
    container.set("/root/readonly", json!(false));
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    container.script("echo overwritten; echo overwritten >&2");
    container.save()?;
    let _ = container.run()?;
    let mut command = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    crate::command::wait(&mut command.spawn()?)?;
    same!((fs::metadata(&target)?.uid(), fs::read_to_string(&target)?), (0, "intact".to_owned()));
    Ok(())
}

/// The same, where a program of the container has put another file in its place.
fn cve_2026_88265_null_streams_of_exec(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    for attack in ["ln -s /etc/target /dev/null", "ln /dev/target /dev/null"] {
        fs::write(container.rootfs().join("etc/target"), "intact")?;
        container.start_script(&format!(
            "rm /dev/null; echo intact > /dev/target; {attack}; touch /ready; exec sleep 100"
        ))?;
        wait_until("the attack", || Ok(container.rootfs().join("ready").exists()))?;
        let write = "echo overwritten; echo overwritten >&2";
        let mut exec =
            container.command(&["exec", "--user", "1000", &container.id, "sh", "-c", write]);
        exec.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        crate::command::wait(&mut exec.spawn()?)?;
        let root = format!("/proc/{}/root", container.pid()?);
        for name in ["etc/target", "dev/target"] {
            let target = Path::new(&root).join(name);
            let found = (fs::metadata(&target)?.uid(), fs::read_to_string(&target)?);
            same!((found.0, found.1.trim_end()), (0, "intact"));
        }
        container.delete_force()?;
        fs::remove_file(container.rootfs().join("ready"))?;
    }
    Ok(())
}

/// Read-only is not made by a path that the image controls.
fn cve_2026_115521_linked_proc_self_fd(container: &mut Container) -> Test {
    let source = container.victim.clone();
    container.mount(json!({ "destination": "/mnt", "source": source, "options": ["bind", "ro"] }));
    config::remove_mounts(&mut container.config, |path| path == "/proc");
    container.set("/linux/maskedPaths", json!([]));
    container.set("/linux/readonlyPaths", json!([]));
    fs::create_dir_all(container.rootfs().join("proc/self/fd"))?;
    for number in 3..64 {
        symlink("/etc", container.rootfs().join(format!("proc/self/fd/{number}")))?;
    }
    let output = container.run_script("touch /x && echo root; touch /mnt/x && echo bind")?;
    same!(output.stdout, "");
    same!(names(&container.victim)?, 0);
    Ok(())
}

fn host_propagation_is_untouched(container: &mut Container) -> Test {
    let id = container.id.clone();
    let mounts = || crate::leftovers::mountinfo_around(&id);
    let before = mounts()?;
    for value in ["shared", "slave", "private"] {
        container.set("/linux/rootfsPropagation", json!(value));
        let _ = container.run()?;
        same!(mounts()?, before);
    }
    Ok(())
}

/// Each name that the runtime makes in /dev leads out of the image.
fn links_in_dev(container: &mut Container) -> Test {
    config::without_dev(&mut container.config);
    for name in ["null", "zero", "tty", "fd", "stdin", "core", "ptmx", "console", "pts", "shm"] {
        symlink(container.victim.join(name), container.rootfs().join("dev").join(name))?;
    }
    container.mount(json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "tmpfs" }));
    container.mount(json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts" }));
    let _ = container.run()?;
    same!(names(&container.victim)?, 0);
    Ok(())
}

/// Mounts views of the kernel in a new user namespace: without masks, if the kernel finds such views in
/// the mount namespace already (fs/namespace.c, `mount_too_revealing`).
const MOUNT_VIEWS: &str = "unshare -mrpfn sh -c 'echo inside; \
    mount -t proc none /proc && echo procfs; mount -t sysfs none /sys && echo sysfs; \
    : >> /proc/sys/kernel/core_pattern && echo reached'";

/// What the attack has printed.
fn mount_views(container: &mut Container, flags: &[&str]) -> anyhow::Result<Vec<String>> {
    // Who maps root of a user namespace must have it (user_namespaces(7)).
    config::allow_capabilities(&mut container.config, &["CAP_SETFCAP"]);
    container.script(MOUNT_VIEWS);
    let output = container.run_with(flags)?;
    Ok(output.lines().into_iter().map(str::to_owned).collect())
}

fn another_procfs(container: &mut Container) -> Test {
    same!(mount_views(container, &[])?, ["inside"]);
    Ok(())
}

fn another_procfs_without_pivot_root(container: &mut Container) -> Test {
    same!(mount_views(container, &["--no-pivot"])?, ["inside"]);
    Ok(())
}

fn another_procfs_without_pivot_root_in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    same!(mount_views(container, &["--no-pivot"])?, ["inside"]);
    Ok(())
}

/// Whose root is not that of its mount namespace makes no user namespace (kernel/user_namespace.c).
fn another_procfs_without_a_mount_namespace(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "mount", None);
    container.config["mounts"] = json!([]);
    container.config["linux"]["maskedPaths"] = json!([]);
    container.config["linux"]["readonlyPaths"] = json!([]);
    container.set("/root/readonly", json!(false));
    same!(mount_views(container, &[])?, [""; 0]);
    Ok(())
}
