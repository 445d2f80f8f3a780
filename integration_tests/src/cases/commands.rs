//! The commands and what they print.

use std::fs;

use anyhow::ensure;
use serde_json::Value;

use super::{cases, same};
use crate::harness::Container;

type Test = anyhow::Result<()>;

cases!("commands":
    version, help, features, spec, spec_twice, state, list, ps_json, ps_table, pid_file,
    run_detached, run_keep, kill_by_name_and_number, unknown_signal, unknown_id, delete_force_unknown,
    equals_sign_in_flags, relative_bundle, wrong_flag, root_slash_is_refused,
);

fn version(container: &mut Container) -> Test {
    let output = container.runtime(&["--version"])?.success()?;
    ensure!(output.lines()[0].contains("version"), "{output:?}");
    ensure!(output.lines().iter().any(|line| line.starts_with("spec: 1.")), "{output:?}");
    ensure!(output.stdout.contains("commit: "), "{output:?}");
    Ok(())
}

fn help(container: &mut Container) -> Test {
    let output = container.runtime(&["--help"])?.success()?;
    for command in ["create", "start", "state", "kill", "delete", "exec", "features"] {
        ensure!(output.stdout.contains(command), "no {command}");
    }
    Ok(())
}

fn features(container: &mut Container) -> Test {
    let output = container.runtime(&["features"])?.success()?;
    same!(output.stderr, "");
    let document = output.json()?;
    let has = |pointer: &str, word: &str| {
        document
            .pointer(pointer)
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(|one| one == word))
    };
    ensure!(has("/mountOptions", "rro") && has("/linux/namespaces", "user"), "{document}");
    ensure!(has("/linux/capabilities", "CAP_SYS_ADMIN") && has("/hooks", "poststop"), "{document}");
    Ok(())
}

fn spec(container: &mut Container) -> Test {
    let bundle = container.bundle();
    container.runtime(&["spec", "--bundle", &bundle])?.success()?;
    let text = fs::read_to_string(container.directory.join("config.json"))?;
    let config: Value = serde_json::from_str(&text)?;
    same!(config["process"]["args"][0], "sh");
    ensure!(text.contains("\n\t\""), "not indented with tabs");
    Ok(())
}

fn spec_twice(container: &mut Container) -> Test {
    container.save()?;
    let output = container.runtime(&["spec", "--bundle", &container.bundle()])?;
    ensure!(output.code == 1 && output.stderr.contains("exists"), "{output:?}");
    Ok(())
}

fn state(container: &mut Container) -> Test {
    container.create()?.success()?;
    let state = container.state()?;
    same!(state["status"], "created");
    same!(state["id"], container.id.as_str());
    same!(state["bundle"], container.bundle());
    same!(state["rootfs"], container.rootfs().display().to_string());
    same!(state["annotations"]["org.example.key"], "value");
    same!(state["owner"], "root");
    ensure!(state["pid"].as_i64().is_some_and(|pid| pid > 1), "{state}");
    same!(state["ociVersion"], "1.0.2");
    Ok(())
}

fn list(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let table = container.runtime(&["list"])?.success()?;
    let head: Vec<&str> = table.lines()[0].split_whitespace().collect();
    same!(head, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let row: Vec<&str> = table.lines()[1].split_whitespace().collect();
    same!(row[0], container.id);
    same!(row[2], "running");
    let json = container.runtime(&["list", "--format", "json"])?.success()?.json()?;
    same!(json[0]["id"], container.id.as_str());
    same!(container.runtime(&["list", "-q"])?.lines(), [container.id.as_str()]);
    Ok(())
}

fn ps_json(container: &mut Container) -> Test {
    container.start_script("sleep 100 & sleep 100")?;
    std::thread::sleep(std::time::Duration::from_millis(50));
    let pids = container.runtime(&["ps", "--format", "json", &container.id])?.success()?.json()?;
    ensure!(pids.as_array().is_some_and(|pids| pids.len() >= 2), "{pids}");
    ensure!(
        pids.as_array()
            .is_some_and(|pids| pids.iter().any(|pid| pid.as_i64() == container.pid().ok())),
        "{pids}"
    );
    Ok(())
}

fn ps_table(container: &mut Container) -> Test {
    container.start_script("sleep 12345")?;
    let output = container.verb("ps")?.success()?;
    ensure!(
        output.lines()[0].contains("PID") && output.stdout.contains("sleep 12345"),
        "{output:?}"
    );
    same!(output.lines().len(), 2);
    Ok(())
}

fn pid_file(container: &mut Container) -> Test {
    let file = container.directory.join("pid");
    container.save()?;
    container
        .runtime(&[
            "create",
            "--bundle",
            &container.bundle(),
            "--pid-file",
            &file.display().to_string(),
            &container.id,
        ])?
        .success()?;
    same!(fs::read_to_string(file)?, container.pid()?.to_string());
    Ok(())
}

fn run_detached(container: &mut Container) -> Test {
    container.script("sleep 100");
    container.save()?;
    container
        .runtime(&["run", "--detach", "--bundle", &container.bundle(), &container.id])?
        .success()?;
    same!(container.state()?["status"], "running");
    Ok(())
}

fn run_keep(container: &mut Container) -> Test {
    container.script("exit 3");
    container.save()?;
    let output =
        container.runtime(&["run", "--keep", "--bundle", &container.bundle(), &container.id])?;
    same!(output.code, 3);
    same!(container.state()?["status"], "stopped");
    container.verb("delete")?.success()?;
    container.nothing_left()
}

fn kill_by_name_and_number(container: &mut Container) -> Test {
    container.start_script(
        "trap 'echo got > /dev/shm/got' USR1; trap 'exit 5' TERM; while :; do sleep 0.02; done",
    )?;
    std::thread::sleep(std::time::Duration::from_millis(100));
    for signal in ["USR1", "SIGUSR1", "10"] {
        container.runtime(&["kill", &container.id, signal])?.success()?;
        std::thread::sleep(std::time::Duration::from_millis(100));
        container.exec(&["rm", "/dev/shm/got"])?.success()?;
    }
    container.verb("kill")?.success()?;
    container.wait_for("stopped")
}

fn unknown_signal(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let output = container.runtime(&["kill", &container.id, "FOO"])?;
    ensure!(output.code == 1 && output.stderr.contains("unknown signal"), "{output:?}");
    ensure!(output.stderr.contains("FOO"), "{output:?}");
    Ok(())
}

fn unknown_id(container: &mut Container) -> Test {
    for verb in ["state", "start", "kill", "delete", "pause", "resume", "ps"] {
        let output = container.verb(verb)?;
        ensure!(output.code == 1 && output.stderr.contains("does not exist"), "{verb}: {output:?}");
    }
    Ok(())
}

fn delete_force_unknown(container: &mut Container) -> Test {
    container.runtime(&["delete", "--force", &container.id])?.success()?;
    Ok(())
}

fn equals_sign_in_flags(container: &mut Container) -> Test {
    container.save()?;
    let bundle = format!("--bundle={}", container.bundle());
    container.runtime(&["--log-format=json", "create", &bundle, &container.id])?.success()?;
    container.runtime(&["delete", "--force", &container.id])?.success()?;
    Ok(())
}

fn relative_bundle(container: &mut Container) -> Test {
    container.save()?;
    let mut command = container.command(&["create", &container.id]);
    command.current_dir(&container.directory);
    container.finish_command(command)?.success()?;
    same!(container.state()?["bundle"], container.bundle());
    Ok(())
}

fn wrong_flag(container: &mut Container) -> Test {
    let output = container.runtime(&["create", "--no-such-flag", &container.id])?;
    same!(output.code, 1);
    Ok(())
}

fn root_slash_is_refused(container: &mut Container) -> Test {
    let mut command = std::process::Command::new(container.command(&[]).get_program());
    command.args(["--root", "/", "list"]);
    same!(container.finish_command(command)?.code, 1);
    Ok(())
}
