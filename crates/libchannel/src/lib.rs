//! The typed channel between the runtime and the container's init.
