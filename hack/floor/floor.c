/*
 * floor: the kernel's share of a container, and nothing else.
 *
 *   floor run ROOTFS CGROUP PROGRAM [ARGUMENT...]
 *   floor exec PID CGROUP PROGRAM [ARGUMENT...]
 *
 * `run` asks the kernel for all that config.json beside this file describes (the default of
 * `runc spec` on cgroup v2), in the fewest calls known, with everything that a runtime decides
 * written down in tables beforehand. It parses nothing, keeps no state, and resolves paths by name,
 * which a runtime must not do. `exec` does the same for a second process in a running container.
 * A runtime cannot be faster than this; hack/bench measures how near it comes.
 *
 * CGROUP is a cgroup2 directory: `run` makes and removes it, `exec` joins it.
 * The exit status is the program's, 128+n for a signal, 125 for a failure of floor itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FLAG(capability) (1ULL << (capability))

static const uint64_t kept_capabilities = FLAG(CAP_AUDIT_WRITE) | FLAG(CAP_KILL) | FLAG(CAP_NET_BIND_SERVICE);
static char *const environment[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"TERM=xterm",
	NULL,
};

struct filesystem {
	const char *type;
	const char *target;
	unsigned long flags;
	const char *data;
};

static const struct filesystem dev = { "tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k" };
static const struct filesystem filesystems[] = {
	{ "devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5" },
	{ "tmpfs", "dev/shm", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k" },
	{ "mqueue", "dev/mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL },
	{ "sysfs", "sys", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL },
	{ "cgroup2", "sys/fs/cgroup", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RELATIME | MS_RDONLY, NULL },
};
static const char *const dev_directories[] = { "dev/pts", "dev/shm", "dev/mqueue" };

struct device {
	const char *path;
	unsigned int major, minor;
};

static const struct device devices[] = {
	{ "dev/null", 1, 3 },   { "dev/zero", 1, 5 },    { "dev/full", 1, 7 },
	{ "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 },
};

struct link {
	const char *target, *path;
};

static const struct link links[] = {
	{ "/proc/self/fd", "dev/fd" },       { "/proc/self/fd/0", "dev/stdin" }, { "/proc/self/fd/1", "dev/stdout" },
	{ "/proc/self/fd/2", "dev/stderr" }, { "/proc/kcore", "dev/core" },      { "pts/ptmx", "dev/ptmx" },
};

static const char *const masked_paths[] = {
	"/proc/acpi",        "/proc/asound",      "/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
	"/proc/timer_list",  "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
};
static const char *const readonly_paths[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

static void fail(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	_exit(125);
}

static void check(int result, const char *what)
{
	if (result < 0)
		fail(what);
}

/*
 * The device filter: allow mknod of everything, and rwm of the devices below; deny the rest.
 * bpf_cgroup_dev_ctx is { access << 16 | type, major, minor }; ANY stands for every minor.
 */
#define ANY (~0U)
static const struct { uint32_t major, minor; } allowed_devices[] = {
	{ 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 }, { 1, 9 }, { 5, 0 }, { 5, 2 }, { 136, ANY },
};

static struct bpf_insn load_word(uint8_t to, int16_t offset)
{
	return (struct bpf_insn){ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = to, .src_reg = BPF_REG_1, .off = offset };
}

static struct bpf_insn jump(uint8_t comparison, uint8_t of, int32_t value, int16_t distance)
{
	return (struct bpf_insn){ .code = BPF_JMP | comparison | BPF_K, .dst_reg = of, .imm = value, .off = distance };
}

static struct bpf_insn set(uint8_t to, int32_t value)
{
	return (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = to, .imm = value };
}

static size_t device_program(struct bpf_insn *program)
{
	const struct bpf_insn leave = { .code = BPF_JMP | BPF_EXIT };
	const size_t rules = 6, after = rules + 2 * COUNT(allowed_devices);
	size_t at = 0;

	program[at++] = load_word(BPF_REG_2, 0);
	program[at++] = load_word(BPF_REG_3, 4);
	program[at++] = load_word(BPF_REG_4, 8);
	program[at++] = set(BPF_REG_0, 1);
	/* A mknod of a device that cannot be opened is harmless: access is exactly MKNOD. */
	program[at++] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = BPF_REG_2, .imm = 16 };
	program[at++] = jump(BPF_JEQ, BPF_REG_2, BPF_DEVCG_ACC_MKNOD, (int16_t)(after + 1 - rules));
	for (size_t i = 0; i < COUNT(allowed_devices); i++) {
		int16_t allow = (int16_t)(after + 1 - (at + 2));
		program[at++] = jump(BPF_JNE, BPF_REG_3, (int32_t)allowed_devices[i].major, 1);
		program[at++] = allowed_devices[i].minor == ANY ? jump(BPF_JA, 0, 0, allow)
			: jump(BPF_JEQ, BPF_REG_4, (int32_t)allowed_devices[i].minor, allow);
	}
	program[at++] = set(BPF_REG_0, 0);
	program[at++] = leave;
	return at;
}

static void filter_devices(int cgroup)
{
	struct bpf_insn program[32];
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (uintptr_t)program,
		.insn_cnt = (uint32_t)device_program(program),
		.license = (uintptr_t)"",
	};
	int loaded = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
	check(loaded, "bpf: load");
	union bpf_attr attach = {
		.target_fd = (uint32_t)cgroup,
		.attach_bpf_fd = (uint32_t)loaded,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};
	check((int)syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)), "bpf: attach");
	close(loaded);
}

static pid_t clone_into(int cgroup, uint64_t namespaces)
{
	struct clone_args arguments = {
		.flags = namespaces | CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
	check(pid, "clone3");
	return pid;
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	check(fd, "socket");
	check(ioctl(fd, SIOCSIFFLAGS, &request), "SIOCSIFFLAGS lo");
	close(fd);
}

static void mount_filesystem(const struct filesystem *of)
{
	check(mount(of->type, of->target, of->type, of->flags, of->data), of->target);
}

static void make_dev(void)
{
	mount_filesystem(&dev);
	for (size_t i = 0; i < COUNT(dev_directories); i++)
		check(mkdir(dev_directories[i], 0755), dev_directories[i]);
	for (size_t i = 0; i < COUNT(devices); i++)
		check(mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)), devices[i].path);
	for (size_t i = 0; i < COUNT(links); i++)
		check(symlink(links[i].target, links[i].path), links[i].path);
}

static void mount_all(const char *rootfs)
{
	check(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "/: slave");
	check(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), rootfs);
	check(chdir(rootfs), rootfs);
	umask(0);
	check(mount("proc", "proc", "proc", 0, NULL), "proc");
	make_dev();
	for (size_t i = 0; i < COUNT(filesystems); i++)
		mount_filesystem(&filesystems[i]);
}

/* With "." twice the old root lies on the new one, and is what the umount takes (pivot_root(2)). */
static void pivot(void)
{
	check((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
	check(umount2(".", MNT_DETACH), "umount2");
	check(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "/: read-only");
}

static void make_readonly(const char *path)
{
	if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0) {
		check(errno == ENOENT ? 0 : -1, path);
		return;
	}
	check(mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), path);
}

/* Files get /dev/null; directories one empty read-only tmpfs, bound again for each further one. */
static void mask(const char *path)
{
	static const char *empty;

	if (mount("/dev/null", path, NULL, MS_BIND, NULL) == 0 || errno == ENOENT)
		return;
	check(errno == ENOTDIR ? 0 : -1, path);
	if (empty) {
		check(mount(empty, path, NULL, MS_BIND, NULL), path);
		return;
	}
	check(mount("tmpfs", path, "tmpfs", MS_RDONLY, NULL), path);
	empty = path;
}

static void drop_privileges(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const uint32_t kept[2] = { (uint32_t)kept_capabilities, (uint32_t)(kept_capabilities >> 32) };
	struct __user_cap_data_struct data[2] = {
		{ .effective = kept[0], .permitted = kept[0] },
		{ .effective = kept[1], .permitted = kept[1] },
	};

	for (unsigned long capability = 0; capability <= CAP_LAST_CAP; capability++)
		if (!(kept_capabilities & FLAG(capability)))
			check(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "PR_CAPBSET_DROP");
	check(setgroups(0, NULL), "setgroups");
	check(setresgid(0, 0, 0), "setresgid");
	check(setresuid(0, 0, 0), "setresuid");
	check((int)syscall(SYS_capset, &header, data), "capset");
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
}

static void become(char *const program[])
{
	const struct rlimit files = { .rlim_cur = 1024, .rlim_max = 1024 };

	check(setsid(), "setsid");
	umask(022);
	check(setrlimit(RLIMIT_NOFILE, &files), "RLIMIT_NOFILE");
	drop_privileges();
	execve(program[0], program, environment);
	fail(program[0]);
}

static void init(const char *rootfs, char *const program[])
{
	/* Not with clone3: it would make the parent's cgroup the namespace's root. */
	check(unshare(CLONE_NEWCGROUP), "unshare");
	loopback_up();
	mount_all(rootfs);
	pivot();
	check(sethostname("runc", 4), "sethostname");
	for (size_t i = 0; i < COUNT(readonly_paths); i++)
		make_readonly(readonly_paths[i]);
	for (size_t i = 0; i < COUNT(masked_paths); i++)
		mask(masked_paths[i]);
	become(program);
}

static int wait_for(pid_t pid)
{
	int status;

	check(waitpid(pid, &status, 0), "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int open_cgroup(const char *path)
{
	int cgroup = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	check(cgroup, path);
	return cgroup;
}

/* bpf(2) wants a cgroup that is really open, clone3 takes this too. */
static int make_cgroup(const char *path)
{
	int cgroup;

	check(mkdir(path, 0755), path);
	cgroup = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	check(cgroup, path);
	return cgroup;
}

static int run(const char *rootfs, const char *cgroup_path, char *const program[])
{
	const uint64_t namespaces = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS;
	int cgroup = make_cgroup(cgroup_path), status;
	pid_t pid;

	filter_devices(cgroup);
	pid = clone_into(cgroup, namespaces);
	if (pid == 0)
		init(rootfs, program);
	status = wait_for(pid);
	while (rmdir(cgroup_path) < 0)
		check(errno == EBUSY ? 0 : -1, cgroup_path);
	return status;
}

static int exec(const char *pid, const char *cgroup_path, char *const program[])
{
	const int namespaces = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWCGROUP;
	int cgroup = open_cgroup(cgroup_path);
	int target = (int)syscall(SYS_pidfd_open, atoi(pid), 0);
	pid_t child;

	check(target, "pidfd_open");
	check(setns(target, namespaces), "setns");
	child = clone_into(cgroup, 0);
	if (child == 0)
		become(program);
	return wait_for(child);
}

int main(int count, char *arguments[])
{
	if (count >= 5 && strcmp(arguments[1], "run") == 0)
		return run(arguments[2], arguments[3], arguments + 4);
	if (count >= 5 && strcmp(arguments[1], "exec") == 0)
		return exec(arguments[2], arguments[3], arguments + 4);
	fputs("usage: floor run ROOTFS CGROUP PROGRAM [ARGUMENT...]\n"
	      "       floor exec PID CGROUP PROGRAM [ARGUMENT...]\n", stderr);
	return 125;
}
