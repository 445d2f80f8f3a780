//! A C program beside the test, asked in lines: the test's own binary is static, links nothing, and has no `unsafe`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) struct Helper {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    /// Compiles and starts the program `source` of this directory, as `program`.
    pub(crate) fn start(source: &str, program: &str, libraries: &[&str]) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verdicts").join(source);
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(program);
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-Wall", "-o"]).arg(&program).arg(source).args(libraries);
        let compiled = compiler.output().expect("a C compiler: apt-get install gcc");
        let errors = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "apt-get install libseccomp-dev libc6-dev: {errors}");
        let mut child =
            Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    /// The answer to one line.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'), "the helper ended at {line}");
        answer.trim_end().to_owned()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
