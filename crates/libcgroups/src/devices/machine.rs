//! A machine for device programs, from the instruction set alone (kernel documentation,
//! bpf/standardization/instruction-set.rst): the instructions that are used, and no others.

/// The highest register.
const LAST_REGISTER: usize = 10;

/// One instruction, taken apart.
struct Instruction {
    code: u8,
    destination: usize,
    source: usize,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    fn of(word: u64) -> Self {
        let [code, registers, rest @ ..] = word.to_ne_bytes();
        let (low, high) = (usize::from(registers & 15), usize::from(registers >> 4));
        let little = cfg!(target_endian = "little");
        Self {
            code,
            destination: if little { low } else { high },
            source: if little { high } else { low },
            offset: i16::from_ne_bytes([rest[0], rest[1]]),
            immediate: i32::from_ne_bytes([rest[2], rest[3], rest[4], rest[5]]),
        }
    }

    /// The immediate is signed, and as wide as the registers.
    fn wide(&self) -> u64 {
        i64::from(self.immediate) as u64
    }
}

/// What a register holds.
#[derive(Clone, Copy)]
enum Value {
    Nothing,
    Context,
    Number(u64),
}

/// Runs `program` on the three words of a `struct bpf_cgroup_dev_ctx`: what is in R0 at its end.
///
/// # Errors
/// What the kernel would refuse: an unknown instruction, a field that is not used and not zero, a
/// jump backwards, a way out without `exit`, a read of what is not there.
pub(super) fn run(program: &[u64], context: [u32; 3]) -> Result<u64, String> {
    let mut registers = [Value::Nothing; LAST_REGISTER + 1];
    registers[1] = Value::Context;
    let mut at = 0;
    loop {
        let word = program.get(at).ok_or_else(|| format!("no instruction {at}"))?;
        let one = Instruction::of(*word);
        at += 1;
        if one.destination >= LAST_REGISTER || one.source > LAST_REGISTER {
            return Err(format!("a register that cannot be used at {}", at - 1));
        }
        let number = |register: usize| match registers[register] {
            Value::Number(number) => Ok(number),
            _ => Err(format!("R{register} is no number at {}", at - 1)),
        };
        // Class and size, or class, source and operation.
        let result = match (one.code, one.source, one.offset, one.immediate) {
            (0x61, from, offset, 0) => load(registers[from], context, offset)?,
            (0xbf, from, 0, 0) => number(from)?,
            (0xb7, 0, 0, _) => one.wide(),
            (0x57, 0, 0, _) => number(one.destination)? & one.wide(),
            (0x77, 0, 0, 0..64) => number(one.destination)? >> one.immediate,
            (0x15 | 0x55 | 0x56, 0, 0.., _) => {
                let (left, right) = (number(one.destination)?, one.wide());
                let is_jump = match one.code {
                    0x15 => left == right,
                    0x55 => left != right,
                    _ => left as u32 != right as u32,
                };
                at += if is_jump { one.offset as usize } else { 0 };
                continue;
            }
            (0x95, 0, 0, 0) if one.destination == 0 => return number(0),
            _ => return Err(format!("instruction {word:#x} at {}", at - 1)),
        };
        registers[one.destination] = Value::Number(result);
    }
}

/// A word of the context.
fn load(from: Value, context: [u32; 3], offset: i16) -> Result<u64, String> {
    let at = usize::try_from(offset).ok().filter(|offset| offset % 4 == 0);
    match (from, at.and_then(|offset| context.get(offset / 4))) {
        (Value::Context, Some(word)) => Ok((*word).into()),
        _ => Err(format!("a load from offset {offset} of what is no context")),
    }
}

#[cfg(test)]
mod tests {
    use super::run;

    /// The words of `(code, registers, offset, immediate)`, on a machine of this byte order.
    fn refusal(program: &[(u8, u8, i16, i32)]) -> String {
        let words = program.iter().map(|(code, registers, offset, immediate)| {
            let [first, second] = offset.to_ne_bytes();
            let [a, b, c, d] = immediate.to_ne_bytes();
            u64::from_ne_bytes([*code, *registers, first, second, a, b, c, d])
        });
        run(&words.collect::<Vec<_>>(), [0; 3]).unwrap_err()
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        assert_eq!(refusal(&[(0xb7, 0, 0, 1)]), "no instruction 1");
        assert_eq!(refusal(&[(0x95, 0, 0, 0)]), "R0 is no number at 0");
        assert!(refusal(&[(0x05, 0, -1, 0)]).starts_with("instruction"));
        assert!(refusal(&[(0xb7, 0, 0, 1), (0x15, 0, -2, 1)]).starts_with("instruction"));
        assert!(refusal(&[(0xb7, 0, 1, 1)]).starts_with("instruction"));
        assert!(refusal(&[(0x61, 0x10, 12, 0)]).starts_with("a load from offset 12"));
    }
}
