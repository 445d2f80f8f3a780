/* The oracle: libseccomp, asked in lines on standard input, answering each with one line.
 *
 *   resolve ARCH NAME          the system call's number, negative if there is none
 *   init ACTION SEARCH         a new filter with this default action (hexadecimal), which searches
 *                              linearly (1) or in a tree (2)
 *   arch NAME                  ... that covers this architecture (not the machine's own)
 *   rule ACTION NAME N { INDEX OPERATOR A B }...
 *   export                     the program in hexadecimal
 *   time ROUNDS                the same filter again, from nothing to the program: nanoseconds each
 */
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST_RULES 8192

struct rule {
	uint32_t action;
	char name[40];
	unsigned int count;
	struct scmp_arg_cmp conditions[6];
};

/* What was said since `init`. */
static struct {
	uint32_t action;
	uint32_t search;
	uint32_t architectures[16];
	int architecture_count;
	struct rule rules[MOST_RULES];
	int rule_count;
} said;
static scmp_filter_ctx filter;
static int own_removed;

static uint32_t architecture(const char *name)
{
	return seccomp_arch_resolve_name(name);
}

static void resolve(void)
{
	const char *arch = strtok(NULL, " \n"), *name = strtok(NULL, " \n");

	printf("%d\n", seccomp_syscall_resolve_name_arch(architecture(arch), name));
}

static int make(uint32_t action, uint32_t search)
{
	if (filter)
		seccomp_release(filter);
	filter = seccomp_init(action);
	own_removed = 0;
	return filter ? seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, search) : -1;
}

static int cover(uint32_t token)
{
	int result = 0;

	if (!own_removed && token != seccomp_arch_native())
		result = seccomp_arch_remove(filter, seccomp_arch_native());
	own_removed = 1;
	if (!result && seccomp_arch_exist(filter, token))
		result = seccomp_arch_add(filter, token);
	return result;
}

static int add(const struct rule *rule)
{
	int number = seccomp_syscall_resolve_name(rule->name);

	if (number == __NR_SCMP_ERROR)
		return number;
	return seccomp_rule_add_array(filter, rule->action, number, rule->count, rule->conditions);
}

static void init(void)
{
	said.action = strtoul(strtok(NULL, " \n"), NULL, 16);
	said.search = atoi(strtok(NULL, " \n"));
	said.architecture_count = said.rule_count = 0;
	printf("%d\n", make(said.action, said.search));
}

static void add_architecture(void)
{
	uint32_t token = architecture(strtok(NULL, " \n"));

	said.architectures[said.architecture_count++ % 16] = token;
	printf("%d\n", cover(token));
}

static void add_rule(void)
{
	struct rule *rule = &said.rules[said.rule_count];

	if (said.rule_count == MOST_RULES) {
		puts("too many");
		return;
	}
	rule->action = strtoul(strtok(NULL, " \n"), NULL, 16);
	snprintf(rule->name, sizeof(rule->name), "%s", strtok(NULL, " \n"));
	rule->count = atoi(strtok(NULL, " \n"));
	for (unsigned int at = 0; at < rule->count && at < 6; at++) {
		rule->conditions[at].arg = atoi(strtok(NULL, " \n"));
		rule->conditions[at].op = atoi(strtok(NULL, " \n"));
		rule->conditions[at].datum_a = strtoull(strtok(NULL, " \n"), NULL, 16);
		rule->conditions[at].datum_b = strtoull(strtok(NULL, " \n"), NULL, 16);
	}
	said.rule_count++;
	printf("%d\n", add(rule));
}

static void export(void)
{
	FILE *file = tmpfile();
	int byte, result = seccomp_export_bpf(filter, fileno(file));

	if (result)
		printf("error %d", result);
	rewind(file);
	while ((byte = fgetc(file)) != EOF)
		printf("%02x", byte);
	putchar('\n');
	fclose(file);
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void time_rounds(void)
{
	FILE *file = fopen("/dev/null", "w");

	for (int rounds = atoi(strtok(NULL, " \n")); rounds > 0; rounds--) {
		long long before = now();

		make(said.action, said.search);
		for (int at = 0; at < said.architecture_count; at++)
			cover(said.architectures[at]);
		for (int at = 0; at < said.rule_count; at++)
			add(&said.rules[at]);
		seccomp_export_bpf(filter, fileno(file));
		printf("%lld%s", now() - before, rounds > 1 ? " " : "\n");
	}
	fclose(file);
}

int main(void)
{
	static char line[1 << 16];

	while (fgets(line, sizeof(line), stdin)) {
		const char *command = strtok(line, " \n");

		if (!strcmp(command, "resolve"))
			resolve();
		else if (!strcmp(command, "init"))
			init();
		else if (!strcmp(command, "arch"))
			add_architecture();
		else if (!strcmp(command, "rule"))
			add_rule();
		else if (!strcmp(command, "export"))
			export();
		else if (!strcmp(command, "time"))
			time_rounds();
		else
			puts("what?");
		fflush(stdout);
	}
	return 0;
}
