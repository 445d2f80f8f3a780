//! `exec`.

use anyhow::bail;
use libcontainer::{Context, request};

use crate::arguments::Exec;

/// Runs the process. Its exit code.
pub(crate) fn run(context: &Context, exec: Exec) -> anyhow::Result<u8> {
    let mut words = exec.id_and_args.into_iter();
    let id = words.next().unwrap_or_default();
    let args: Vec<String> = words.collect();
    if exec.process.is_none() && args.is_empty() {
        bail!("exec needs a program, or --process with a file that has one");
    }
    let request = request::Exec {
        id,
        process: exec.process,
        args,
        cwd: exec.cwd,
        env: exec.env,
        tty: exec.tty,
        user: exec.user,
        additional_gids: exec.additional_gids,
        capabilities: exec.cap,
        no_new_privileges: exec.no_new_privs,
        apparmor: exec.apparmor,
        process_label: exec.process_label,
        cgroups: exec.cgroup,
        ignore_paused: exec.ignore_paused,
        console: request::Console { detach: exec.detach, socket: exec.console_socket },
        pid_file: super::given(exec.pid_file),
        pidfd_socket: exec.pidfd_socket,
        preserve_fds: exec.preserve_fds,
        listen_fds: super::listening(),
    };
    Ok(libcontainer::exec(context, &request)?)
}
