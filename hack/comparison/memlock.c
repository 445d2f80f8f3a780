// Preloaded into crun where root lacks CAP_SYS_RESOURCE: that RLIMIT_MEMLOCK cannot be raised for BPF, which kernels
// since 5.11 do not need (bpf(2) charges the memory cgroup), is no error then.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/resource.h>

int setrlimit(__rlimit_resource_t kind, const struct rlimit *limit)
{
	int (*real)(__rlimit_resource_t, const struct rlimit *) = dlsym(RTLD_NEXT, "setrlimit");
	int result = real(kind, limit);

	if (result && errno == EPERM && kind == RLIMIT_MEMLOCK && limit->rlim_max == RLIM_INFINITY)
		return 0;
	return result;
}

int setrlimit64(__rlimit_resource_t kind, const struct rlimit64 *limit)
{
	return setrlimit(kind, (const struct rlimit *)limit);
}
