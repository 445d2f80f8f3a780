//! Linux namespaces: what a container asks for, how its first process is spawned into them.
