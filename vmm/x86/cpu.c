/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads one vCPU's state from KVM and writes it back. */
#include "vmm/vm.h"
#include "vmm/x86/x86.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define CPU_STATE(F, A, V, T) \
	V(T, msrs, nmsrs)     \
	F(T, regs)            \
	F(T, sregs2)          \
	V(T, xsave, nxsave)   \
	F(T, xcrs)            \
	F(T, lapic)           \
	F(T, events)          \
	F(T, debugregs)       \
	V(T, cpuid, ncpuid)   \
	F(T, mp_state)        \
	F(T, tsc_khz)         \
	F(T, id)

static const char *cpu_check(const void *st)
{
	const struct cpu_state *state = st;

	if (state->nmsrs % 2)
		return "an MSR without a value";
	if (!state->ncpuid || state->ncpuid % CPU_CPUID_CELLS)
		return "CPUID is not made of whole entries";
	if (state->nxsave < sizeof(struct kvm_xsave))
		return "XSAVE area is shorter than KVM's smallest";
	for (uint32_t i = 0; i < state->nmsrs; i += 2)
		if (state->msrs[i] > UINT32_MAX)
			return "an MSR index of more than 32 bits";
	return NULL;
}
STATE_DEFINE(cpu_state, CPU_STATE, "x86-cpu", cpu_check);
const struct state_desc *const cpu_state_table = &cpu_state_desc;

/* A struct that one ioctl reads or writes as it is. */
struct blob {
	const char *name;
	unsigned long request;
	size_t offset;
};
#define BLOB(request, member)                                         \
	{                                                             \
#request, request, offsetof(struct cpu_state, member) \
	}

/* MP_STATE first: reading it makes KVM accept a pending INIT or SIPI; events last. */
static const struct blob save_blobs[] = {
	BLOB(KVM_GET_MP_STATE, mp_state),  BLOB(KVM_GET_REGS, regs),
	BLOB(KVM_GET_SREGS2, sregs2),	   BLOB(KVM_GET_XCRS, xcrs),
	BLOB(KVM_GET_LAPIC, lapic),	   BLOB(KVM_GET_DEBUGREGS, debugregs),
	BLOB(KVM_GET_VCPU_EVENTS, events),
};
/* Before MSRs and LAPIC: SREGS hold the APIC base, XCRS say which components XSAVE may have. */
static const struct blob system_blobs[] = {
	BLOB(KVM_SET_SREGS2, sregs2),
	BLOB(KVM_SET_XCRS, xcrs),
	BLOB(KVM_SET_XSAVE, xsave),
};
static const struct blob lapic_blobs[] = {BLOB(KVM_SET_LAPIC, lapic)};
/* Last: a pending event needs the state that it refers to. */
static const struct blob execution_blobs[] = {
	BLOB(KVM_SET_REGS, regs),
	BLOB(KVM_SET_DEBUGREGS, debugregs),
	BLOB(KVM_SET_VCPU_EVENTS, events),
	BLOB(KVM_SET_MP_STATE, mp_state),
};

/* KVM_SET_* only reads through the pointer. */
static int move(int vcpu_fd, const struct blob *blob, size_t n, const struct cpu_state *state,
		struct error *err)
{
	for (size_t i = 0; i < n; i++)
		if (ioctl(vcpu_fd, blob[i].request, (const uint8_t *)state + blob[i].offset))
			return error_set(err, -errno, "%s: %s", blob[i].name, strerror(errno));
	return 0;
}
#define MOVE(blobs) move(vcpu_fd, blobs, sizeof(blobs) / sizeof((blobs)[0]), state, err)

struct kvm_cpuid2 *cpu_cpuid_new(void)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_MAX_ENTRIES * sizeof(cpuid->entries[0]));

	if (cpuid)
		cpuid->nent = CPUID_MAX_ENTRIES;
	return cpuid;
}

static void cpuid_to_state(const struct kvm_cpuid2 *cpuid, struct cpu_state *state)
{
	uint32_t *cell = state->cpuid;

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
		const uint32_t cells[CPU_CPUID_CELLS] = {e->function, e->index, e->flags, e->eax,
							 e->ebx,      e->ecx,	e->edx};

		memcpy(cell, cells, sizeof(cells));
		cell += CPU_CPUID_CELLS;
	}
	state->ncpuid = CPU_CPUID_CELLS * cpuid->nent;
}

void cpu_cpuid_from_state(const struct cpu_state *state, struct kvm_cpuid2 *cpuid)
{
	const uint32_t *c = state->cpuid;

	cpuid->nent = state->ncpuid / CPU_CPUID_CELLS;
	for (uint32_t i = 0; i < cpuid->nent; i++, c += CPU_CPUID_CELLS)
		cpuid->entries[i] = (struct kvm_cpuid_entry2){.function = c[0],
							      .index = c[1],
							      .flags = c[2],
							      .eax = c[3],
							      .ebx = c[4],
							      .ecx = c[5],
							      .edx = c[6]};
}

int cpu_save(int kvm_fd, int vcpu_fd, uint32_t xsave_bytes, const struct kvm_cpuid2 *cpuid,
	     bool model, struct cpu_state *state, struct error *err)
{
	int ret, khz;

	memset(state, 0, sizeof(*state));
	ret = MOVE(save_blobs);
	if (ret)
		return ret;
	if (ioctl(vcpu_fd, xsave_bytes > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE,
		  state->xsave))
		return error_set(err, -errno, "KVM_GET_XSAVE: %s", strerror(errno));
	state->nxsave = xsave_bytes;
	khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0);
	if (khz < 0)
		return error_set(err, -errno, "KVM_GET_TSC_KHZ: %s", strerror(errno));
	state->tsc_khz = (uint32_t)khz;
	cpuid_to_state(cpuid, state);
	return msr_save(kvm_fd, vcpu_fd, model, state, err);
}

int cpu_load_cpuid(int vcpu_fd, const struct kvm_cpuid2 *cpuid, struct error *err)
{
	if (ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid))
		return error_set(err, -errno, "KVM_SET_CPUID2: %s", strerror(errno));
	return 0;
}

int cpu_load_system(int vcpu_fd, const struct cpu_state *state, struct error *err)
{
	int ret = MOVE(system_blobs);

	if (!ret)
		ret = msr_load(vcpu_fd, state, MSR_BEFORE_LAPIC, err);
	if (!ret)
		ret = MOVE(lapic_blobs);
	if (!ret)
		ret = msr_load(vcpu_fd, state, MSR_AFTER_LAPIC, err);
	return ret;
}

int cpu_load_execution(int vcpu_fd, const struct cpu_state *state, struct error *err)
{
	return MOVE(execution_blobs);
}

/* Linux before 6.14 leaves it out of the CPUID that KVM supports. */
bool cpu_has_tsc_deadline(const struct vm *vm)
{
	return ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
}

int cpu_set_cpuids(struct vm *vm, struct error *err)
{
	int ret;

	if (vm->arch->cpuid_set)
		return 0;
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		struct kvm_cpuid2 *cpuid = vm->arch->cpuid[i];

		cpuid->nent = CPUID_MAX_ENTRIES;
		if (i) {
			memcpy(cpuid, vm->arch->cpuid[0],
			       sizeof(*cpuid) +
				       vm->arch->cpuid[0]->nent * sizeof(cpuid->entries[0]));
		} else {
			ret = cpuid_build(vm->kvm_fd, vm->nvcpus, cpuid, cpu_has_tsc_deadline(vm),
					  err);
			if (ret)
				return ret;
		}
		cpuid_topology(cpuid, i, vm->nvcpus);
		ret = cpu_load_cpuid(vm->vcpu[i].fd, cpuid, err);
		if (ret)
			return ret;
	}
	vm->arch->cpuid_set = true;
	return 0;
}
