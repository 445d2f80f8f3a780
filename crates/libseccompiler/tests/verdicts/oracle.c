/* The oracle: libseccomp, asked in lines on standard input, answering each with one line.
 *
 *   resolve ARCH NAME          the system call's number, negative if there is none
 *   init ACTION                a new filter with this default action (hexadecimal)
 *   arch NAME                  ... that covers this architecture (not the machine's own)
 *   rule ACTION NAME N { INDEX OPERATOR A B }...
 *   export                     the program in hexadecimal
 */
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static void init(void)
{
	if (filter)
		seccomp_release(filter);
	filter = seccomp_init(strtoul(strtok(NULL, " \n"), NULL, 16));
	own_removed = 0;
	puts(filter ? "0" : "no filter");
}

static void add_architecture(void)
{
	uint32_t token = architecture(strtok(NULL, " \n"));
	int result = 0;

	if (!own_removed && token != seccomp_arch_native())
		result = seccomp_arch_remove(filter, seccomp_arch_native());
	own_removed = 1;
	if (!result && seccomp_arch_exist(filter, token))
		result = seccomp_arch_add(filter, token);
	printf("%d\n", result);
}

static void add_rule(void)
{
	struct scmp_arg_cmp conditions[6];
	uint32_t action = strtoul(strtok(NULL, " \n"), NULL, 16);
	int number = seccomp_syscall_resolve_name(strtok(NULL, " \n"));
	int count = atoi(strtok(NULL, " \n"));

	for (int at = 0; at < count; at++) {
		conditions[at].arg = atoi(strtok(NULL, " \n"));
		conditions[at].op = atoi(strtok(NULL, " \n"));
		conditions[at].datum_a = strtoull(strtok(NULL, " \n"), NULL, 16);
		conditions[at].datum_b = strtoull(strtok(NULL, " \n"), NULL, 16);
	}
	printf("%d\n", number == __NR_SCMP_ERROR
			       ? number
			       : seccomp_rule_add_array(filter, action, number, count, conditions));
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
		else
			puts("what?");
		fflush(stdout);
	}
	return 0;
}
