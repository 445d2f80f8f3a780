/*
 * timer: runs commands and says how long each took and how much memory it had.
 *
 * A request is one line of standard input, its words separated by the unit separator (0x1f); each
 * gets one line of reply.
 *
 *   run PROGRAM ARGUMENT...   runs it to its end:  NANOSECONDS STATUS PEAK_KIB
 *   start PROGRAM ARGUMENT... starts it:           PID
 *   reap PID                  waits for that child, which may be an orphan of a command:  STATUS PEAK_KIB
 *   drain                     waits for every child that is left:  COUNT
 *
 * The time is from just before the spawn until the child is reaped. PEAK_KIB is ru_maxrss of wait4:
 * the largest that the command, or any of its descendants that it waited for, ever was. A child is
 * spawned by vfork, and the kernel counts the memory it shares with its parent until execve as its
 * own: so this program must be small, which is why it is not a script.
 *
 * crun 1.8 raises RLIMIT_MEMLOCK for its device filter, which kernels since 5.11 do not need, and gives
 * up without CAP_SYS_RESOURCE. Where that capability is missing, all commands alike run under a seccomp
 * filter that lets setting that one limit succeed without effect.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SEPARATOR "\x1f"
#define MOST_WORDS 64

extern char **environ;
static posix_spawn_file_actions_t quiet;

static void fail(const char *what)
{
	fprintf(stderr, "timer: %s: %s\n", what, strerror(errno));
	exit(125);
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static pid_t spawn(char *const command[])
{
	pid_t pid;

	errno = posix_spawn(&pid, command[0], &quiet, NULL, command, environ);
	if (errno)
		fail(command[0]);
	return pid;
}

static void run(char *const command[])
{
	struct rusage usage;
	int status;
	long long before = now(), after;
	pid_t pid = spawn(command);

	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			fail("wait4");
	after = now();
	printf("%lld %d %ld\n", after - before, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
	       usage.ru_maxrss);
}

static void reap(pid_t pid)
{
	struct rusage usage;
	int status;

	if (wait4(pid, &status, 0, &usage) < 0)
		fail("wait4");
	printf("%d %ld\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), usage.ru_maxrss);
}

static void drain(void)
{
	int count = 0;

	while (wait(NULL) > 0)
		count++;
	printf("%d\n", count);
}

static void spare_memlock(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prlimit64, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RLIMIT_MEMLOCK, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), /* no new limit: a question */
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof(program) / sizeof(program[0]), program };

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
		fail("seccomp");
}

static void split(char *line, char *words[])
{
	size_t count = 0;

	line[strcspn(line, "\n")] = '\0';
	for (char *word = strtok(line, SEPARATOR); word && count < MOST_WORDS - 1; word = strtok(NULL, SEPARATOR))
		words[count++] = word;
	words[count] = NULL;
}

static void serve(char *const words[])
{
	if (words[0] && words[1] && strcmp(words[0], "run") == 0)
		run(words + 1);
	else if (words[0] && words[1] && strcmp(words[0], "start") == 0)
		printf("%d\n", spawn(words + 1));
	else if (words[0] && words[1] && strcmp(words[0], "reap") == 0)
		reap(atoi(words[1]));
	else if (words[0] && strcmp(words[0], "drain") == 0)
		drain();
	else
		exit(125);
	fflush(stdout);
}

int main(void)
{
	static char line[65536];
	static char *words[MOST_WORDS];

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 0)
		spare_memlock();
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
	while (fgets(line, sizeof(line), stdin)) {
		split(line, words);
		serve(words);
	}
	return 0;
}
