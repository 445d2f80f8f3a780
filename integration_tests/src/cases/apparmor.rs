//! AppArmor: a profile of the machine confines the program (`process.apparmorProfile`). Most need a machine where it is
//! on: `hack/test --vm apparmor::`.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::hooks::shell;
use super::{Test, cases, same};
use crate::apparmor::{Profile, is_on};
use crate::command::{Output, wait_until};
use crate::config;
use crate::container::Container;
use crate::skip::Skip;

cases!("apparmor":
    init_and_exec, in_a_user_namespace, in_a_pod, without_pivot_root, without_a_mount_namespace,
    without_no_new_privileges, with_a_filter, with_a_terminal, another_profile_for_exec, process_file_of_exec,
    unconfined, start_container_hooks, hooks_of_the_host, is_not_loaded, exec_with_one_that_is_not_loaded,
    where_it_is_off, cve_2019_16884_mounts_on_proc, cve_2023_28642_linked_proc,
    cve_2025_52881_replaced_procfs, cve_2025_52881_redirected_writes,
);

/// What a program does that a profile of these tests denies, and what it may do.
const ATTEMPT: &str = "cat /proc/self/attr/current; echo x 2> /dev/null > /tmp/denied && echo written; \
                       echo x > /tmp/allowed && echo allowed";

/// Gives the program a profile that denies [`ATTEMPT`], and a /tmp for it.
fn confine(container: &mut Container) -> anyhow::Result<Profile> {
    let profile = another(container, "")?;
    container.set("/process/apparmorProfile", json!(profile.name));
    let options = ["mode=1777"];
    container.mount(
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options }),
    );
    Ok(profile)
}

fn another(container: &Container, suffix: &str) -> anyhow::Result<Profile> {
    Profile::load(&format!("{}{suffix}", container.id), "deny /**/denied w,")
}

/// [`ATTEMPT`] was made in `profile`, and denied.
fn denied(output: Output, profile: &Profile) -> Test {
    let label = format!("{} (enforce)", profile.name);
    same!(output.success()?.lines(), [label.as_str(), "allowed"]);
    Ok(())
}

/// Init and a process of exec are confined.
fn both(container: &mut Container, profile: &Profile) -> Test {
    denied(container.run_script(ATTEMPT)?, profile)?;
    container.delete_force()?;
    container.start_idle()?;
    denied(container.exec(&["sh", "-c", ATTEMPT])?, profile)
}

/// First that the attempt fails for the profile alone.
fn init_and_exec(container: &mut Container) -> Test {
    let profile = confine(container)?;
    container.remove("/process/apparmorProfile");
    same!(container.run_script(ATTEMPT)?.success()?.lines(), ["unconfined", "written", "allowed"]);
    container.delete_force()?;
    container.set("/process/apparmorProfile", json!(profile.name));
    both(container, &profile)
}

fn in_a_user_namespace(container: &mut Container) -> Test {
    let profile = confine(container)?;
    config::add_user_namespace(&mut container.config);
    both(container, &profile)
}

/// Who joins a pid namespace is made by another process.
fn in_a_pod(container: &mut Container) -> Test {
    let profile = confine(container)?;
    container.beside(
        |_| (),
        |container, other| {
            let path = format!("/proc/{}/ns/pid", other.pid()?);
            config::namespace(&mut container.config, "pid", Some(&path));
            both(container, &profile)?;
            container.delete_force()
        },
    )
}

fn without_pivot_root(container: &mut Container) -> Test {
    let profile = confine(container)?;
    container.script(ATTEMPT);
    denied(container.run_with(&["--no-pivot"])?, &profile)
}

fn without_a_mount_namespace(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    config::namespace(&mut container.config, "mount", None);
    config::remove_mounts(&mut container.config, |_| true);
    for pointer in ["/linux/maskedPaths", "/linux/readonlyPaths", "/root/readonly"] {
        container.remove(pointer);
    }
    // There is no procfs to read the label from.
    container
        .script("echo x 2> /dev/null > /tmp/denied && echo written; echo allowed > /tmp/allowed");
    same!(container.run()?.success()?.stdout, "");
    ensure!(container.rootfs().join("tmp/allowed").exists(), "nothing is allowed");
    Ok(())
}

fn without_no_new_privileges(container: &mut Container) -> Test {
    let profile = confine(container)?;
    container.set("/process/noNewPrivileges", json!(false));
    both(container, &profile)
}

fn with_a_filter(container: &mut Container) -> Test {
    let profile = confine(container)?;
    container.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["mount"], "action": "SCMP_ACT_ERRNO" }] }),
    );
    for no_new_privileges in [true, false] {
        container.set("/process/noNewPrivileges", json!(no_new_privileges));
        both(container, &profile)?;
        container.delete_force()?;
    }
    Ok(())
}

fn with_a_terminal(container: &mut Container) -> Test {
    let profile = confine(container)?;
    container.start_idle()?;
    let script = format!("{{ {ATTEMPT}; }} > /tmp/output; echo done > /tmp/ready");
    let (output, _master) = super::terminal::with_socket(container, |path| {
        let flags = ["--tty", "--detach", "--console-socket", path];
        container.exec_with(&flags, &["sh", "-c", &script])
    })?;
    output.success()?;
    wait_until("the attempt was made", || Ok(!seen(container, "tmp/ready")?.is_empty()))?;
    denied(container.exec(&["cat", "/tmp/output"])?, &profile)
}

/// What a file of the running container holds, as the host sees it; nothing where there is none.
fn seen(container: &Container, path: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{}/root/{path}", container.pid()?);
    Ok(fs::read_to_string(path).unwrap_or_default())
}

fn another_profile_for_exec(container: &mut Container) -> Test {
    let profile = confine(container)?;
    let other = another(container, "-other")?;
    container.start_idle()?;
    let flags = ["--apparmor", &other.name];
    denied(container.exec_with(&flags, &["sh", "-c", ATTEMPT])?, &other)?;
    denied(container.exec(&["sh", "-c", ATTEMPT])?, &profile)
}

/// A process of `--process` has the container's profile, unless it names one.
fn process_file_of_exec(container: &mut Container) -> Test {
    let profile = confine(container)?;
    let other = another(container, "-other")?;
    container.start_idle()?;
    for (named, expected) in [(None, &profile), (Some(""), &profile), (Some(&*other.name), &other)]
    {
        let mut process = container.config["process"].clone();
        process["args"] = json!(["sh", "-c", ATTEMPT]);
        process["apparmorProfile"] = json!(named);
        fs::write(container.directory.join("process.json"), process.to_string())?;
        let file = container.file("process.json");
        let output = container.runtime(&["exec", "--process", &file, &container.id])?;
        denied(output, expected).with_context(|| format!("{named:?}"))?;
    }
    Ok(())
}

fn unconfined(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    let lines = ["unconfined", "written", "allowed"];
    container.start_idle()?;
    let flags = ["--apparmor", "unconfined"];
    let output = container.exec_with(&flags, &["sh", "-c", ATTEMPT])?;
    same!(output.success()?.lines(), lines);
    container.delete_force()?;
    container.set("/process/apparmorProfile", json!("unconfined"));
    same!(container.run_script(ATTEMPT)?.success()?.lines(), lines);
    Ok(())
}

/// Their programs are the image's.
fn start_container_hooks(container: &mut Container) -> Test {
    let profile = confine(container)?;
    let hook = shell(&format!("{{ {ATTEMPT}; }} > /tmp/output"));
    container.set("/hooks", json!({ "startContainer": [hook] }));
    denied(container.run_script("cat /tmp/output")?, &profile)
}

/// Those of the host are not for the container's profile to confine.
fn hooks_of_the_host(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let file = container.file(kind);
        container.set(
            &format!("/hooks/{kind}"),
            json!([shell(&format!("cat /proc/self/attr/current > {file}"))]),
        );
    }
    container.run()?.success()?;
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let label = fs::read_to_string(container.file(kind))?;
        same!((kind, label.trim()), (kind, "unconfined"));
    }
    Ok(())
}

fn is_not_loaded(container: &mut Container) -> Test {
    need()?;
    let name = "no-such-profile";
    container.set("/process/apparmorProfile", json!(name));
    container.create_refused(&["apparmor failed to apply profile", name, "apparmor_parser -r"])?;
    let record = container.create()?.log;
    ensure!(record.contains("/process/apparmorProfile"), "{record}");
    let output = container.run()?;
    container.refused(&output, &[name])
}

fn exec_with_one_that_is_not_loaded(container: &mut Container) -> Test {
    need()?;
    container.start_idle()?;
    let output = container.exec_with(&["--apparmor", "no-such-profile"], &["true"])?;
    ensure!(output.code != 0, "{output:?}");
    ensure!(output.message().contains("no-such-profile"), "{output:?}");
    same!(container.pids()?.len(), 1);
    Ok(())
}

fn need() -> Test {
    if is_on() { Ok(()) } else { Err(Skip("no AppArmor here: hack/test --vm".to_owned()).into()) }
}

/// A profile is refused; that nothing confines is as it was asked for.
fn where_it_is_off(container: &mut Container) -> Test {
    if is_on() {
        return Err(Skip("AppArmor is on".to_owned()).into());
    }
    container.start_idle()?;
    let output = container.exec_with(&["--apparmor", "docker-default"], &["true"])?;
    output.fails(255, &["/apparmorProfile", "docker-default", "AppArmor is not enabled"])?;
    container.exec_with(&["--apparmor", "unconfined"], &["true"])?.success()?;
    container.delete_force()?;
    container.set("/process/apparmorProfile", json!("docker-default"));
    container.create_refused(&["/process/apparmorProfile", "AppArmor is not enabled"])?;
    container.set("/process/apparmorProfile", json!("unconfined"));
    container.script("true");
    container.run()?.success()?;
    Ok(())
}

/// The container is refused, or confined all the same.
fn never_unconfined(container: &mut Container) -> Test {
    container.script("echo x > /tmp/denied && echo written; echo alive");
    let output = container.run()?;
    ensure!(!output.stdout.contains("written"), "not confined: {output:?}");
    ensure!(output.code != 0 || output.stdout.contains("alive"), "{output:?}");
    container.delete_force()
}

/// A procfs that the config makes another.
fn cve_2019_16884_mounts_on_proc(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    let fake = fake_procfs(&container.victim)?;
    for (destination, source) in [
        ("/proc", fake.clone()),
        ("/proc/self", format!("{fake}/self")),
        ("/proc/self/attr", format!("{fake}/self/attr")),
        ("/proc/thread-self/attr/apparmor/exec", format!("{fake}/self/attr/exec")),
        ("/proc/1/attr/exec", format!("{fake}/self/attr/exec")),
    ] {
        container
            .mount(json!({ "destination": destination, "source": source, "options": ["bind"] }));
        never_unconfined(container).with_context(|| destination.to_owned())?;
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
    }
    Ok(())
}

/// A directory with the files by which a process sets its label.
fn fake_procfs(directory: &std::path::Path) -> anyhow::Result<String> {
    for process in ["self", "thread-self"] {
        fs::create_dir_all(directory.join(process).join("attr/apparmor"))?;
        for file in ["attr/exec", "attr/apparmor/exec"] {
            fs::write(directory.join(process).join(file), "")?;
        }
    }
    Ok(directory.display().to_string())
}

/// The image has a link, or files of its own, in the place of /proc.
fn cve_2023_28642_linked_proc(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    let proc = container.rootfs().join("proc");
    fs::remove_dir(&proc)?;
    symlink("/evil", &proc)?;
    fake_procfs(&container.rootfs().join("evil"))?;
    never_unconfined(container)?;
    fs::remove_file(&proc)?;
    fake_procfs(&proc)?;
    never_unconfined(container)?;
    config::remove_mounts(&mut container.config, |path| path == "/proc");
    for pointer in ["/linux/maskedPaths", "/linux/readonlyPaths"] {
        container.remove(pointer);
    }
    never_unconfined(container)
}

/// Runs a container that changes its own /proc by `script`, and sees whether a process of exec is confined.
fn exec_after(container: &mut Container, script: &str) -> Test {
    let capabilities = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"];
    config::allow_capabilities(&mut container.config, &capabilities);
    container.start_script(&format!("{script} && echo x > /tmp/ready; exec sleep 100"))?;
    wait_until("/proc is another", || Ok(!seen(container, "tmp/ready")?.is_empty()))?;
    for flags in [&[][..], &["--apparmor", &container.id]] {
        let attempt = "echo x > /tmp/denied && echo written; echo alive";
        let output = container.exec_with(flags, &["sh", "-c", attempt])?;
        ensure!(!output.stdout.contains("written"), "not confined: {output:?}");
        ensure!(output.code != 0 || output.stdout.contains("alive"), "{output:?}");
    }
    same!(seen(container, "tmp/written")?, "");
    container.delete_force()
}

/// The container has put files of its own in the place of those by which a process sets its label.
fn cve_2025_52881_replaced_procfs(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    container.remove("/linux/maskedPaths");
    container.remove("/linux/readonlyPaths");
    let make = "mkdir -p /tmp/p/self/attr/apparmor && for file in exec apparmor/exec; do \
                ln -s /tmp/written /tmp/p/self/attr/$file; done; : > /tmp/written; \
                ln -s self /tmp/p/thread-self";
    exec_after(container, &format!("{make}; mount --bind /tmp/p /proc"))?;
    exec_after(container, "umount /proc || mount -t tmpfs none /proc")
}

/// The container leads writes to other files of procfs, which take what is written and do nothing.
fn cve_2025_52881_redirected_writes(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    let more = |value: Value| json!({ "destination": "/proc/self/attr/exec", "source": value });
    container.mount(more(json!("/proc/self/sched")));
    never_unconfined(container)?;
    container.config["mounts"].as_array_mut().and_then(Vec::pop);
    let script = "while :; do for file in exec current apparmor/exec; do for process in /proc/[0-9]*; do \
                  mount --bind /proc/self/sched $process/attr/$file; done; done; done 2> /dev/null &";
    exec_after(container, &format!("{{ {script} }}"))
}
