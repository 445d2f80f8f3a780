/* The kernel's BPF machine, asked in lines on standard input, answering each with one line.
 *
 *   load FLAGS PROGRAM             whether seccomp(2) takes the program: 0, or the error's number
 *   calls { ABI NUMBER A0 ... A5 }...   what `run` calls; ABI is `own`, or `int80` on x86_64
 *   run PROGRAM                    the error's number of the filter and of each call, or what went wrong
 *
 * All numbers but FLAGS are hexadecimal. A program to run must answer every call with an error, so that no call is made:
 * whatever else it returns is refused here, and so is what the kernel's checker refuses. After its filter a child
 * makes no system call of its own: it writes to shared memory, and is killed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_CALLS 65536
#define NOT_SET (-1)

struct call {
	int int80;
	uint32_t number;
	uint64_t arguments[6];
};

static struct call calls[MOST_CALLS];
static int call_count;
static struct sock_filter instructions[8192];
static struct sock_fprog program = { .filter = instructions };
/* What the child found: first the filter's own result, then that of each call. */
static volatile int *results;
/* Whether it found all. */
static volatile int *done;

static int digit(char one)
{
	return one <= '9' ? one - '0' : one - 'a' + 10;
}

/* A program's bytes in the machine's own order. */
static void read_program(const char *text)
{
	size_t bytes = text ? strlen(text) / 2 : 0;
	unsigned char *to = (unsigned char *)instructions;

	if (bytes > sizeof(instructions))
		bytes = sizeof(instructions);
	for (size_t at = 0; at < bytes; at++)
		to[at] = digit(text[2 * at]) << 4 | digit(text[2 * at + 1]);
	program.len = bytes / sizeof(instructions[0]);
}

static long make(const struct call *call)
{
	const uint64_t *a = call->arguments;
#ifdef __x86_64__
	long result;

	if (call->int80) {
		/* The sixth argument is in ebp, which a compiler may want for itself; below rsp it may have variables. */
		register uint64_t sixth asm("r12") = a[5];

		asm volatile("lea -128(%%rsp), %%rsp\n\tpush %%rbp\n\tmov %%r12d, %%ebp\n\tint $0x80\n\t"
			     "pop %%rbp\n\tlea 128(%%rsp), %%rsp"
			     : "=a"(result)
			     : "0"((uint64_t)call->number), "b"((uint32_t)a[0]), "c"((uint32_t)a[1]), "d"((uint32_t)a[2]),
			       "S"((uint32_t)a[3]), "D"((uint32_t)a[4]), "r"(sixth)
			     : "memory", "r8", "r9", "r10", "r11");
		return (int)result;
	}
	register uint64_t r10 asm("r10") = a[3];
	register uint64_t r8 asm("r8") = a[4];
	register uint64_t r9 asm("r9") = a[5];

	asm volatile("syscall"
		     : "=a"(result)
		     : "0"((uint64_t)call->number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return result;
#else
	long result = syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);

	return result < 0 ? -errno : result;
#endif
}

/* In a child: the filter, and what is to be done below it. */
static void confined(unsigned int flags, int count)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	results[0] = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) < 0 ? errno : 0;
	if (results[0] == 0)
		for (int at = 0; at < count; at++)
			results[at + 1] = -make(&calls[at]);
	done[0] = 1;
	for (;;)
		;
}

static void in_child(unsigned int flags, int count)
{
	pid_t child;
	int status;

	for (int at = 0; at <= count; at++)
		results[at] = NOT_SET;
	done[0] = 0;
	child = fork();
	if (child == 0)
		confined(flags, count);
	/* It cannot end by itself, unless a call killed it. */
	while (!done[0] && waitpid(child, &status, WNOHANG) == 0)
		sched_yield();
	if (done[0]) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	}
}

static void load(void)
{
	unsigned int flags = strtoul(strtok(NULL, " \n"), NULL, 10);

	read_program(strtok(NULL, " \n"));
	in_child(flags, 0);
	printf("%d\n", results[0]);
}

static void read_calls(void)
{
	const char *abi;

	for (call_count = 0; (abi = strtok(NULL, " \n")) && call_count < MOST_CALLS; call_count++) {
		struct call *call = &calls[call_count];

		call->int80 = !strcmp(abi, "int80");
		call->number = strtoul(strtok(NULL, " \n"), NULL, 16);
		for (int at = 0; at < 6; at++)
			call->arguments[at] = strtoull(strtok(NULL, " \n"), NULL, 16);
	}
	printf("%d\n", call_count);
}

static int only_errors(void)
{
	for (int at = 0; at < program.len; at++) {
		const struct sock_filter *one = &instructions[at];

		if (BPF_CLASS(one->code) != BPF_RET)
			continue;
		if (one->code != (BPF_RET | BPF_K) || (one->k & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ERRNO ||
		    (one->k & SECCOMP_RET_DATA) == 0)
			return 0;
	}
	return 1;
}

static void run(void)
{
	read_program(strtok(NULL, " \n"));
	if (!only_errors()) {
		puts("the program would let a call pass");
		return;
	}
	in_child(0, call_count);
	printf("%d", results[0]);
	for (int at = 1; at <= call_count; at++)
		printf(" %d", results[at]);
	putchar('\n');
}

int main(void)
{
	static char line[1 << 20];

	results = mmap(NULL, (MOST_CALLS + 2) * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (results == MAP_FAILED)
		return 1;
	done = &results[MOST_CALLS + 1];
	while (fgets(line, sizeof(line), stdin)) {
		const char *command = strtok(line, " \n");

		if (!strcmp(command, "load"))
			load();
		else if (!strcmp(command, "calls"))
			read_calls();
		else if (!strcmp(command, "run"))
			run();
		else
			puts("what?");
		fflush(stdout);
	}
	return 0;
}
