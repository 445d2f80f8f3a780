//! libseccomp, in a program beside the test: the test's own binary is static and links nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::interpreter::Instruction;

pub(crate) struct Oracle {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    /// Compiles and starts it.
    pub(crate) fn start(name: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verdicts/oracle.c");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oracle-{name}"));
        let compiled =
            Command::new("cc").arg("-o").arg(&program).arg(source).arg("-lseccomp").output();
        let compiled = compiled.expect("a C compiler: apt-get install gcc");
        let errors = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "apt-get install libseccomp-dev libc6-dev: {errors}");
        let mut child =
            Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    pub(crate) fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'), "the oracle ended at {line}");
        answer.trim_end().to_owned()
    }

    pub(crate) fn number(&mut self, architecture: &str, name: &str) -> i64 {
        self.ask(&format!("resolve {architecture} {name}")).parse().unwrap()
    }

    /// The program for what was said since `init`.
    pub(crate) fn export(&mut self, little_endian: bool) -> Vec<Instruction> {
        let text = self.ask("export");
        let digits = text.as_bytes().as_chunks::<2>().0;
        let bytes: Vec<u8> = digits
            .iter()
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect(&text))
            .collect();
        let instructions = bytes.as_chunks::<8>().0.iter();
        let decode = |[a, b, jt, jf, k @ ..]: &[u8; 8]| match little_endian {
            true => (u16::from_le_bytes([*a, *b]), *jt, *jf, u32::from_le_bytes(*k)),
            false => (u16::from_be_bytes([*a, *b]), *jt, *jf, u32::from_be_bytes(*k)),
        };
        instructions.map(decode).collect()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
