//! Terminals: through the console socket, and in the foreground.

use std::fs::{self, File};
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};
use serde_json::json;

use super::cgroups::ticks;
use super::{Test, cases, same};
use crate::command::{Output, PATIENCE};
use crate::config;
use crate::container::Container;

cases!("terminal":
    console_socket, console_socket_of_run, exec_console_socket, foreground, foreground_exec,
    foreground_resizes, ends_of_lines_are_the_programs, a_signal_while_nobody_reads, in_the_background, nobody_has_it_open, needs_a_socket, socket_without_terminal, socket_that_is_missing,
    socket_that_is_a_file, socket_that_hangs_up, last_words, fake_master, console_size, console_size_without_terminal, console_device,
    no_console_without_terminal, owned_by_the_user, of_a_read_only_devpts, job_control, cve_2026_88264_linked_console,
    cve_2025_52565_console_on_proc,
);

/// Accepts one connection and takes the descriptor that comes with its message.
fn accept_master(listener: &UnixListener) -> anyhow::Result<(Vec<u8>, OwnedFd)> {
    ensure!(is_readable(listener)?, "nobody connects");
    let (stream, _) = listener.accept()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    let mut slices = [IoSliceMut::new(&mut name)];
    let message = recvmsg(stream.as_fd(), &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let master = descriptors.flatten().next().context("no descriptor")?;
    Ok((name[..message.bytes].to_vec(), master))
}

/// Whether there is something to read within the time of a test.
fn is_readable(file: &impl std::os::fd::AsFd) -> anyhow::Result<bool> {
    let timeout = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs())?, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&timeout))? == 1)
}

/// Reads until `word` has come.
fn read_until(master: &mut File, word: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let start = Instant::now();
    while !text.contains(word) && start.elapsed() < PATIENCE && is_readable(master)? {
        let mut buffer = [0; 1024];
        match master.read(&mut buffer) {
            // A master whose slaves are all closed gives EIO.
            Ok(0) | Err(_) => break,
            Ok(length) => text.push_str(&String::from_utf8_lossy(&buffer[..length])),
        }
    }
    ensure!(text.contains(word), "{word:?} is not in {text:?}");
    Ok(text)
}

/// Runs a command that connects to the socket at `path`: its output, and the master if it succeeds.
pub(super) fn with_socket(
    container: &Container,
    run: impl Fn(&str) -> anyhow::Result<Output>,
) -> anyhow::Result<(Output, Option<File>)> {
    // A bundle's path may be too long for a socket's.
    let path = std::env::temp_dir().join(format!("console-{}-{:p}", std::process::id(), container));
    let listener = UnixListener::bind(&path)?;
    let output = run(&path.display().to_string());
    fs::remove_file(&path)?;
    let output = output?;
    let master = (output.code == 0).then(|| accept_master(&listener)).transpose()?;
    Ok((output, master.map(|(_, master)| File::from(master))))
}

/// Creates the container with a terminal.
fn create(container: &mut Container) -> anyhow::Result<(Output, Option<File>)> {
    container.set("/process/terminal", json!(true));
    with_socket(container, |path| container.create_with(&["--console-socket", path]))
}

/// Creates the container with a terminal and starts `script` in it. The terminal's master.
fn start(container: &mut Container, script: &str) -> anyhow::Result<File> {
    container.script(script);
    let (output, master) = create(container)?;
    output.success()?;
    container.verb("start")?.success()?;
    master.context("no master")
}

fn console_socket(container: &mut Container) -> Test {
    let streams = "for n in 0 1 2; do readlink /proc/$$/fd/$n; done";
    let script = format!("tty; read line; echo got $line; {streams}; echo end");
    let mut master = start(container, &script)?;
    read_until(&mut master, "/dev/pts/0")?;
    master.write_all(b"hello\n")?;
    let text = read_until(&mut master, "end")?;
    ensure!(text.contains("got hello"), "{text}");
    same!(text.matches("/dev/pts/0").count(), 3);
    Ok(())
}

/// go-runc and conmon take the terminal's name from the message.
fn console_socket_of_run(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("tty; sleep 1");
    let (output, master) =
        with_socket(container, |path| container.run_with(&["--detach", "--console-socket", path]))?;
    output.success()?;
    read_until(&mut master.context("no master")?, "/dev/pts/0")?;
    Ok(())
}

fn exec_console_socket(container: &mut Container) -> Test {
    container.start_idle()?;
    let (output, master) = with_socket(container, |path| {
        container.exec_with(&["-t", "-d", "--console-socket", path], &["sh", "-c", "tty; sleep 1"])
    })?;
    output.success()?;
    read_until(&mut master.context("no master")?, "/dev/pts/0")?;
    Ok(())
}

/// A terminal of the test's own, for the runtime to be called from.
struct Own {
    master: File,
    slave: File,
}

impl Own {
    fn new(rows: u16, columns: u16) -> anyhow::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let own = Self { master: master.into(), slave: slave.into() };
        own.resize(rows, columns)?;
        Ok(own)
    }

    fn resize(&self, rows: u16, columns: u16) -> anyhow::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.slave, size)?)
    }

    /// Runs the runtime on the terminal while `talk` does; its exit code.
    fn converse(
        &mut self,
        container: &Container,
        arguments: &[&str],
        talk: impl FnOnce(&mut Self, u32) -> anyhow::Result<()>,
    ) -> anyhow::Result<i32> {
        let mut command = container.command(arguments);
        command.stdin(Stdio::from(self.slave.try_clone()?));
        command.stdout(Stdio::from(self.slave.try_clone()?)).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let talked = talk(self, child.id());
        if talked.is_err() {
            let _ = child.kill();
        }
        let code = crate::command::wait(&mut child)?;
        talked.map(|()| code)
    }
}

fn foreground(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("tty; stty size; read line; echo got $line; exit 6");
    container.save()?;
    let arguments = ["run", "--bundle", &container.bundle(), &container.id];
    let code = Own::new(33, 77)?.converse(container, &arguments, |own, _| {
        let text = read_until(&mut own.master, "33 77")?;
        ensure!(text.contains("/dev/pts/0"), "{text:?}");
        own.master.write_all(b"hello\r")?;
        read_until(&mut own.master, "got hello").map(drop)
    })?;
    same!(code, 6);
    container.nothing_left()
}

fn foreground_exec(container: &mut Container) -> Test {
    container.start_idle()?;
    let script = "tty; stty size; read line; echo got $line; exit 7";
    let arguments = ["exec", "--tty", &container.id, "sh", "-c", script];
    let code = Own::new(31, 71)?.converse(container, &arguments, |own, _| {
        let text = read_until(&mut own.master, "31 71")?;
        ensure!(text.contains("/dev/pts/"), "{text:?}");
        own.master.write_all(b"hello\r")?;
        read_until(&mut own.master, "got hello").map(drop)
    })?;
    same!(code, 7);
    Ok(())
}

/// Whoever keeps the output compares it; a terminal makes its own ends of lines.
fn ends_of_lines_are_the_programs(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("echo one; echo two");
    container.save()?;
    let arguments = ["run", "--bundle", &container.bundle(), &container.id];
    let own = Own::new(33, 77)?;
    let mut command = container.command(&arguments);
    command
        .stdin(Stdio::from(own.slave.try_clone()?))
        .stdout(File::create(container.file("kept"))?);
    same!(command.stderr(Stdio::null()).status()?.code(), Some(0));
    same!(fs::read_to_string(container.file("kept"))?, "one\ntwo\n");
    let code = Own::new(33, 77)?.converse(container, &arguments, |own, _| {
        let text = read_until(&mut own.master, "two\r\n")?;
        ensure!(text.contains("one\r\ntwo"), "{text:?}");
        Ok(())
    })?;
    same!(code, 0);
    Ok(())
}

/// A terminal that nobody reads takes no more at some time: what comes from elsewhere does not wait for it.
fn a_signal_while_nobody_reads(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.set("/root/readonly", json!(false));
    container.script(
        "yes & trap 'echo x >/got; kill %1; exit 9' TERM; echo x >/ready; while :; do wait; done",
    );
    container.save()?;
    let arguments = ["run", "--bundle", &container.bundle(), &container.id];
    let code = Own::new(33, 77)?.converse(container, &arguments, |own, pid| {
        container.wait_for_file("rootfs/ready")?;
        std::thread::sleep(Duration::from_millis(300));
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        container.wait_for_file("rootfs/got")?;
        // Now somebody does, to the end.
        let mut master = own.master.try_clone()?;
        std::thread::spawn(move || std::io::copy(&mut master, &mut std::io::sink()));
        Ok(())
    })?;
    same!(code, 9);
    Ok(())
}

/// A shell that has put it into the background has its terminal as it was; what is typed after `fg` is the program's.
fn in_the_background(container: &mut Container) -> Test {
    container.start_idle()?;
    let mut shell = Command::new("setsid");
    shell.args(["--ctty", "--wait", "sh", "-c"]);
    shell.arg("set -m; \"$0\" \"$@\" & sleep 0.5; jobs; stty -a; echo fg; fg; echo code $?");
    let command = container.command(&[
        "exec",
        "--tty",
        &container.id,
        "sh",
        "-c",
        "read line; echo got $line; exit 7",
    ]);
    let mut shell = crate::command::called_by(shell, &command);
    let mut own = Own::new(33, 77)?;
    shell
        .stdin(own.slave.try_clone()?)
        .stdout(own.slave.try_clone()?)
        .stderr(own.slave.try_clone()?);
    let mut child = shell.spawn()?;
    let talked = read_until(&mut own.master, "baud").and_then(|text| {
        ensure!(text.contains("Stopped"), "it goes on in the background: {text:?}");
        let text = read_until(&mut own.master, "fg")?;
        ensure!(!text.contains("-icanon"), "the terminal of the shell is changed: {text:?}");
        std::thread::sleep(Duration::from_millis(500));
        own.master.write_all(b"hello\r")?;
        read_until(&mut own.master, "got hello")?;
        read_until(&mut own.master, "code 7").map(drop)
    });
    if talked.is_err() {
        let _ = child.kill();
    }
    let code = crate::command::wait(&mut child);
    talked?;
    same!(code?, 0);
    Ok(())
}

/// A terminal that nobody has open in the container costs nothing, and can be opened again.
fn nobody_has_it_open(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("exec <&- >&- 2>&-; sleep 1; echo again >/dev/console; exec sleep 0.2");
    container.save()?;
    let arguments = ["run", "--bundle", &container.bundle(), &container.id];
    let code = Own::new(33, 77)?.converse(container, &arguments, |own, pid| {
        std::thread::sleep(Duration::from_millis(700));
        let used = ticks(pid.into())?;
        ensure!(used < 20, "{used} hundredths of a second of a CPU used");
        read_until(&mut own.master, "again").map(drop)
    })?;
    same!(code, 0);
    Ok(())
}

fn foreground_resizes(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("echo ready; while :; do stty size; sleep 0.05; done");
    container.save()?;
    let arguments = ["run", "--bundle", &container.bundle(), &container.id];
    let code = Own::new(33, 77)?.converse(container, &arguments, |own, pid| {
        read_until(&mut own.master, "33 77")?;
        own.resize(44, 88)?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
        // The terminal is not the runtime's controlling one here, so the kernel does not tell it.
        rustix::process::kill_process(pid, rustix::process::Signal::WINCH)?;
        read_until(&mut own.master, "44 88")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        Ok(())
    })?;
    same!(code, -9);
    container.delete_force()
}

fn needs_a_socket(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.create_refused(&["console"])
}

fn socket_without_terminal(container: &mut Container) -> Test {
    let (output, _) =
        with_socket(container, |path| container.create_with(&["--console-socket", path]))?;
    container.refused(&output, &["console"])
}

fn socket_that_is_missing(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    let output = container.create_with(&["--console-socket", "/no/such.sock"])?;
    container.refused(&output, &["/no/such.sock"])
}

fn socket_that_is_a_file(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    let path = container.file("file");
    fs::write(&path, "")?;
    let output = container.create_with(&["--console-socket", &path])?;
    container.refused(&output, &["connection refused"])
}

/// A create that fails at its last step takes back everything.
fn socket_that_hangs_up(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    let path = std::env::temp_dir().join(format!("console-{}-hangs-up", std::process::id()));
    let listener = UnixListener::bind(&path)?;
    let accepting = std::thread::spawn(move || drop(listener.accept()));
    let (socket, pid_file) = (path.display().to_string(), container.file("pid"));
    let output = container.create_with(&["--console-socket", &socket, "--pid-file", &pid_file]);
    fs::remove_file(&path)?;
    ensure!(accepting.join().is_ok(), "accept");
    container.refused(&output?, &[])?;
    ensure!(!fs::exists(&pid_file)?, "the pid file is left");
    Ok(())
}

/// What a program writes at its very end is shown, also if nobody reads it before it has ended:
/// more than fits into the terminals and the runtime's buffer together is not needed.
fn last_words(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.set("/process/args", json!(["seq", "1", "2200"]));
    container.save()?;
    let arguments = ["run", "--bundle", &container.bundle(), &container.id];
    for _ in 0..5 {
        let code = Own::new(33, 77)?.converse(container, &arguments, |own, _| {
            std::thread::sleep(Duration::from_millis(150));
            read_until(&mut own.master, "2200").map(drop)
        })?;
        same!(code, 0);
    }
    Ok(())
}

/// An image has a file in place of the pty master.
fn fake_master(container: &mut Container) -> Test {
    config::remove_mounts(&mut container.config, |path| path.starts_with("/dev"));
    fs::create_dir_all(container.rootfs().join("dev/pts"))?;
    fs::write(container.rootfs().join("dev/pts/ptmx"), "")?;
    let (output, _) = create(container)?;
    container.refused(&output, &[])
}

fn console_size(container: &mut Container) -> Test {
    container.set("/process/consoleSize", json!({ "height": 21, "width": 63 }));
    let mut master = start(container, "stty size; sleep 1")?;
    let size = tcgetwinsize(&master)?;
    same!((size.ws_row, size.ws_col), (21, 63));
    read_until(&mut master, "21 63")?;
    Ok(())
}

fn console_size_without_terminal(container: &mut Container) -> Test {
    container.set("/process/consoleSize", json!({ "height": 21, "width": 63 }));
    container.run()?.success()?;
    Ok(())
}

fn console_device(container: &mut Container) -> Test {
    let script = "stat -c '%t %F' /dev/console; echo through > /dev/console; \
                  grep ' /dev/console ' /proc/self/mountinfo; echo end";
    let text = read_until(&mut start(container, script)?, "end")?;
    ensure!(text.contains("88 character special file") && text.contains("through"), "{text}");
    ensure!(text.contains(" - devpts "), "{text}");
    Ok(())
}

fn no_console_without_terminal(container: &mut Container) -> Test {
    same!(container.run_script("ls /dev/console")?.code, 1);
    Ok(())
}

fn owned_by_the_user(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let script = "stat -c 'owner %u mode %a' /dev/pts/0; echo x > /dev/tty && echo end";
    let text = read_until(&mut start(container, script)?, "end")?;
    ensure!(text.contains("owner 1000 mode 620"), "{text}");
    Ok(())
}

/// There the owner cannot change, and whoever has it open can use it all the same.
fn of_a_read_only_devpts(container: &mut Container) -> Test {
    config::add_mount_options(&mut container.config, "/dev/pts", &["ro"]);
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    read_until(&mut start(container, "tty -s && echo it is one")?, "it is one")?;
    Ok(())
}

/// The terminal is the program's controlling one: what is typed becomes a signal.
fn job_control(container: &mut Container) -> Test {
    let script = "trap 'echo interrupted' INT; echo ready; while :; do sleep 0.02; done";
    let mut master = start(container, script)?;
    read_until(&mut master, "ready")?;
    master.write_all(&[3])?;
    read_until(&mut master, "interrupted")?;
    Ok(())
}

/// Without mounts on /dev but devpts, and with /dev/console leading to `target`.
fn link_console(container: &mut Container, target: &str) -> Test {
    config::remove_mounts(&mut container.config, |path| {
        ["/dev", "/dev/shm", "/dev/mqueue"].contains(&path)
    });
    fs::create_dir_all(container.rootfs().join("dev/pts"))?;
    Ok(std::os::unix::fs::symlink(target, container.rootfs().join("dev/console"))?)
}

fn cve_2026_88264_linked_console(container: &mut Container) -> Test {
    link_console(container, &format!("/../../../..{}/new", container.victim.display()))?;
    let (_, master) = create(container)?;
    drop(master);
    same!(fs::read_dir(&container.victim)?.count(), 0);
    Ok(())
}

fn cve_2025_52565_console_on_proc(container: &mut Container) -> Test {
    link_console(container, "/proc/uptime")?;
    let (output, _master) = create(container)?;
    if output.code == 0 {
        let text = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid()?))?;
        let is_console = |line: &&str| line.contains("/proc/uptime");
        same!(text.lines().find(is_console), None);
    }
    Ok(())
}
