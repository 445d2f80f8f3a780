//! Who the program is: limits, groups, user, capabilities.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, bail};
use caps::{CapSet, Capability, CapsHashSet};
use libchannel::{Call, Encoded};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Rlimit, Uid, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::failure::from_nix;
use super::root::Root;
use crate::error::Property;
use crate::plan::{Capabilities, Confinement, Listener, MemoryPolicy, Process};
use crate::protocol::{Event, InitEnd};

/// What the user namespace's owner may need but a program without it must not have while waiting.
const SYS_ADMIN: u64 = 1 << 21;

/// Lets nobody in the container look into this process and its copies until they are the program
/// (CVE-2016-9962), but who has `CAP_SYS_PTRACE` over them. execve(2) makes a process dumpable
/// again, and where `fs.suid_dumpable` says so a change of ids (proc_sys_fs(5)).
pub(crate) fn become_non_dumpable() -> anyhow::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("become non-dumpable: prctl")
}

/// Everything of the identity that does not need to come after the seccomp filter.
///
/// Capabilities are kept across the change of user (`PR_SET_KEEPCAPS`) and cut to the permitted
/// set; without no_new_privs `CAP_SYS_ADMIN` stays for the filter, until [`complete`].
pub(crate) fn take_on(
    process: &Process,
    confinement: &Confinement,
    root: &Root,
) -> anyhow::Result<()> {
    if let Some(MemoryPolicy { mode, nodes }) = confinement.memory_policy {
        libsyscall::memory_policy::set(mode, nodes.words()).with_context(|| {
            let text = format!("linux.memoryPolicy of memory nodes {nodes:?}: set_mempolicy");
            Property::new("/linux/memoryPolicy", text)
        })?;
    }
    if let Some(domain) = confinement.personality {
        let persona = nix::sys::personality::Persona::from_bits_retain(domain as _);
        nix::sys::personality::set(persona)
            .map_err(from_nix)
            .context(Property::new("/linux/personality", "linux.personality: personality"))?;
    }
    for limit in &process.rlimits {
        // RLIM_INFINITY is the greatest number (prlimit(2)), and none of its own.
        let new = Rlimit { current: Some(limit.soft), maximum: Some(limit.hard) };
        setrlimit(limit.resource, new).with_context(|| {
            let text = format!(
                "process.rlimits {} soft {} hard {}: setrlimit",
                limit.name, limit.soft, limit.hard
            );
            Property::new("/process/rlimits", text)
        })?;
    }
    if let Some(scheduler) = &process.scheduler {
        libsyscall::scheduler::set(scheduler)
            .context(Property::new("/process/scheduler", "process.scheduler: sched_setattr"))?;
    }
    if let Some(priority) = process.io_priority {
        libsyscall::ioprio::set_for_process_group(priority)
            .context(Property::new("/process/ioPriority", "process.ioPriority: ioprio_set"))?;
    }
    drop_bounding(process.capabilities.bounding)?;
    caps::securebits::set_keepcaps(true).context("keep capabilities: prctl")?;
    take_groups_and_user(process, root)?;
    become_non_dumpable()?;
    caps::securebits::set_keepcaps(false).context("drop capabilities: prctl")?;
    if let Some(mask) = process.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    }
    if process.no_new_privileges {
        set_capabilities(&process.capabilities)?;
        return rustix::thread::set_no_new_privs(true)
            .context(Property::new("/process/noNewPrivileges", "process.noNewPrivileges: prctl"));
    }
    let waiting = process.capabilities.permitted | filter_capability(confinement);
    set_one(CapSet::Effective, waiting & held()?)
}

/// The rest, where somebody is notified of system calls: the filter, whose listener the runtime gives to the agent, then the
/// capabilities. It comes before [`Event::Ready`], since afterwards nobody may be there who knows the agent.
///
/// What is sent goes out by the first call after the filter: the agent can only answer for those that follow.
pub(super) fn complete_with_listener(
    process: &Process,
    confinement: &Confinement,
    channel: &InitEnd,
) -> anyhow::Result<()> {
    let Some(Listener { notifies_sendmsg, .. }) = confinement.listener else { return Ok(()) };
    let call = if notifies_sendmsg { Call::Sendmmsg } else { Call::Sendmsg };
    let message = Encoded::new(&Event::Listener)?;
    let listener = install_filter(confinement)?;
    let listener = listener.context("the filter has no listener; this is a defect of aril")?;
    channel.send_by(call, &message, listener.as_fd()).context("hand the listener over")?;
    channel.answer().context("the runtime is gone")?;
    drop(listener);
    drop_last_capabilities(process)
}

/// The rest, at the very end, unless [`complete_with_listener`] has done it: the filter, then the capabilities that
/// installing it needed. After the filter only capset(2), prctl(2) and execve(2) are called.
pub(crate) fn complete(process: &Process, confinement: &Confinement) -> anyhow::Result<()> {
    if confinement.listener.is_some() {
        return Ok(());
    }
    if install_filter(confinement)?.is_some() {
        bail!("state.json: /confinement/listener is missing: nobody would be notified");
    }
    drop_last_capabilities(process)
}

/// The listener, if the filter has one: close-on-exec.
fn install_filter(confinement: &Confinement) -> anyhow::Result<Option<OwnedFd>> {
    let Some(filter) = &confinement.seccomp else { return Ok(None) };
    libsyscall::seccomp::set_filter(&filter.program, filter.flags)
        .context(Property::new("/linux/seccomp", "linux.seccomp: install the filter: seccomp"))
}

fn drop_last_capabilities(process: &Process) -> anyhow::Result<()> {
    if process.no_new_privileges { Ok(()) } else { set_capabilities(&process.capabilities) }
}

const fn filter_capability(confinement: &Confinement) -> u64 {
    if confinement.seccomp.is_some() { SYS_ADMIN } else { 0 }
}

/// setgroups(2) comes also for an empty list: else the host's groups would stay.
fn take_groups_and_user(process: &Process, root: &Root) -> anyhow::Result<()> {
    let groups: Vec<Gid> = process.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match set_thread_groups(&groups) {
        // In a user namespace made without privilege the groups cannot be changed, and setgroups
        // is denied (user_namespaces(7)): nothing was asked for, so nothing is lost.
        Err(Errno::PERM) if groups.is_empty() && setgroups_is_denied(root) => {}
        result => result.context(Property::new(
            "/process/user/additionalGids",
            "process.user.additionalGids: setgroups",
        ))?,
    }
    let gid = Gid::from_raw(process.gid);
    set_thread_res_gid(gid, gid, gid).with_context(|| {
        Property::new("/process/user/gid", format!("process.user.gid {}: setresgid", process.gid))
    })?;
    let uid = Uid::from_raw(process.uid);
    set_thread_res_uid(uid, uid, uid).with_context(|| {
        Property::new("/process/user/uid", format!("process.user.uid {}: setresuid", process.uid))
    })
}

fn setgroups_is_denied(root: &Root) -> bool {
    let mut text = [0; 4];
    let file = root.open(c"/proc/self/setgroups", OFlags::RDONLY);
    file.and_then(|file| rustix::io::read(file, &mut text)).is_ok() && text == *b"deny"
}

/// The kernel is asked for one after the other until it has no more: it may have some that no list here has.
fn drop_bounding(keep: u64) -> anyhow::Result<()> {
    let unwanted = (0..u64::BITS).filter(|number| keep & (1 << number) == 0);
    for number in unwanted {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            // Not permitted, but not held either.
            Err(_) if !capability_is_in_bounding_set(one).unwrap_or(true) => {}
            Err(errno) => {
                let text = format!("drop {one:?} from the bounding set: prctl");
                return Err(errno).context(text);
            }
        }
    }
    Ok(())
}

/// The five sets as the config has them. Inheritable first, since ambient depends on it, and
/// permitted last, since nothing is added after it.
fn set_capabilities(capabilities: &Capabilities) -> anyhow::Result<()> {
    set_one(CapSet::Effective, capabilities.effective)?;
    set_one(CapSet::Inheritable, capabilities.inheritable)?;
    set_one(CapSet::Permitted, capabilities.permitted)?;
    caps::clear(None, CapSet::Ambient).context(Property::new(
        "/process/capabilities/ambient",
        "process.capabilities.ambient: prctl",
    ))?;
    for capability in set_of(capabilities.ambient) {
        caps::raise(None, CapSet::Ambient, capability).with_context(|| {
            let text = format!("process.capabilities.ambient {capability}: prctl");
            Property::new("/process/capabilities/ambient", text)
        })?;
    }
    Ok(())
}

fn set_one(set: CapSet, bits: u64) -> anyhow::Result<()> {
    caps::set(None, set, &set_of(bits)).with_context(|| {
        let names: Vec<_> = set_of(bits).iter().map(ToString::to_string).collect();
        let text = format!("process.capabilities {set:?} {}: capset", names.join(" "));
        Property::new("/process/capabilities", text)
    })
}

fn set_of(bits: u64) -> CapsHashSet {
    caps::all().into_iter().filter(|capability| bits & capability.bitmask() != 0).collect()
}

fn held() -> anyhow::Result<u64> {
    let permitted = caps::read(None, CapSet::Permitted).context("capget")?;
    Ok(permitted.iter().fold(0, |bits, capability: &Capability| bits | capability.bitmask()))
}
