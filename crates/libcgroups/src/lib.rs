//! Control groups of a container: v1, v2 and hybrid hierarchies.
