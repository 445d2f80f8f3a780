//! One container of one test: its bundle, its state directory, and the checks that it is gone.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

/// How long one command may take; a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a test cannot run here.
#[derive(Debug)]
pub(crate) struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Skip {}

/// The runtime under test.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    binary: PathBuf,
    busybox: PathBuf,
}

impl Runtime {
    /// `$RUNTIME`, a path or a name.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let binary = std::env::var_os("RUNTIME").context("set RUNTIME to the runtime's binary")?;
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(PathBuf::from);
        let busybox = busybox.into_iter().find(|path| path.exists());
        Ok(Self {
            binary: binary.into(),
            busybox: busybox.context("install busybox-static: rootfs are made of it")?,
        })
    }
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Exit code 0, or an error that shows everything.
    pub(crate) fn success(self) -> anyhow::Result<Self> {
        ensure!(
            self.code == 0,
            "exit code {}: {} {}",
            self.code,
            self.stdout.trim(),
            self.stderr.trim()
        );
        Ok(self)
    }

    /// The lines of standard output.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().map(str::trim_end).collect()
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{:?}", self.stdout))
    }
}

/// A bundle, an id, and a state directory of its own.
#[derive(Debug)]
pub(crate) struct Container {
    runtime: Runtime,
    pub id: String,
    pub directory: PathBuf,
    /// What config.json will be.
    pub config: Value,
    /// Removed with the container, outside of the bundle.
    pub victim: PathBuf,
}

impl Container {
    /// Makes a bundle with busybox and the default config without a terminal.
    pub(crate) fn new(runtime: &Runtime, name: &str) -> anyhow::Result<Self> {
        let id = format!("t{}-{}", std::process::id(), name.replace("::", "-"));
        let directory = std::env::temp_dir().join(format!("aril-tests-{id}"));
        let victim = std::env::temp_dir().join(format!("aril-victim-{id}"));
        let container =
            Self { runtime: runtime.clone(), id, directory, config: default_config(), victim };
        fs::create_dir_all(&container.victim)?;
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "home"] {
            fs::create_dir_all(container.rootfs().join(name))?;
        }
        fs::write(
            container.rootfs().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n1000:x:0:0::/:/bin/sh\n",
        )?;
        container.install_busybox()?;
        Ok(container)
    }

    fn install_busybox(&self) -> anyhow::Result<()> {
        let bin = self.rootfs().join("bin");
        fs::copy(&self.runtime.busybox, bin.join("busybox"))?;
        let list = Command::new(&self.runtime.busybox).arg("--list").output()?;
        for applet in String::from_utf8_lossy(&list.stdout).lines() {
            if applet != "busybox" {
                std::os::unix::fs::symlink("busybox", bin.join(applet))?;
            }
        }
        Ok(())
    }

    /// The root filesystem's directory.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// Where the runtime keeps its state.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Sets what is at `pointer`; the object it is in exists.
    pub(crate) fn set(&mut self, pointer: &str, value: Value) {
        let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        if let Some(parent) = self.config.pointer_mut(parent) {
            parent[key] = value;
        }
    }

    /// Adds to the list at `pointer`.
    pub(crate) fn push(&mut self, pointer: &str, value: Value) {
        if let Some(Value::Array(list)) = self.config.pointer_mut(pointer) {
            list.push(value);
        }
    }

    /// Removes the namespace `kind`, or gives it a path.
    pub(crate) fn namespace(&mut self, kind: &str, path: Option<&str>) {
        if let Some(Value::Array(list)) = self.config.pointer_mut("/linux/namespaces") {
            list.retain(|one| one["type"] != kind);
            list.extend(path.map(|path| json!({ "type": kind, "path": path })));
        }
    }

    /// Sets the program to a shell script.
    pub(crate) fn script(&mut self, script: &str) {
        self.set("/process/args", json!(["/bin/sh", "-c", script]));
    }

    /// Writes config.json.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        Ok(fs::write(self.directory.join("config.json"), self.config.to_string())?)
    }

    /// Runs `script` in a new container, in the foreground.
    pub(crate) fn run_script(&mut self, script: &str) -> anyhow::Result<Output> {
        self.script(script);
        self.save()?;
        let id = self.id.clone();
        self.runtime(&["run", "--bundle", &self.bundle(), &id])
    }

    /// Creates and starts a container that runs `script`.
    pub(crate) fn start_script(&mut self, script: &str) -> anyhow::Result<()> {
        self.script(script);
        self.create()?.success()?;
        self.verb("start")?.success()?;
        Ok(())
    }

    /// Creates the container of the config as it is.
    pub(crate) fn create(&self) -> anyhow::Result<Output> {
        self.save()?;
        self.runtime(&["create", "--bundle", &self.bundle(), &self.id])
    }

    /// A command that takes the id alone.
    pub(crate) fn verb(&self, verb: &str) -> anyhow::Result<Output> {
        self.runtime(&[verb, &self.id])
    }

    /// A process in the container.
    pub(crate) fn exec(&self, args: &[&str]) -> anyhow::Result<Output> {
        let all: Vec<&str> =
            ["exec", self.id.as_str()].into_iter().chain(args.iter().copied()).collect();
        self.runtime(&all)
    }

    /// The bundle's path as an argument.
    pub(crate) fn bundle(&self) -> String {
        self.directory.display().to_string()
    }

    /// The runtime with its state directory and `args`.
    pub(crate) fn runtime(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.finish_command(self.command(args))
    }

    /// The same, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime.binary);
        command.arg("--root").arg(self.root()).args(args);
        command
    }

    /// Runs a command to its end; output goes to files, since a container may outlive it.
    pub(crate) fn finish_command(&self, mut command: Command) -> anyhow::Result<Output> {
        let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let path = |name: &str| self.directory.join(format!("{name}.{unique}"));
        let (out, err) = (path("stdout"), path("stderr"));
        command
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out)?)
            .stderr(fs::File::create(&err)?);
        let mut child = command.process_group(0).spawn().context("start the runtime")?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                bail!("hangs: {command:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let code = status.code().unwrap_or(-1);
        let text =
            |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Ok(Output { code, stdout: text(&out), stderr: text(&err) })
    }

    /// The state document.
    pub(crate) fn state(&self) -> anyhow::Result<Value> {
        self.verb("state")?.success()?.json()
    }

    /// The pid of the container's first process.
    pub(crate) fn pid(&self) -> anyhow::Result<i64> {
        self.state()?["pid"].as_i64().context("no pid")
    }

    /// Waits until the container is in `status`.
    pub(crate) fn wait_for(&self, status: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.state()?["status"] != status {
            ensure!(Instant::now() < deadline, "never becomes {status}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Expects a command to fail with exit code 1, say each of `words`, and leave nothing.
    pub(crate) fn refused(&self, output: &Output, words: &[&str]) -> anyhow::Result<()> {
        ensure!(output.code == 1, "exit code {}: {}", output.code, output.stderr.trim());
        for word in words {
            ensure!(
                output.stderr.contains(word),
                "does not say {word:?}: {}",
                output.stderr.trim()
            );
        }
        self.nothing_left()
    }

    /// Expects `create` of the config as it is to be refused.
    pub(crate) fn create_refused(&self, words: &[&str]) -> anyhow::Result<()> {
        let output = self.create()?;
        self.refused(&output, words)
    }

    /// Nothing of the container is left: no state, no cgroup, no mount, no process.
    pub(crate) fn nothing_left(&self) -> anyhow::Result<()> {
        ensure!(!self.root().join(&self.id).exists(), "a state directory is left");
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        ensure!(!mounts.contains(&self.bundle()), "a mount is left");
        if let Some(cgroup) = find_directory(Path::new("/sys/fs/cgroup"), &self.id, 5) {
            bail!("a cgroup is left: {}", cgroup.display());
        }
        for process in fs::read_dir("/proc")?.flatten() {
            let root = fs::read_link(process.path().join("root")).unwrap_or_default();
            ensure!(
                !root.starts_with(&self.directory),
                "a process is left: {:?}",
                process.file_name()
            );
        }
        Ok(())
    }

    /// Removes the container and checks that it is gone.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        let deleted = self.runtime(&["delete", "--force", &self.id]);
        let left = deleted.and_then(|_| self.nothing_left());
        fs::remove_dir_all(&self.directory).context("remove the bundle")?;
        fs::remove_dir_all(&self.victim).context("remove the victim")?;
        left
    }
}

/// The directory `name` somewhere below `directory`.
pub(crate) fn find_directory(directory: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    let directories =
        entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for entry in directories {
        if entry.file_name() == name {
            return Some(entry.path());
        }
        if depth > 0
            && let Some(found) = find_directory(&entry.path(), name, depth - 1)
        {
            return Some(found);
        }
    }
    None
}

/// What `spec` writes, without a terminal.
fn default_config() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/true"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "box",
        "annotations": { "org.example.key": "value" },
        "hooks": {},
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }, { "type": "cgroup" }
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/nowhere"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/nowhere"]
        }
    })
}
