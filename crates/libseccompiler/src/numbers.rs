//! The numbers of system calls on the architectures that the `syscalls` crate does not have, as
//! `hack/record-syscalls` has them from the kernel's headers.

use crate::names::{Name, SLOTS, Table, VACANT, insert};

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

/// Where each line begins.
static BEGINNINGS: Table = {
    let mut slots = [VACANT; SLOTS];
    let text = LINES.as_bytes();
    let mut line = 0;
    while line < text.len() {
        let mut end = line;
        while text[end] != b' ' {
            end += 1;
        }
        insert(&mut slots, text.split_at(end).0.split_at(line).1, line as u16);
        while text[end] != b'\n' {
            end += 1;
        }
        line = end + 1;
    }
    Table { slots, name: |line| fields(line.into())?.next() }
};

/// The name, and what follows it, of the line that begins there.
fn fields(line: usize) -> Option<impl Iterator<Item = &'static str>> {
    Some(LINES.get(line..)?.lines().next()?.split(' '))
}

/// The number of `name` there.
pub(crate) fn number(name: Name<'_>, column: Column) -> Option<u32> {
    let line = usize::try_from(BEGINNINGS.number(name)?).ok()?;
    fields(line)?.nth(1 + column as usize)?.parse().ok()
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
