//! Terminals: through the console socket, and in the foreground.

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::json;

use super::cgroups::ticks;
use super::{Test, cases, same};
use crate::command::{Output, wait};
use crate::config;
use crate::container::Container;
use crate::pty::{Master, Own, with_socket};

cases!("terminal":
    console_socket, console_socket_of_run, exec_console_socket, foreground, foreground_exec,
    foreground_resizes, ends_of_lines_are_the_programs, a_signal_while_nobody_reads, in_the_background, nobody_has_it_open, its_input_has_ended, needs_a_socket, socket_without_terminal, socket_that_is_missing,
    socket_that_is_a_file, socket_that_hangs_up, sockets_of_exec, last_words, fake_master, console_size, console_size_without_terminal, console_device,
    no_console_without_terminal, owned_by_the_user, of_a_read_only_devpts, job_control, cve_2026_88264_linked_console,
    cve_2025_52565_console_on_proc,
);

/// Creates the container with a terminal.
fn create(container: &mut Container) -> anyhow::Result<(Output, Option<Master>)> {
    container.set("/process/terminal", json!(true));
    with_socket(container, |path| container.create_with(&["--console-socket", path]))
}

/// Creates the container with a terminal and starts `script` in it. The terminal's master.
fn start(container: &mut Container, script: &str) -> anyhow::Result<Master> {
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
    master.read_until("/dev/pts/0")?;
    master.write(b"hello\n")?;
    let text = master.read_until("end")?;
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
    master.context("no master")?.read_until("/dev/pts/0")?;
    Ok(())
}

fn exec_console_socket(container: &mut Container) -> Test {
    container.start_idle()?;
    let (output, master) = with_socket(container, |path| {
        container.exec_with(&["-t", "-d", "--console-socket", path], &["sh", "-c", "tty; sleep 1"])
    })?;
    output.success()?;
    master.context("no master")?.read_until("/dev/pts/0")?;
    Ok(())
}

fn foreground(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("tty; stty size; read line; echo got $line; exit 6");
    container.save()?;
    let arguments = ["run", "--bundle", &container.bundle(), &container.id];
    let code = Own::new(33, 77)?.converse(container, &arguments, |own, _| {
        let text = own.master.read_until("33 77")?;
        ensure!(text.contains("/dev/pts/0"), "{text:?}");
        own.master.write(b"hello\r")?;
        own.master.read_until("got hello").map(drop)
    })?;
    same!(code, 6);
    container.nothing_left()
}

fn foreground_exec(container: &mut Container) -> Test {
    container.start_idle()?;
    let script = "tty; stty size; read line; echo got $line; exit 7";
    let arguments = ["exec", "--tty", &container.id, "sh", "-c", script];
    let code = Own::new(31, 71)?.converse(container, &arguments, |own, _| {
        let text = own.master.read_until("31 71")?;
        ensure!(text.contains("/dev/pts/"), "{text:?}");
        own.master.write(b"hello\r")?;
        own.master.read_until("got hello").map(drop)
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
    command.stdin(own.stream()?).stdout(File::create(container.file("kept"))?);
    same!(command.stderr(Stdio::null()).status()?.code(), Some(0));
    same!(fs::read_to_string(container.file("kept"))?, "one\ntwo\n");
    let code = Own::new(33, 77)?.converse(container, &arguments, |own, _| {
        let text = own.master.read_until("two\r\n")?;
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
        let mut master = own.master.file().try_clone()?;
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
    // For two seconds at most, and it goes on in the background.
    let stops = "n=0; until grep -q '^State:.T' /proc/$!/status || [ $((n += 1)) = 40 ]; do sleep 0.05; done";
    shell.arg(format!("set -m; \"$0\" \"$@\" & {stops}; jobs; stty -a; echo fg; fg; echo code $?"));
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
    shell.stdin(own.stream()?).stdout(own.stream()?).stderr(own.stream()?);
    let mut child = shell.spawn()?;
    let talked = own.master.read_until("baud").and_then(|text| {
        ensure!(text.contains("Stopped"), "it goes on in the background: {text:?}");
        let text = own.master.read_until("fg")?;
        ensure!(!text.contains("-icanon"), "the terminal of the shell is changed: {text:?}");
        std::thread::sleep(Duration::from_millis(500));
        own.master.write(b"hello\r")?;
        own.master.read_until("got hello")?;
        own.master.read_until("code 7").map(drop)
    });
    if talked.is_err() {
        let _ = child.kill();
    }
    let code = wait(&mut child);
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
        own.master.read_until("again").map(drop)
    })?;
    same!(code, 0);
    Ok(())
}

/// Nor does an input that has ended.
fn its_input_has_ended(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("sleep 1");
    container.save()?;
    let mut run = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    run.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut runtime = run.spawn()?;
    drop(runtime.stdin.take());
    std::thread::sleep(Duration::from_millis(900));
    let used = ticks(runtime.id().into())?;
    same!(wait(&mut runtime)?, 0);
    ensure!(used < 20, "{used} hundredths of a second of a CPU used");
    Ok(())
}

fn foreground_resizes(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("echo ready; while :; do stty size; sleep 0.05; done");
    container.save()?;
    let arguments = ["run", "--bundle", &container.bundle(), &container.id];
    let code = Own::new(33, 77)?.converse(container, &arguments, |own, pid| {
        own.master.read_until("33 77")?;
        own.resize(44, 88)?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
        // The terminal is not the runtime's controlling one here, so the kernel does not tell it.
        rustix::process::kill_process(pid, rustix::process::Signal::WINCH)?;
        own.master.read_until("44 88")?;
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

/// Whatever is wrong with the socket, there is no process, and no pid file.
fn sockets_of_exec(container: &mut Container) -> Test {
    container.start_idle()?;
    let pid_file = container.file("pid");
    let exec = |path: &str| {
        let flags = ["--tty", "--detach", "--pid-file", &pid_file, "--console-socket", path];
        container.exec_with(&flags, &["sleep", "50"])
    };
    exec("/no/such.sock")?.fails(255, &["console socket /no/such.sock", "no such file"])?;
    let file = container.file("file");
    fs::write(&file, "")?;
    exec(&file)?.fails(255, &["console socket", "connection refused"])?;
    let path = std::env::temp_dir().join(format!("console-{}-of-exec", std::process::id()));
    let listener = UnixListener::bind(&path)?;
    let shown = path.display().to_string();
    let accepting = std::thread::spawn(move || drop(listener.accept()));
    let output = exec(&shown);
    ensure!(accepting.join().is_ok(), "accept");
    let output = output?;
    // Nobody listens any more.
    let deaf = exec(&shown);
    fs::remove_file(&path)?;
    output.fails(255, &["console socket"])?;
    deaf?.fails(255, &["console socket", "connection refused"])?;
    same!(container.pids()?.len(), 1);
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
            own.master.read_until("2200").map(drop)
        })?;
        same!(code, 0);
    }
    Ok(())
}

/// An image has a file in place of the pty master, or that of another devpts; a mount one of the host's terminals.
fn fake_master(container: &mut Container) -> Test {
    let words = &["/dev/pts/ptmx is not a pty master of a devpts"];
    let devpts = |at: &str| json!({ "destination": at, "type": "devpts", "source": "devpts" });
    let own = Own::new(33, 77)?;
    let slave = rustix::pty::ptsname(own.master.file(), Vec::new())?.into_string()?;
    config::remove_mounts(&mut container.config, |path| path.starts_with("/dev"));
    container.mount(devpts("/dev/pts"));
    container
        .mount(json!({ "destination": "/dev/pts/ptmx", "source": slave, "options": ["bind"] }));
    let (output, _) = create(container)?;
    container.refused(&output, words)?;

    config::remove_mounts(&mut container.config, |path| path.starts_with("/dev"));
    let image = container.rootfs().join("dev/pts");
    fs::write(image.join("ptmx"), "")?;
    let (output, _) = create(container)?;
    container.refused(&output, words)?;

    fs::remove_file(image.join("ptmx"))?;
    mknodat(
        CWD,
        image.join("ptmx"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        makedev(5, 2),
    )?;
    container.mount(devpts("/dev/pts/pts"));
    let (output, _) = create(container)?;
    container.refused(&output, words)
}

fn console_size(container: &mut Container) -> Test {
    container.set("/process/consoleSize", json!({ "height": 21, "width": 63 }));
    let mut master = start(container, "stty size; sleep 1")?;
    same!(master.size()?, (21, 63));
    master.read_until("21 63")?;
    Ok(())
}

fn console_size_without_terminal(container: &mut Container) -> Test {
    container.set("/process/consoleSize", json!({ "height": 21, "width": 63 }));
    let script = "for number in 0 1 2; do test -t $number && echo a terminal; done; echo end";
    same!(container.run_script(script)?.success()?.lines(), ["end"]);
    Ok(())
}

fn console_device(container: &mut Container) -> Test {
    let script = "stat -c '%t %F' /dev/console; echo through > /dev/console; \
                  grep ' /dev/console ' /proc/self/mountinfo; echo end";
    let text = start(container, script)?.read_until("end")?;
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
    let text = start(container, script)?.read_until("end")?;
    ensure!(text.contains("owner 1000 mode 620"), "{text}");
    Ok(())
}

/// There the owner cannot change, and whoever has it open can use it all the same.
fn of_a_read_only_devpts(container: &mut Container) -> Test {
    config::add_mount_options(&mut container.config, "/dev/pts", &["ro"]);
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    start(container, "tty -s && echo it is one")?.read_until("it is one")?;
    Ok(())
}

/// The terminal is the program's controlling one: what is typed becomes a signal.
fn job_control(container: &mut Container) -> Test {
    let script = "trap 'echo interrupted' INT; echo ready; while :; do sleep 0.02; done";
    let mut master = start(container, script)?;
    master.read_until("ready")?;
    master.write(&[3])?;
    master.read_until("interrupted")?;
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
