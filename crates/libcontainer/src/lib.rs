//! The life of one OCI container: create, start, kill, delete and all that goes with them.
