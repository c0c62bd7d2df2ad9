/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The x86 side of vmm/arch.h: saved state as a whole. */
#include "vmm/arch.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include "vmm/x86/x86.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

int arch_state_new(struct arch_state **state, uint32_t nvcpus, struct error *err)
{
	*state = calloc(1, sizeof(**state) + nvcpus * sizeof((*state)->cpu[0]));
	if (!*state)
		return error_set(err, -ENOMEM, "no memory for the state of %u vCPUs", nvcpus);
	(*state)->nvcpus = nvcpus;
	return 0;
}

void arch_state_free(struct arch_state *state)
{
	free(state);
}

uint32_t arch_state_sections(struct arch_state *state, struct state_section *section, uint32_t max)
{
	uint32_t n = 0;

	if (max < state->nvcpus + 2)
		return state->nvcpus + 2;
	section[n++] = (struct state_section){"clock", clock_state_table, &state->clock};
	for (uint32_t i = 0; i < state->nvcpus; i++) {
		snprintf(section[n].name, sizeof(section[n].name), "cpu@%x", i);
		section[n].desc = cpu_state_table;
		section[n++].state = &state->cpu[i];
	}
	section[n++] = (struct state_section){"irqchip", irqchip_state_table, &state->irqchip};
	return n;
}

int arch_state_save(struct vm *vm, struct arch_state *state, struct error *err)
{
	int ret = 0;

	if (!vm->arch->clock.valid)
		return error_set(err, -EIO, "the guest's clocks could not be read, see the log");
	for (uint32_t i = 0; i < vm->nvcpus && !ret; i++) {
		ret = cpu_save(vm->kvm_fd, vm->vcpu[i].fd, vm->arch->xsave_bytes,
			       vm->arch->cpuid[i], true, &state->cpu[i], err);
		if (ret)
			error_prefix(err, "vCPU %u", i);
		state->cpu[i].id = i;
	}
	if (!ret)
		ret = irqchip_save(vm->vm_fd, vm->opt->pit, &state->irqchip, err);
	state->clock = vm->arch->clock;
	return ret;
}

static int check_cpuid(const struct vm *vm, const struct arch_state *state, struct error *err)
{
	struct kvm_cpuid2 *saved = cpu_cpuid_new(), *host = cpu_cpuid_new();
	int ret = -ENOMEM;

	if (!saved || !host) {
		error_set(err, ret, "no memory for CPUID");
		goto free_tables;
	}
	ret = cpuid_build(vm->kvm_fd, vm->nvcpus, host, arch_has_tsc_deadline(vm), err);
	for (uint32_t i = 0; i < state->nvcpus && !ret; i++) {
		cpu_cpuid_from_state(&state->cpu[i], saved);
		ret = cpuid_compare(saved, host, err);
		if (ret)
			error_prefix(err, "vCPU %u", i);
	}
free_tables:
	free(saved);
	free(host);
	return ret;
}

static int check_xsave(const struct vm *vm, const struct cpu_state *cpu, struct error *err)
{
	for (uint32_t i = vm->arch->xsave_bytes; i < cpu->nxsave; i++)
		if (cpu->xsave[i])
			return error_set(err, -ENOTSUP,
					 "the guest's XSAVE area takes %u bytes, this host has %u",
					 cpu->nxsave, vm->arch->xsave_bytes);
	return 0;
}

int arch_state_check(const struct vm *vm, const struct arch_state *state, struct error *err)
{
	int ret = -EINVAL;

	if (state->clock.valid && state->clock.ntsc != state->nvcpus)
		return error_set(err, ret, "clock: %u TSCs for %u vCPUs", state->clock.ntsc,
				 state->nvcpus);
	ret = check_cpuid(vm, state, err);
	for (uint32_t i = 0; i < state->nvcpus && !ret; i++) {
		ret = check_xsave(vm, &state->cpu[i], err);
		if (!ret && state->cpu[i].id != i)
			ret = error_set(err, -EINVAL, "cpu@%x has the state of vCPU %u", i,
					state->cpu[i].id);
	}
	return ret;
}

static int load_cpuid(struct vm *vm, const struct arch_state *state, struct error *err)
{
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		struct kvm_cpuid2 *cpuid = vm->arch->cpuid[i];
		int ret;

		cpu_cpuid_from_state(&state->cpu[i], cpuid);
		ret = cpu_load_cpuid(vm->vcpu[i].fd, cpuid, err);
		if (ret)
			return ret;
	}
	vm->arch->cpuid_set = true;
	return 0;
}

/* Each kernel calibrates anew: a rate a little different is this host's, not the guest's matter, and
 * within KVM's tolerance nothing is scaled. */
static int load_tsc_rate(struct vm *vm, const struct arch_state *state, struct error *err)
{
	uint32_t khz = state->cpu[0].tsc_khz;
	int host_khz = ioctl(vm->vcpu[0].fd, KVM_GET_TSC_KHZ, 0);

	if (host_khz < 0)
		return error_set(err, -errno, "KVM_GET_TSC_KHZ: %s", strerror(errno));
	if (!host_khz || !khz || (uint32_t)host_khz == khz)
		return 0;
	log_warn("the guest's TSC ran at %u kHz, this host's runs at %d kHz", khz, host_khz);
	if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) <= 0)
		return 0;
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		if (ioctl(vm->vcpu[i].fd, KVM_SET_TSC_KHZ, (unsigned long)khz))
			log_warn("vCPU %u: KVM_SET_TSC_KHZ: %s", i, strerror(errno));
	return 0;
}

static int load_clock(struct vm *vm, const struct arch_state *state, struct error *err)
{
	vm->arch->clock = state->clock;
	memcpy(&vm->arch->pit, state->irqchip.pit, sizeof(vm->arch->pit));
	vm->arch->catch_up = vm->opt->clock_realtime;
	return clock_restore(vm, err);
}

static int load_irqchip(struct vm *vm, const struct arch_state *state, struct error *err)
{
	return irqchip_load(vm->vm_fd, &state->irqchip, err);
}

/* The order is KVM's: see the comments at each part. */
static const struct {
	int (*vm)(struct vm *vm, const struct arch_state *state, struct error *err);
	int (*cpu)(int vcpu_fd, const struct cpu_state *state, struct error *err);
} load_order[] = {
	{load_cpuid, NULL}, /* KVM checks what follows against it */
	{load_tsc_rate, NULL},
	{load_clock, NULL}, /* kvmclock, then TSCs: deadlines are in guest TSC */
	{NULL, cpu_load_system},
	{load_irqchip, NULL}, /* may raise lines that the LAPICs must be there for */
	{NULL, cpu_load_execution},
};

int arch_state_load(struct vm *vm, const struct arch_state *state, struct error *err)
{
	int ret = 0;

	for (size_t i = 0; i < sizeof(load_order) / sizeof(load_order[0]) && !ret; i++) {
		if (load_order[i].vm) {
			ret = load_order[i].vm(vm, state, err);
			continue;
		}
		for (uint32_t cpu = 0; cpu < vm->nvcpus && !ret; cpu++) {
			ret = load_order[i].cpu(vm->vcpu[cpu].fd, &state->cpu[cpu], err);
			if (ret)
				error_prefix(err, "vCPU %u", cpu);
		}
	}
	return ret;
}

int arch_state_load_late(struct vm *vm, const struct arch_state *state, struct error *err)
{
	int ret = 0;

	for (uint32_t cpu = 0; cpu < vm->nvcpus && !ret; cpu++)
		ret = msr_load(vm->vcpu[cpu].fd, &state->cpu[cpu], MSR_LATE, err);
	for (uint32_t cpu = 0; cpu < vm->nvcpus && !ret; cpu++)
		ret = msr_load(vm->vcpu[cpu].fd, &state->cpu[cpu], MSR_LAST, err);
	return ret;
}

void arch_state_unload(struct vm *vm)
{
	memset(&vm->arch->clock, 0, sizeof(vm->arch->clock));
	vm->arch->catch_up = false;
	vm->arch->cpuid_set = false;
}

uint64_t arch_state_downtime_ns(const struct arch_state *state)
{
	return clock_downtime_ns(&state->clock);
}
