//! The numbers of system calls on the architectures that the `syscalls` crate does not have, as
//! `hack/record-syscalls` has them from the kernel's headers.

use crate::names::{Name, hash};

/// A line for each name, with its number on each [`Column`], or `-`; the last line ends, too.
static LINES: &str = include_str!("numbers.txt");

/// What the numbers of a line are of, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// arch/s390 in 32-bit mode.
    S390,
    /// arch/mips with the n32 ABI, of either byte order.
    Mips64n32,
    /// 32-bit arch/parisc.
    Parisc,
    /// 64-bit arch/parisc.
    Parisc64,
    /// arch/m68k.
    M68k,
    /// arch/sh, of either byte order.
    Sh,
}

/// A power of two, more than twice the lines.
const SLOTS: usize = 1024;
/// A slot that is not in use.
const VACANT: u16 = u16::MAX;

/// Where each line begins, in the first vacant slot from its name's hash on.
static SLOTS_OF_LINES: [u16; SLOTS] = {
    let mut slots = [VACANT; SLOTS];
    let text = LINES.as_bytes();
    let mut line = 0;
    while line < text.len() {
        let mut end = line;
        while text[end] != b' ' {
            end += 1;
        }
        let name = text.split_at(end).0.split_at(line).1;
        let mut slot = hash(name) as usize % SLOTS;
        while slots[slot] != VACANT {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = line as u16;
        while text[end] != b'\n' {
            end += 1;
        }
        line = end + 1;
    }
    slots
};

/// The number of `name` there.
pub(crate) fn number(name: Name<'_>, column: Column) -> Option<u32> {
    let mut slot = name.hash() as usize % SLOTS;
    while SLOTS_OF_LINES[slot] != VACANT {
        let line = LINES.get(usize::from(SLOTS_OF_LINES[slot])..)?.lines().next()?;
        let mut fields = line.split(' ');
        if fields.next() == Some(name.text) {
            return fields.nth(column as usize)?.parse().ok();
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Column, LINES, number};
    use crate::names::Name;

    #[test]
    fn every_number_is_found() {
        use Column::{M68k, Mips64n32, Parisc, Parisc64, S390, Sh};
        let columns = [S390, Mips64n32, Parisc, Parisc64, M68k, Sh];
        for line in LINES.lines() {
            let (name, fields) = line.split_once(' ').unwrap();
            let fields: Vec<_> = fields.split(' ').map(|field| field.parse().ok()).collect();
            assert_eq!(columns.map(|column| number(Name::new(name), column)), fields[..], "{name}");
        }
        assert!((400..512).contains(&LINES.lines().count()));
        assert_eq!(number(Name::new("no_such_call"), S390), None);
        assert_eq!(number(Name::new(""), S390), None);
    }
}
