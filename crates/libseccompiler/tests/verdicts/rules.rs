//! The rules of `compile`'s documentation, one by one.

use std::collections::BTreeSet;

use libseccompiler::{Architecture, compile};
use libviolation::Class;
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use crate::kernel::Kernel;
use crate::machine::{Call, Machine, X32, X32_BIT, X86, X86_64, machine, run};
use crate::profile::{compiled, instructions, try_compiled};

/// What a profile does with a number of a machine, among the group's.
fn verdict(profile: &Value, group: &[Machine], number: u32) -> u32 {
    let call = Call { number, audit: group[0].audit, arguments: [0; 6] };
    run(&instructions(&compiled(profile, group)), &call, group[0].little_endian)
}

fn naming(default: &str, names: &[&str], action: &str) -> Value {
    json!({ "defaultAction": default, "syscalls": [{ "names": names, "action": action }] })
}

/// The one thing that is wrong with a profile.
fn wrong(profile: Value, native: Architecture) -> (Class, String) {
    let profile: LinuxSeccomp = serde_json::from_value(profile).unwrap();
    let violations = compile(&profile, native).unwrap_err();
    assert_eq!(violations.len(), 1, "{violations:?}");
    (violations[0].class, violations[0].to_string())
}

#[test]
fn unknown_names_are_passed_over() {
    let names = ["no_such_call", "read", "breakpoint"];
    let group = [X86_64, X86];
    for (default, action) in
        [("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"), ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO")]
    {
        let filter = compiled(&naming(default, &names, action), &group);
        assert_eq!(filter, compiled(&naming(default, &["read"], action), &group));
        let nothing = compiled(&naming(default, &["no_such_call"], action), &group);
        assert_eq!(nothing, compiled(&json!({ "defaultAction": default }), &group));
    }
}

#[test]
fn what_is_newer_than_the_newest_named_is_not_implemented() {
    const ENOSYS: u32 = 0x0005_0026;
    // close is 3 on x86_64; the rule for it says only what is done anyway, and names it.
    let profile = |default: &str| {
        json!({ "defaultAction": default, "syscalls": [
            { "names": ["write"], "action": "SCMP_ACT_LOG" },
            { "names": ["close"], "action": default },
        ] })
    };
    let of = |default: &str| {
        [1, 2, 3, 4, 1000, u32::MAX].map(|number| verdict(&profile(default), &[X86_64], number))
    };
    let log = 0x7ffc_0000;
    // The last is what a tracer skips, which is no new call.
    let eperm = 0x0005_0001;
    assert_eq!(of("SCMP_ACT_ERRNO"), [log, eperm, eperm, ENOSYS, ENOSYS, eperm]);
    for (default, verdict) in [("KILL", 0), ("KILL_PROCESS", 0x8000_0000), ("TRAP", 0x0003_0000)] {
        let default = format!("SCMP_ACT_{default}");
        assert_eq!(of(&default), [log, verdict, verdict, ENOSYS, ENOSYS, verdict]);
    }
    for (default, verdict) in [("ALLOW", 0x7fff_0000), ("TRACE", 0x7ff0_0001), ("LOG", log)] {
        let default = format!("SCMP_ACT_{default}");
        assert_eq!(of(&default), [log, verdict, verdict, verdict, verdict, verdict]);
    }
    // Nothing is named: nothing is newer.
    assert_eq!(
        verdict(&json!({ "defaultAction": "SCMP_ACT_ERRNO" }), &[X86_64], 1000),
        0x0005_0001
    );
}

#[test]
fn each_architecture_has_its_own_newest_and_its_own_enosys() {
    let profile = naming("SCMP_ACT_ERRNO", &["read", "write", "fchmodat2"], "SCMP_ACT_ALLOW");
    let mips = machine(Architecture::Mips64, "mips64", 0x8000_0008);
    assert_eq!(verdict(&profile, &[mips], 5452), 0x7fff_0000);
    assert_eq!(verdict(&profile, &[mips], 5453), 0x0005_0059);
    let old = naming("SCMP_ACT_ERRNO", &["read", "tgkill"], "SCMP_ACT_ALLOW");
    // tgkill is 234 on x86_64, and 270 on x86.
    let group = [X86_64, X86, X32];
    let program = instructions(&compiled(&old, &group));
    let of = |audit, number| run(&program, &Call { number, audit, arguments: [0; 6] }, true);
    assert_eq!((of(X86_64.audit, 233), of(X86_64.audit, 235)), (0x0005_0001, 0x0005_0026));
    assert_eq!((of(X86.audit, 235), of(X86.audit, 271)), (0x0005_0001, 0x0005_0026));
    assert_eq!(of(X32.audit, X32_BIT | 235), 0x0005_0026);
}

#[test]
fn an_errno_belongs_to_an_action_that_returns_one() {
    for action in ["ALLOW", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "TRAP"] {
        let mut profile = naming("SCMP_ACT_ERRNO", &["read"], &format!("SCMP_ACT_{action}"));
        profile["syscalls"][0]["errnoRet"] = json!(5);
        let expected = "/syscalls/0/errnoRet \"5\": belongs to an action that returns no errno (config-linux.md, \
                        \"Seccomp\"); leave it out, or use SCMP_ACT_ERRNO";
        assert_eq!(
            wrong(profile, Architecture::X86_64),
            (Class::Specification, expected.to_owned())
        );
    }
    let default = json!({ "defaultAction": "SCMP_ACT_LOG", "defaultErrnoRet": 1 });
    assert!(wrong(default, Architecture::X86_64).1.starts_with("/defaultErrnoRet \"1\": "));
}

#[test]
fn a_filter_is_as_long_as_the_kernel_takes() {
    // Each rule about two halves of an argument is a few instructions.
    let profile = |rules: u64| {
        let rule = |at: u64| {
            let condition = json!({ "index": 1, "value": at << 32 | at, "op": "SCMP_CMP_EQ" });
            json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": at, "args": [condition] })
        };
        let rules: Vec<Value> = (1..=rules).map(rule).collect();
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })
    };
    let mut kernel = Kernel::start("length");
    let length =
        |rules| try_compiled(&profile(rules), &[X86_64]).map(|filter| filter.instructions().len());
    let longest =
        (1..4000).collect::<Vec<_>>().partition_point(|rules| length(*rules).is_ok()) as u64;
    assert!((4080..=4096).contains(&length(longest).unwrap()), "{longest} {:?}", length(longest));
    assert_eq!(kernel.load(&compiled(&profile(longest), &[X86_64])), 0);
    let (class, text) = wrong(profile(longest + 1), Architecture::X86_64);
    assert_eq!(class, Class::Specification);
    let rest = "instructions\": seccomp(2): a program has at most 4096 instructions; name fewer architectures or \
                write fewer rules with arguments";
    assert!(text.starts_with("/syscalls \"at least 4") && text.ends_with(rest), "{text}");
}

#[test]
fn the_same_profile_gives_the_same_filter() {
    let profile: LinuxSeccomp = serde_json::from_value(crate::engines::docker()).unwrap();
    let filter = compile(&profile, Architecture::X86_64).unwrap();
    for _ in 0..20 {
        assert_eq!(compile(&profile, Architecture::X86_64).as_ref(), Ok(&filter));
    }
    // Also where the architectures are in another order, or more than once, but for the first.
    let in_order = |names: &[&str]| {
        let mut profile = naming("SCMP_ACT_ERRNO", &["read", "clone3"], "SCMP_ACT_ALLOW");
        profile["architectures"] = json!(names);
        let profile: LinuxSeccomp = serde_json::from_value(profile).unwrap();
        compile(&profile, Architecture::X86_64).unwrap()
    };
    let once = in_order(&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    assert_eq!(in_order(&["SCMP_ARCH_X86", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"]), once);
    assert_eq!(in_order(&["SCMP_ARCH_X86", "SCMP_ARCH_NATIVE"]), once);
    assert_eq!(in_order(&["SCMP_ARCH_X86"]), once);
}

#[test]
fn every_architecture_of_the_specification_is_covered() {
    // config-linux.md, "Seccomp".
    let names = "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 \
        S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB";
    let expected: BTreeSet<_> =
        names.split_whitespace().map(|name| format!("SCMP_ARCH_{name}")).collect();
    let all: BTreeSet<_> = Architecture::ALL.iter().map(|one| one.name().to_owned()).collect();
    assert_eq!(all, expected);
    for one in Architecture::ALL {
        let machine = machine(*one, "", audit_of(one.name()));
        let profile = naming("SCMP_ACT_ERRNO", &["getpid"], "SCMP_ACT_ALLOW");
        let program = instructions(&compiled(&profile, &[machine]));
        let bit = if *one == Architecture::X32 { X32_BIT } else { 0 };
        let allowed = |number: &u32| {
            let call = Call { number: number | bit, audit: machine.audit, arguments: [0; 6] };
            run(&program, &call, machine.little_endian) == 0x7fff_0000
        };
        assert_eq!((0..7000).filter(allowed).collect::<Vec<u32>>().len(), 1, "{one:?}");
    }
}

/// `__AUDIT_ARCH_CONVENTION_MIPS64_N32` of linux/audit.h.
const N32: u32 = 1 << 29;

/// `AUDIT_ARCH_*` of linux/audit.h: the ELF machine, 64 bits (bit 31), little-endian (bit 30).
fn audit_of(name: &str) -> u32 {
    let (machine, wide, little) = match name.strip_prefix("SCMP_ARCH_").unwrap() {
        "X86" => (3, false, true),
        "X86_64" | "X32" => (62, true, true),
        "ARM" => (40, false, true),
        "AARCH64" => (183, true, true),
        "MIPS" => (8, false, false),
        "MIPS64" => (8, true, false),
        "MIPSEL" => (8, false, true),
        "MIPSEL64" => (8, true, true),
        "PPC" => (20, false, false),
        "PPC64" => (21, true, false),
        "PPC64LE" => (21, true, true),
        "RISCV64" => (243, true, true),
        "S390X" => (22, true, false),
        "LOONGARCH64" => (258, true, true),
        "S390" => (22, false, false),
        "MIPS64N32" => (8 | N32, true, false),
        "MIPSEL64N32" => (8 | N32, true, true),
        "PARISC" => (15, false, false),
        "PARISC64" => (15, true, false),
        "M68K" => (4, false, false),
        "SH" => (42, false, true),
        "SHEB" => (42, false, false),
        other => panic!("{other}"),
    };
    machine | u32::from(wide) << 31 | u32::from(little) << 30
}

/// The calls of all architectures since Linux 5.1 have one number: with the offset of MIPS, and x32's bit.
#[test]
fn new_calls_have_one_number_everywhere() {
    let new = [
        ("pidfd_send_signal", 424),
        ("io_uring_setup", 425),
        ("open_tree", 428),
        ("clone3", 435),
        ("openat2", 437),
        ("faccessat2", 439),
        ("mount_setattr", 442),
        ("futex_waitv", 449),
        ("set_mempolicy_home_node", 450),
        ("cachestat", 451),
        ("fchmodat2", 452),
        ("futex_wake", 454),
        ("futex_wait", 455),
        ("futex_requeue", 456),
        ("statmount", 457),
        ("listmount", 458),
        ("lsm_get_self_attr", 459),
        ("lsm_set_self_attr", 460),
        ("lsm_list_modules", 461),
        ("mseal", 462),
        ("setxattrat", 463),
        ("getxattrat", 464),
        ("listxattrat", 465),
        ("removexattrat", 466),
        ("open_tree_attr", 467),
        ("file_getattr", 468),
        ("file_setattr", 469),
    ];
    let mut wrong = Vec::new();
    for one in Architecture::ALL {
        let machine = machine(*one, "", audit_of(one.name()));
        let offset = match one.name() {
            "SCMP_ARCH_MIPS" | "SCMP_ARCH_MIPSEL" => 4000,
            "SCMP_ARCH_MIPS64" | "SCMP_ARCH_MIPSEL64" => 5000,
            "SCMP_ARCH_MIPS64N32" | "SCMP_ARCH_MIPSEL64N32" => 6000,
            "SCMP_ARCH_X32" => X32_BIT,
            _ => 0,
        };
        // SuperH has never had clone3(2).
        let lacks = |name| name == "clone3" && one.name().starts_with("SCMP_ARCH_SH");
        for (name, number) in new.into_iter().filter(|(name, _)| !lacks(*name)) {
            let profile = naming("SCMP_ACT_ALLOW", &[name], "SCMP_ACT_TRAP");
            if verdict(&profile, &[machine], number + offset) != 0x0003_0000 {
                wrong.push(format!("{} {name}", one.name()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
