//! Properties of a unit: what limits are for systemd, and what annotations ask for. Pure.

use libviolation::{Class, Violation};

use crate::Limits;
use crate::limits::{Hierarchy, Write};

/// What the key of an annotation that is a property begins with.
const ANNOTATION: &str = "org.systemd.property.";
/// Microseconds in a second.
const MICROSECONDS: u64 = 1_000_000;
/// systemd's unit of `CPUQuotaPerSecUSec`, in microseconds: it is written in hundredths.
const QUOTA_STEP: u64 = 10_000;
/// The kernel's period where `cpu.max` has none, in microseconds (cgroups v2, "CPU Interface Files").
const DEFAULT_PERIOD: u64 = 100_000;

/// A property of a unit, as systemd's D-Bus interface has it (org.freedesktop.systemd1(5)).
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    pub(crate) name: String,
    pub(crate) value: Value,
}

/// What a property can be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    Text(String),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
}

impl Property {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn new(name: &str, value: Value) -> Self {
        Self { name: name.to_owned(), value }
    }
}

/// The properties that `limits` are. Without them systemd would write its own values whenever it
/// looks at the unit again. What it has no property for, it leaves alone.
pub(crate) fn of_limits(limits: &Limits) -> Vec<Property> {
    let unified = limits.writes().iter().filter(|write| write.hierarchy == Hierarchy::Unified);
    unified.flat_map(of_write).collect()
}

fn of_write(Write { file, value, .. }: &Write) -> Vec<Property> {
    let number = |name: &str| {
        let number = if value == "max" { Some(u64::MAX) } else { value.parse().ok() };
        number.map(|number| Property::new(name, Value::Uint64(number))).into_iter().collect()
    };
    let set = |name: &str| {
        let bytes = bits(value);
        bytes.map(|bytes| Property::new(name, Value::Bytes(bytes))).into_iter().collect()
    };
    match file.as_str() {
        "memory.max" => number("MemoryMax"),
        "memory.high" => number("MemoryHigh"),
        "memory.low" => number("MemoryLow"),
        "memory.min" => number("MemoryMin"),
        "memory.swap.max" => number("MemorySwapMax"),
        "pids.max" => number("TasksMax"),
        "cpu.weight" => number("CPUWeight"),
        "io.weight" => {
            let weight = value.strip_prefix("default ").unwrap_or(value).parse();
            let property = weight.map(|weight| Property::new("IOWeight", Value::Uint64(weight)));
            property.into_iter().collect()
        }
        "cpu.max" => quota(value),
        "cpuset.cpus" => set("AllowedCPUs"),
        "cpuset.mems" => set("AllowedMemoryNodes"),
        _ => Vec::new(),
    }
}

/// `QUOTA [PERIOD]`, in microseconds. systemd has the quota for a second of time, in steps; rounded
/// up, so that it is never less than what is asked for.
fn quota(value: &str) -> Vec<Property> {
    let mut words = value.split_whitespace();
    let (quota, period) = (words.next(), words.next());
    let period = match period.map_or(Ok(DEFAULT_PERIOD), str::parse) {
        Ok(period) if period > 0 => period,
        _ => return Vec::new(),
    };
    let per_second = match quota {
        Some("max") => Some(u64::MAX),
        Some(quota) => quota.parse::<u64>().ok().map(|quota| {
            let exact = quota.saturating_mul(MICROSECONDS).div_ceil(period);
            exact.div_ceil(QUOTA_STEP).saturating_mul(QUOTA_STEP)
        }),
        None => None,
    };
    let Some(per_second) = per_second else { return Vec::new() };
    vec![
        Property::new("CPUQuotaPerSecUSec", Value::Uint64(per_second)),
        Property::new("CPUQuotaPeriodUSec", Value::Uint64(period)),
    ]
}

/// A list such as `0-2,7` as bits, the lowest first.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // More CPUs than a kernel can have are the kernel's to refuse.
        for number in first..=last.min(1 << 16) {
            let byte = number / 8;
            bytes.resize(bytes.len().max(byte + 1), 0);
            *bytes.get_mut(byte)? |= 1 << (number % 8);
        }
    }
    Some(bytes)
}

/// The properties that `annotations` ask for (`org.systemd.property.NAME`).
///
/// # Errors
/// Those that run, open, start or stop something on the host (CVE-2024-3154), those that are the
/// runtime's own, and values that are not understood.
pub fn plan_properties<'a>(
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<Property>, Vec<Violation>> {
    let (mut properties, mut violations) = (Vec::new(), Vec::new());
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        match plan_property(name, text) {
            Ok(property) => properties.push(property),
            Err(rule) => {
                // A key has no "/" that is right, but it may have one that is wrong.
                let pointer = format!("/annotations/{}", key.replace('~', "~0").replace('/', "~1"));
                let class = Class::Specification;
                violations.push(Violation::new(class, pointer, text, rule, "leave it out"));
            }
        }
    }
    if violations.is_empty() { Ok(properties) } else { Err(violations) }
}

fn plan_property(name: &str, text: &str) -> Result<Property, &'static str> {
    if name.len() < 3 || !name.chars().all(|one| one.is_ascii_alphabetic()) {
        return Err(
            "the name of a property of systemd has three letters or more, and only letters",
        );
    }
    let lower = name.to_ascii_lowercase();
    if PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) || NAMES.contains(&lower.as_str()) {
        return Err("the property is refused: it would run, open, start or stop something on the \
                    host, or undo what the runtime sets");
    }
    let value = parse(text.trim()).ok_or(
        "must be a GVariant text: true, false, a number (with its type, such as uint64, before \
         it), a string or a list of strings",
    )?;
    match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
        None => Ok(Property::new(name, value)),
        Some(stem) => {
            let value = microseconds(&value).ok_or("must be a number of seconds")?;
            Ok(Property::new(&format!("{stem}USec"), Value::Uint64(value)))
        }
    }
}

/// Beginnings of refused names, in lower case: programs, paths of the host, dependencies that start or
/// stop other units, what happens to the machine.
const PREFIXES: [&str; 20] = [
    "bind",
    "bpf",
    "conflict",
    "credential",
    "device",
    "environment",
    "exec",
    "ipegressfilter",
    "ipingressfilter",
    "joinsnamespace",
    "loadcredential",
    "mount",
    "onfailure",
    "onsuccess",
    "propagates",
    "require",
    "root",
    "setcredential",
    "socketbind",
    "upholds",
];

/// Refused names, in lower case.
const NAMES: [&str; 25] = [
    "consistsof",
    "controller",
    "delegate",
    "delegatecontrollers",
    "delegatesubgroup",
    "failureaction",
    "failureactionexitstatus",
    "group",
    "jobtimeoutaction",
    "jobtimeoutrebootargument",
    "names",
    "pamname",
    "partof",
    "pidfds",
    "pids",
    "rebootargument",
    "requisite",
    "slice",
    "startlimitaction",
    "stoppropagatedfrom",
    "successaction",
    "successactionexitstatus",
    "triggers",
    "user",
    "wants",
];

/// Seconds as microseconds.
fn microseconds(value: &Value) -> Option<u64> {
    let seconds = match *value {
        Value::Int32(seconds) => u64::try_from(seconds).ok()?,
        Value::Uint32(seconds) => seconds.into(),
        Value::Int64(seconds) => u64::try_from(seconds).ok()?,
        Value::Uint64(u64::MAX) => return Some(u64::MAX),
        Value::Uint64(seconds) => seconds,
        Value::Double(seconds) if seconds >= 0.0 && seconds.is_finite() => {
            // A whole number of microseconds is what systemd has.
            return Some((seconds * 1e6) as u64);
        }
        _ => return None,
    };
    seconds.checked_mul(MICROSECONDS)
}

/// GVariant's text format, as far as properties need it.
fn parse(text: &str) -> Option<Value> {
    if let Some(string) = quoted(text) {
        return Some(Value::Text(string));
    }
    if let Some(list) = text.strip_prefix("@as").map(str::trim).or(Some(text))
        && let Some(inner) = list.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
    {
        return texts(inner).map(Value::Texts);
    }
    match text.split_once(char::is_whitespace) {
        Some(("boolean", word)) => parse_bool(word),
        Some(("int32", word)) => word.trim().parse().ok().map(Value::Int32),
        Some(("uint32", word)) => word.trim().parse().ok().map(Value::Uint32),
        Some(("int64", word)) => word.trim().parse().ok().map(Value::Int64),
        Some(("uint64", word)) => word.trim().parse().ok().map(Value::Uint64),
        Some(("double", word)) => word.trim().parse().ok().map(Value::Double),
        Some(("string", word)) => quoted(word.trim()).map(Value::Text),
        Some(_) => None,
        None if text.contains('.') => text.parse().ok().map(Value::Double),
        None => parse_bool(text).or_else(|| text.parse().ok().map(Value::Int32)),
    }
}

fn parse_bool(text: &str) -> Option<Value> {
    text.trim().parse().ok().map(Value::Bool)
}

/// A string in quotes, with nothing in it that would have to be escaped.
fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|one| matches!(one, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains([quote, '\\', '\0'])).then(|| inner.to_owned())
}

fn texts(list: &str) -> Option<Vec<String>> {
    if list.trim().is_empty() {
        return Some(Vec::new());
    }
    list.split(',').map(|part| quoted(part.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::{Property, Value, bits, of_write, plan_properties};
    use crate::limits::{Hierarchy, Write};

    #[track_caller]
    fn check(file: &str, value: &str, expected: &[(&str, Value)]) {
        let (file, value, pointer) = (file.to_owned(), value.to_owned(), String::new());
        let hierarchy = Hierarchy::Unified;
        let properties = of_write(&Write { hierarchy, file, value, pointer, instead: None });
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| Property::new(name, value.clone())).collect();
        assert_eq!(properties, expected);
    }

    #[test]
    fn limits_are_properties() {
        check("memory.max", "4096", &[("MemoryMax", Value::Uint64(4096))]);
        check("memory.swap.max", "max", &[("MemorySwapMax", Value::Uint64(u64::MAX))]);
        check("pids.max", "7", &[("TasksMax", Value::Uint64(7))]);
        check("cpu.weight", "39", &[("CPUWeight", Value::Uint64(39))]);
        check("io.weight", "default 50", &[("IOWeight", Value::Uint64(50))]);
        check("cpuset.cpus", "0-2,9", &[("AllowedCPUs", Value::Bytes(vec![0b111, 0b10]))]);
        check("cpuset.mems", "0", &[("AllowedMemoryNodes", Value::Bytes(vec![1]))]);
        check("hugetlb.2MB.max", "0", &[]);
    }

    #[test]
    fn a_quota_is_for_a_second_and_never_less() {
        let quota = |per_second, period| {
            [
                ("CPUQuotaPerSecUSec", Value::Uint64(per_second)),
                ("CPUQuotaPeriodUSec", Value::Uint64(period)),
            ]
        };
        check("cpu.max", "50000 100000", &quota(500_000, 100_000));
        check("cpu.max", "1500 100000", &quota(20_000, 100_000));
        check("cpu.max", "20000 30000", &quota(670_000, 30_000));
        check("cpu.max", "max 50000", &quota(u64::MAX, 50_000));
        check("cpu.max", "5000", &quota(50_000, 100_000));
    }

    #[test]
    fn sets_that_are_none_are_left_to_the_kernel() {
        assert_eq!(bits("x"), None);
        assert_eq!(bits(""), Some(Vec::new()));
    }

    #[track_caller]
    fn annotation(name: &str, text: &str) -> Result<Vec<Property>, Vec<String>> {
        let key = format!("org.systemd.property.{name}");
        plan_properties([(key.as_str(), text), ("other", "x")].into_iter())
            .map_err(|all| all.into_iter().map(|one| one.pointer).collect())
    }

    #[test]
    fn annotations_are_properties_in_the_text_format_of_gvariant() {
        for (name, text, expected, value) in [
            ("TimeoutStopUSec", "uint64 123", "TimeoutStopUSec", Value::Uint64(123)),
            ("TimeoutStopSec", "3", "TimeoutStopUSec", Value::Uint64(3_000_000)),
            ("TimeoutStopSec", "1.5", "TimeoutStopUSec", Value::Uint64(1_500_000)),
            ("CollectMode", "'inactive'", "CollectMode", Value::Text("inactive".to_owned())),
            ("KillSignal", "9", "KillSignal", Value::Int32(9)),
            ("DefaultDependencies", "true", "DefaultDependencies", Value::Bool(true)),
            ("After", "['a.service']", "After", Value::Texts(vec!["a.service".to_owned()])),
            ("Before", "@as []", "Before", Value::Texts(Vec::new())),
        ] {
            assert_eq!(annotation(name, text), Ok(vec![Property::new(expected, value)]), "{name}");
        }
    }

    #[test]
    fn what_would_reach_the_host_is_refused() {
        for name in [
            "ExecStart",
            "execstop",
            "ExecStopPost",
            "BindPaths",
            "RootDirectory",
            "Wants",
            "Requires",
            "RequiresMountsFor",
            "Conflicts",
            "OnFailure",
            "SuccessAction",
            "FailureAction",
            "Slice",
            "PIDs",
            "Delegate",
            "DeviceAllow",
            "DevicePolicy",
            "BPFProgram",
            "User",
            "Environment",
            "JobTimeoutAction",
            "Upholds",
            "PartOf",
            "BindsTo",
        ] {
            let pointer = format!("/annotations/org.systemd.property.{name}");
            assert_eq!(annotation(name, "'x'"), Err(vec![pointer]), "{name}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (name, text) in [
            ("A", "1"),
            ("A-B", "1"),
            ("Some", ""),
            ("Some", "[1"),
            ("Some", "uint64 -1"),
            ("Some", "'a' 'b'"),
            ("Some", "int7 1"),
            ("SomeSec", "'x'"),
            ("SomeSec", "-1"),
        ] {
            assert!(annotation(name, text).is_err(), "{name} {text}");
        }
    }
}
