//! The plan of configs, without root: golden files, every violation, and that no property of the
//! spec is ignored.

#[cfg(test)]
mod cgroup_owner;
#[cfg(test)]
mod classes;
#[cfg(test)]
mod features;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod intel_rdt;
#[cfg(test)]
mod labels;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod systemd;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod violations;
