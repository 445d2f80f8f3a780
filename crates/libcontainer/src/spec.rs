//! config.json: from the disk to a type, or to every reason why not.
