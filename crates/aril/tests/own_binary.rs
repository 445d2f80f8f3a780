//! CVE-2019-5736 where mounting is not allowed: what becomes a container process executes from a
//! sealed copy of the binary in memory.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, SealFlags, fcntl_get_seals, mknodat};

/// How long the program may take to execute itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A `create` without the right to mount, which waits for someone to write its config.
struct Waiting {
    process: Child,
    bundle: PathBuf,
}

impl Waiting {
    fn start() -> Result<Self, Box<dyn Error>> {
        let bundle = std::env::temp_dir().join(format!("aril-own-binary-{}", std::process::id()));
        fs::create_dir(&bundle)?;
        mknodat(CWD, bundle.join("config.json"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        let binary = env!("CARGO_BIN_EXE_aril");
        // Whoever is not root may not mount anyway.
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--bounding-set", "-sys_admin", binary]);
            command
        } else {
            Command::new(binary)
        };
        command.arg("--root").arg(bundle.join("state"));
        let process = command.args(["create", "own-binary", "--bundle"]).arg(&bundle).spawn()?;
        Ok(Self { process, bundle })
    }

    fn executable(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.process.id()))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.bundle);
    }
}

#[test]
fn without_mounts_it_executes_from_a_sealed_copy() -> Result<(), Box<dyn Error>> {
    let waiting = Waiting::start()?;
    let executable = waiting.executable();
    let start = Instant::now();
    while fs::read_link(&executable)? != Path::new("/memfd:aril (deleted)") {
        assert!(start.elapsed() < PATIENCE, "executes from {:?}", fs::read_link(&executable)?);
        std::thread::sleep(Duration::from_millis(1));
    }
    let seals = fcntl_get_seals(fs::File::open(&executable)?)?;
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    assert!(seals.contains(all), "{seals:?}");
    Ok(())
}
