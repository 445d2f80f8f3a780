//! Which devices a container may use: `linux.resources.devices`.

use anyhow::ensure;
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::container::Container;

cases!("device_access":
    allowed_and_denied_again, of_the_default_set, without_access, not_the_machines_console,
);

/// A program that may make device nodes, and open what the cgroup lets it.
fn with_device_rights(container: &mut Container, rules: &[Value]) {
    let capabilities = ["CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_SYSLOG"];
    crate::config::allow_capabilities(&mut container.config, &capabilities);
    for rule in rules {
        container.push("/linux/resources/devices", rule.clone());
    }
}

/// Makes /dev/kmsg and tells what can be done with it.
const KMSG: &str = "mknod /dev/log c 1 11 && echo made; \
                    dd if=/dev/log of=/dev/null bs=8192 count=1 2> /dev/null && echo read; \
                    true 2> /dev/null > /dev/log && echo open for writing";

fn kmsg(access: &str) -> Value {
    json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": access })
}

/// A row of `effects::`.
pub(super) fn denied(container: &mut Container) -> Test {
    with_device_rights(container, &[]);
    let output = container.run_script(KMSG)?;
    ensure!(!output.stdout.contains("read") && !output.stdout.contains("open"), "{output:?}");
    Ok(())
}

/// A row of `effects::`.
pub(super) fn allowed(container: &mut Container) -> Test {
    with_device_rights(container, &[kmsg("rm")]);
    same!(container.run_script(KMSG)?.lines(), ["made", "read"]);
    Ok(())
}

/// What every container may use, though the list of the config denies all.
fn of_the_default_set(container: &mut Container) -> Test {
    with_device_rights(container, &[]);
    let script = "head -c 1 /dev/zero > /dev/null && head -c 1 /dev/urandom > /dev/null && \
                  mknod /dev/unused c 99 99 && echo all";
    same!(container.run_script(script)?.success()?.words(), ["all"]);
    Ok(())
}

/// /dev/console of a container is a terminal of its own devpts.
fn not_the_machines_console(container: &mut Container) -> Test {
    with_device_rights(container, &[]);
    let output = container.run_script("mknod /dev/machine c 5 1 && true < /dev/machine")?;
    ensure!(output.stderr.contains("Operation not permitted"), "{output:?}");
    Ok(())
}

/// Nothing is allowed by saying nothing.
fn without_access(container: &mut Container) -> Test {
    for rule in [json!({ "allow": true }), json!({ "allow": true, "access": "" })] {
        container.set("/linux/resources/devices", json!([rule]));
        container.create_refused(&["/linux/resources/devices/0/access"])?;
    }
    Ok(())
}

/// Each by the rule that it has: v1 knows a rule by its very numbers only.
fn allowed_and_denied_again(container: &mut Container) -> Test {
    let denied = json!({ "allow": false, "type": "c", "access": "r" });
    with_device_rights(container, &[kmsg("rwm"), denied]);
    same!(container.run_script(KMSG)?.lines(), ["made", "open for writing"]);
    Ok(())
}
