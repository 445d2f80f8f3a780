//! Runs a filter as the kernel does (Documentation/networking/filter.rst).

/// `struct seccomp_data` (linux/seccomp.h), word by word as a program of the machine sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub number: u32,
    pub audit: u32,
    pub arguments: [u64; 6],
}

impl Call {
    fn words(&self, little_endian: bool) -> [u32; 16] {
        let mut words = [0; 16];
        (words[0], words[1]) = (self.number, self.audit);
        for (at, argument) in self.arguments.iter().enumerate() {
            let (low, high) = (*argument as u32, (*argument >> 32) as u32);
            let pair = if little_endian { [low, high] } else { [high, low] };
            words[4 + 2 * at..6 + 2 * at].copy_from_slice(&pair);
        }
        words
    }
}

/// One instruction: code, jump if true, jump if false, operand.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// The return value, and how many instructions it took.
pub(crate) fn run(program: &[Instruction], call: &Call, little_endian: bool) -> (u32, usize) {
    let words = call.words(little_endian);
    let (mut at, mut accumulator, mut steps) = (0, 0, 0);
    loop {
        let (code, jump_true, jump_false, operand) = program[at];
        at += 1;
        steps += 1;
        let holds = match code {
            0x20 => {
                accumulator = words[operand as usize / 4];
                continue;
            }
            0x54 => {
                accumulator &= operand;
                continue;
            }
            0x05 => {
                at += operand as usize;
                continue;
            }
            0x06 => return (operand, steps),
            0x15 => accumulator == operand,
            0x25 => accumulator > operand,
            0x35 => accumulator >= operand,
            0x45 => accumulator & operand != 0,
            code => panic!("instruction {code:#x}"),
        };
        at += usize::from(if holds { jump_true } else { jump_false });
    }
}
