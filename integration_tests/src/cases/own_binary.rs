//! What a container does to the runtime's binary on the host, which it can get hold of through the processes that become
//! its own (CVE-2019-5736).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::ensure;
use serde_json::json;

use super::{Test, cases};
use crate::config;
use crate::container::Container;

cases!("own_binary":
    cve_2019_5736_held_open, cve_2019_5736_exec_of_itself, cve_2019_5736_init_is_itself,
    cve_2019_5736_loads_nothing_of_the_image,
);

/// Does `attack` with a copy of the runtime's binary, which must stay as it is.
fn with_own_binary(container: &mut Container, attack: impl FnOnce(&mut Container) -> Test) -> Test {
    let copy = container.victim.join("runtime");
    // Another test's child would keep a file of ours open for writing until it executes something.
    let copied = std::process::Command::new("cp").args([&container.runtime.binary, &copy]).status();
    ensure!(copied?.success(), "cp");
    let before = fs::read(&copy)?;
    let original = std::mem::replace(&mut container.runtime.binary, copy.clone());
    let attacked = attack(container);
    container.runtime.binary = original;
    ensure!(fs::read(&copy)? == before, "the runtime's binary was overwritten");
    attacked
}

/// A program that holds the runtime's binary open writes to it once it is not running any more.
fn cve_2019_5736_held_open(container: &mut Container) -> Test {
    empower(container);
    container.script("exec sleep 100");
    with_own_binary(container, |container| {
        container.create()?.success()?;
        let attack = "exec 9< /proc/1/exe || exit 0; i=0; while [ $i -lt 40 ]; do i=$((i+1)); \
                      echo evil 2> /dev/null > /proc/self/fd/9 && break; sleep 0.05; done";
        container.exec_with(&["--detach"], &["sh", "-c", attack])?.success()?;
        container.verb("start")?.success()?;
        std::thread::sleep(std::time::Duration::from_millis(400));
        Ok(())
    })
}

/// Opens the binary of every process that it sees, and tries to change that while it has it. What is gone by then is passed
/// over: without `command` the shell would end.
const ATTACK: &str = "while :; do for process in /proc/[0-9]*; do \
                      [ $process = /proc/$$ ] && continue; \
                      command exec 9< $process/exe || continue; \
                      i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo evil > /proc/self/fd/9; \
                      done; chmod 777 /proc/self/fd/9; done; done 2> /dev/null";

/// Makes a program that is whoever executes it, and gives the container powers over processes.
fn with_itself(container: &mut Container) -> Test {
    let program = container.rootfs().join("bin/self");
    fs::write(&program, "#!/proc/self/exe\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    empower(container);
    Ok(())
}

fn empower(container: &mut Container) {
    let all = ["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE", "CAP_FOWNER", "CAP_KILL"];
    config::allow_capabilities(&mut container.config, &all);
}

/// The runtime runs as a program of the container, in reach of another one there.
fn cve_2019_5736_exec_of_itself(container: &mut Container) -> Test {
    with_itself(container)?;
    with_own_binary(container, |container| {
        container.start_script(ATTACK)?;
        for _ in 0..10 {
            let _ = container.exec(&["/bin/self"])?;
        }
        let pids = container.pids()?.len();
        ensure!(pids >= 1, "the attacker has ended");
        Ok(())
    })
}

/// The same of a container's first process, in the pid namespace of another container.
fn cve_2019_5736_init_is_itself(container: &mut Container) -> Test {
    with_itself(container)?;
    container.set("/process/args", json!(["/bin/self"]));
    container.beside(empower, |container, other| {
        let path = format!("/proc/{}/ns/pid", other.pid()?);
        config::namespace(&mut container.config, "pid", Some(&path));
        other.exec_with(&["--detach"], &["sh", "-c", ATTACK])?.success()?;
        with_own_binary(container, |container| {
            for _ in 0..5 {
                let _ = container.run()?;
                container.create()?.success()?;
                let _ = container.verb("start")?;
                container.delete_force()?;
            }
            Ok(())
        })?;
        // One more while chmod(1) runs.
        ensure!(other.pids()?.len() >= 2, "the attacker has ended");
        Ok(())
    })
}

/// A library that the image or the environment names would run with what the runtime has open: it has no loader, so that it
/// runs in an image that has none, too.
fn cve_2019_5736_loads_nothing_of_the_image(container: &mut Container) -> Test {
    let program = container.rootfs().join("bin/self");
    fs::write(&program, "#!/proc/self/exe --version\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::write(container.rootfs().join("etc/ld.so.preload"), "/evil.so\n")?;
    container.push("/process/env", json!("LD_PRELOAD=/evil.so"));
    container.set("/process/args", json!(["/bin/self"]));
    // It says so itself: the kernel puts the script's path behind what the script says.
    container.run()?.fails(1, &["unrecognized subcommand '/bin/self'"])?;
    container.start_idle()?;
    container.exec(&["/bin/self"])?.fails(1, &["unrecognized subcommand '/bin/self'"])
}
