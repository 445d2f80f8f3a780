//! AppArmor: a profile of the machine confines the program (`process.apparmorProfile`). Most need a machine where it is
//! on: `hack/test --vm apparmor::`.

use anyhow::Context as _;
use serde_json::json;

use super::{Test, cases, labels};
use crate::apparmor::{Profile, is_on};
use crate::container::Container;
use crate::skip::Skip;

cases!("apparmor":
    init_and_exec, in_every_kind, in_a_pod, without_a_mount_namespace, with_a_terminal, another_profile_for_exec,
    process_file_of_exec, unconfined, start_container_hooks, hooks_of_the_host, is_not_loaded,
    exec_with_one_that_is_not_loaded, where_it_is_off, cve_2019_16884_mounts_on_proc, cve_2023_28642_linked_proc,
    cve_2025_52881_replaced_procfs, cve_2025_52881_redirected_writes,
);

const POINTER: &str = "/process/apparmorProfile";
const UNKNOWN: &str = "no-such-profile";

/// Gives the program a profile.
fn confine(container: &mut Container) -> anyhow::Result<Profile> {
    let profile = another(container, "")?;
    container.set(POINTER, json!(profile.name));
    labels::prepare(container);
    Ok(profile)
}

fn another(container: &Container, suffix: &str) -> anyhow::Result<Profile> {
    Profile::load(&format!("{}{suffix}", container.id), "deny /**/denied w,")
}

/// First that the attempt fails for the profile alone.
fn init_and_exec(container: &mut Container) -> Test {
    let profile = confine(container)?;
    container.remove(POINTER);
    labels::allowed(container.run_script(labels::ATTEMPT)?, "unconfined")?;
    container.delete_force()?;
    container.set(POINTER, json!(profile.name));
    labels::both(container, &profile.current())
}

fn in_every_kind(container: &mut Container) -> Test {
    let profile = confine(container)?;
    labels::in_every_kind(container, &profile.current())
}

fn in_a_pod(container: &mut Container) -> Test {
    let profile = confine(container)?;
    labels::in_a_pod(container, &profile.current())
}

fn without_a_mount_namespace(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    labels::without_a_mount_namespace(container)
}

fn with_a_terminal(container: &mut Container) -> Test {
    let profile = confine(container)?;
    labels::with_a_terminal(container, &profile.current())
}

fn another_profile_for_exec(container: &mut Container) -> Test {
    let profile = confine(container)?;
    let other = another(container, "-other")?;
    container.start_idle()?;
    let (flags, attempt) = (["--apparmor", &other.name], ["sh", "-c", labels::ATTEMPT]);
    labels::denied(container.exec_with(&flags, &attempt)?, &other.current())?;
    labels::denied(container.exec(&attempt)?, &profile.current())
}

/// A process of `--process` has the container's profile, unless it names one.
fn process_file_of_exec(container: &mut Container) -> Test {
    let profile = confine(container)?;
    let other = another(container, "-other")?;
    container.start_idle()?;
    let cases = [(None, &profile), (Some(""), &profile), (Some(&*other.name), &other)];
    for (named, expected) in cases {
        let output = labels::exec_of_file(container, "apparmorProfile", named)?;
        labels::denied(output, &expected.current()).with_context(|| format!("{named:?}"))?;
    }
    Ok(())
}

fn unconfined(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    container.start_idle()?;
    let (flags, attempt) = (["--apparmor", "unconfined"], ["sh", "-c", labels::ATTEMPT]);
    labels::allowed(container.exec_with(&flags, &attempt)?, "unconfined")?;
    container.delete_force()?;
    container.set(POINTER, json!("unconfined"));
    labels::allowed(container.run_script(labels::ATTEMPT)?, "unconfined")
}

fn start_container_hooks(container: &mut Container) -> Test {
    let profile = confine(container)?;
    labels::start_container_hooks(container, &profile.current())
}

fn hooks_of_the_host(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    labels::hooks_of_the_host(container)
}

fn is_not_loaded(container: &mut Container) -> Test {
    need()?;
    labels::is_unknown(container, POINTER, UNKNOWN)?;
    container.create_refused(&["apparmor failed to apply profile", "apparmor_parser -r"])
}

fn exec_with_one_that_is_not_loaded(container: &mut Container) -> Test {
    need()?;
    labels::exec_is_refused(container, "--apparmor", UNKNOWN)
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
    container.set(POINTER, json!("docker-default"));
    container.create_refused(&[POINTER, "AppArmor is not enabled"])?;
    container.set(POINTER, json!("unconfined"));
    container.run_script("true")?.success()?;
    Ok(())
}

fn cve_2019_16884_mounts_on_proc(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    labels::mounts_on_proc(container)
}

fn cve_2023_28642_linked_proc(container: &mut Container) -> Test {
    let _profile = confine(container)?;
    labels::linked_proc(container)
}

fn cve_2025_52881_replaced_procfs(container: &mut Container) -> Test {
    let profile = confine(container)?;
    labels::replaced_procfs(container, &["--apparmor", &profile.name])
}

fn cve_2025_52881_redirected_writes(container: &mut Container) -> Test {
    let profile = confine(container)?;
    labels::redirected_writes(container, &["--apparmor", &profile.name])
}
