//! A system call that the suite, the runtime and the containers do without: a filter answers for it, as an older
//! kernel does, or a seccomp profile that does not know the call.

use std::str::FromStr;

use anyhow::{Context as _, bail};
use libsyscall::seccomp::set_filter;
use rustix::io::Errno;

/// Calls from 424 on have the same number on every architecture.
const NUMBERS: [(&str, u32); 14] = [
    ("pidfd_send_signal", 424),
    ("open_tree", 428),
    ("move_mount", 429),
    ("fsopen", 430),
    ("fsconfig", 431),
    ("fsmount", 432),
    ("fspick", 433),
    ("pidfd_open", 434),
    ("clone3", 435),
    ("close_range", 436),
    ("openat2", 437),
    ("pidfd_getfd", 438),
    ("faccessat2", 439),
    ("mount_setattr", 442),
];

/// `NAME`, which answers ENOSYS, or `NAME:EPERM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MissingCall {
    number: u32,
    answer: Errno,
}

impl FromStr for MissingCall {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, answer) = text.split_once(':').unwrap_or((text, "ENOSYS"));
        let answer = match answer {
            "ENOSYS" => Errno::NOSYS,
            "EPERM" => Errno::PERM,
            other => bail!("{other}: ENOSYS or EPERM"),
        };
        let known = NUMBERS.iter().find(|(known, _)| *known == name);
        let (_, number) = known.with_context(|| format!("{name}: one of {NUMBERS:?}"))?;
        Ok(Self { number: *number, answer })
    }
}

impl MissingCall {
    /// Answers for it from now on, in this thread and in what comes from it.
    pub(crate) fn install(self) -> anyhow::Result<()> {
        set_filter(&self.program(), 0).context("a seccomp filter").map(drop)
    }

    /// `struct sock_filter`s: the call's number is loaded, compared and answered (seccomp(2)).
    fn program(self) -> Vec<u8> {
        const LOAD: u16 = 0x20;
        const JUMP_IF_EQUAL: u16 = 0x15;
        const RETURN: u16 = 0x06;
        const ALLOW: u32 = 0x7fff_0000;
        const FAIL_WITH: u32 = 0x0005_0000;
        let answer = FAIL_WITH | self.answer.raw_os_error().unsigned_abs();
        let instructions = [
            (LOAD, [0, 0], 0),
            (JUMP_IF_EQUAL, [0, 1], self.number),
            (RETURN, [0, 0], answer),
            (RETURN, [0, 0], ALLOW),
        ];
        let bytes = |(code, jumps, value): (u16, [u8; 2], u32)| {
            [&code.to_ne_bytes()[..], &jumps, &value.to_ne_bytes()].concat()
        };
        instructions.into_iter().flat_map(bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::MissingCall;

    #[test]
    fn a_call_and_its_answer() {
        let expected = |answer| MissingCall { number: 442, answer };
        assert_eq!("mount_setattr".parse::<MissingCall>().unwrap(), expected(Errno::NOSYS));
        assert_eq!("mount_setattr:EPERM".parse::<MissingCall>().unwrap(), expected(Errno::PERM));
        for wrong in ["mount", "", "mount_setattr:EIO", "mount_setattr:"] {
            assert!(wrong.parse::<MissingCall>().is_err(), "{wrong}");
        }
        assert_eq!(expected(Errno::NOSYS).program().len(), 4 * 8);
    }
}
