//! bpf(2): programs that decide on devices in a cgroup v2.
