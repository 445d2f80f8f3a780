//! Hooks: kinds, order, state, environment, failures.

use std::fs;

use anyhow::ensure;
use serde_json::{Value, json};

use super::{cases, same};
use crate::harness::Container;

type Test = anyhow::Result<()>;

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

cases!("hooks":
    order, state_on_standard_input, environment_exact, timeout_kills, failures_before_start,
    failure_at_start, failing_poststart, failing_poststop_only_warns, poststop_after_failed_create,
    arguments,
);

/// A shell as a hook; startContainer hooks have the container's.
fn shell(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] })
}

fn order(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    let log = container.rootfs().join("log").display().to_string();
    for kind in KINDS {
        let log = if kind == "startContainer" { "/log" } else { log.as_str() };
        let hooks =
            [1, 2].map(|number| shell(&format!("cat > /dev/null; echo {kind}{number} >> {log}")));
        container.set(&format!("/hooks/{kind}"), json!(hooks));
    }
    container.script("echo program >> /log");
    container.create()?.success()?;
    let read = || {
        fs::read_to_string(&log)
            .map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let created = [
        "prestart1",
        "prestart2",
        "createRuntime1",
        "createRuntime2",
        "createContainer1",
        "createContainer2",
    ];
    same!(read()?, created);
    container.verb("start")?.success()?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    let all = read()?;
    same!(all[6..8], ["startContainer1", "startContainer2"]);
    ensure!(
        all[8..11].contains(&"program".to_owned()) && all[8..11].contains(&"poststart2".to_owned()),
        "{all:?}"
    );
    same!(all[11..], ["poststop1", "poststop2"]);
    Ok(())
}

fn state_on_standard_input(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    let rootfs = container.rootfs().display().to_string();
    for kind in KINDS {
        let place = if kind == "startContainer" { "" } else { rootfs.as_str() };
        container
            .set(&format!("/hooks/{kind}"), json!([shell(&format!("cat > {place}/{kind}.json"))]));
    }
    container.create()?.success()?;
    let pid = container.pid()?;
    container.verb("start")?.success()?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    for (kind, status) in
        KINDS.iter().zip(["creating", "creating", "creating", "created", "running", "stopped"])
    {
        let text = fs::read_to_string(container.rootfs().join(format!("{kind}.json")))?;
        let state: Value = serde_json::from_str(&text)?;
        same!(state["id"], container.id.as_str());
        same!(state["status"], status);
        same!(state["bundle"], container.bundle());
        same!(state["ociVersion"], "1.0.2");
        same!(state["annotations"]["org.example.key"], "value");
        if *kind != "poststop" {
            same!(state["pid"], pid);
        }
    }
    Ok(())
}

fn environment_exact(container: &mut Container) -> Test {
    let log = container.directory.join("env").display().to_string();
    for (env, expected) in [(json!(["B=2", "A=1", "A=3"]), "B=2\0A=1\0A=3\0"), (json!([]), "")] {
        let args = ["cp", "/proc/self/environ", log.as_str()];
        let hook = json!({ "path": "/bin/cp", "args": args, "env": env });
        container.set("/hooks/createRuntime", json!([hook]));
        container.run_script("true")?.success()?;
        same!(fs::read_to_string(&log)?, expected);
    }
    Ok(())
}

fn timeout_kills(container: &mut Container) -> Test {
    let mut hook = shell("exec sleep 15");
    hook["timeout"] = json!(1);
    container.set("/hooks/createRuntime", json!([hook]));
    let before = std::time::Instant::now();
    container.create_refused(&["hook"])?;
    ensure!(before.elapsed().as_secs() < 10, "not killed");
    Ok(())
}

fn failures_before_start(container: &mut Container) -> Test {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        container.set("/hooks", json!({ kind: [shell("echo because >&2; exit 3")] }));
        container.create_refused(&["exit status 3", "because"])?;
    }
    Ok(())
}

fn failure_at_start(container: &mut Container) -> Test {
    let log = container.directory.join("stopped").display().to_string();
    container.set(
        "/hooks",
        json!({
            "startContainer": [shell("exit 3")], "poststop": [shell(&format!("touch {log}"))]
        }),
    );
    container.create()?.success()?;
    let output = container.verb("start")?;
    ensure!(output.code == 1 && output.stderr.contains("exit status 3"), "{output:?}");
    container.nothing_left()?;
    ensure!(fs::exists(&log)?, "poststop did not run");
    Ok(())
}

fn failing_poststart(container: &mut Container) -> Test {
    container.set("/hooks/poststart", json!([shell("exit 3")]));
    container.script("sleep 100");
    container.create()?.success()?;
    let output = container.verb("start")?;
    ensure!(output.code == 1 && output.stderr.contains("exit status 3"), "{output:?}");
    container.nothing_left()
}

fn failing_poststop_only_warns(container: &mut Container) -> Test {
    let log = container.directory.join("second").display().to_string();
    container.set("/hooks/poststop", json!([shell("exit 3"), shell(&format!("touch {log}"))]));
    container.start_script("sleep 100")?;
    container.runtime(&["delete", "--force", &container.id])?.success()?;
    container.nothing_left()?;
    ensure!(fs::exists(&log)?, "the second hook did not run");
    Ok(())
}

fn poststop_after_failed_create(container: &mut Container) -> Test {
    let log = container.directory.join("stopped").display().to_string();
    container.set(
        "/hooks",
        json!({
            "createContainer": [shell("exit 3")], "poststop": [shell(&format!("touch {log}"))]
        }),
    );
    container.create_refused(&["exit status 3"])?;
    ensure!(fs::exists(&log)?, "poststop did not run");
    Ok(())
}

fn arguments(container: &mut Container) -> Test {
    let log = container.directory.join("args").display().to_string();
    let hook = json!({ "path": "/bin/sh", "args": ["name", "-c", format!("echo $0 $1 > {log}"), "zero", "one"] });
    container.set("/hooks/createRuntime", json!([hook]));
    container.run_script("true")?.success()?;
    same!(fs::read_to_string(&log)?, "zero one\n");
    Ok(())
}
