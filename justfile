# Builds the static release binary.
build:
    cargo build --release --package aril

# Formatting, lints, invariants and unit tests: before every commit.
check:
    cargo fmt --all --check
    cargo clippy --quiet --workspace --all-targets -- -D warnings
    hack/check-architecture
    hack/check-spec-conformance
    cargo test --quiet --workspace

# Everything, as CI does, with the containers in each cgroup view.
test:
    hack/test

# Container tests of a debug build: those whose name has NAME, in one view (host, v1 or v2).
container NAME="" VIEW="host":
    hack/test --view {{VIEW}} {{NAME}}

# Two containers side by side, and what each sees.
quickstart:
    hack/quickstart

# Side by side with the kernel's own cost, crun and runc.
bench *ARGS:
    hack/bench {{ARGS}}

# Bundles that umoci and mmdebstrap made.
real-bundles:
    hack/real-bundles

# COUNT short runs, and what they leave behind: nothing.
soak COUNT="10000":
    hack/soak {{COUNT}}

# Containers that attack the host for SECONDS: nothing is reached.
hostile SECONDS="60":
    hack/soak --hostile {{SECONDS}}

# Docker, containerd and Podman with aril, runc and crun, in a virtual machine: one table.
vm-engines *ARGS:
    hack/vm-engines {{ARGS}}

# The validation programs of opencontainers/runtime-tools: what they say of aril, or of runc, crun or a path.
conformance *ARGS:
    hack/conformance {{ARGS}}
