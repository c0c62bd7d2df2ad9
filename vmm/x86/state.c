/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The x86 side of vmm/arch.h: the state of vCPUs, interrupt controllers and clock as a whole: reset, save, load. */
#include "vmm/arch.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include "vmm/x86/acpi.h"
#include "vmm/x86/x86.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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
	ret = cpuid_build(vm->kvm_fd, vm->nvcpus, host, cpu_has_tsc_deadline(vm), err);
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

/* Each kernel calibrates again: a slightly different rate is a matter of this host, and within KVM's tolerance
 * nothing is scaled. */
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

/* The order is KVM's: see the comment at each part. */
static const struct {
	int (*vm)(struct vm *vm, const struct arch_state *state, struct error *err);
	int (*cpu)(int vcpu_fd, const struct cpu_state *state, struct error *err);
} load_order[] = {
	{load_cpuid, NULL}, /* KVM checks the rest against it */
	{load_tsc_rate, NULL},
	{load_clock, NULL}, /* kvmclock, then TSCs: deadlines are in guest TSC */
	{NULL, cpu_load_system},
	{load_irqchip, NULL}, /* may raise lines, which the LAPICs must receive */
	{NULL, cpu_load_execution},
};

int arch_state_load(struct vm *vm, const struct arch_state *state, struct error *err)
{
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(load_order) && !ret; i++) {
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

/* KVM cannot reset a VM; but a VM that never ran is in the state of power-on. */
static int fresh_state(struct vm *vm, struct arch_state *state, struct error *err)
{
	int twin = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0), vcpu[OPTIONS_MAX_CPUS];
	struct irq irq;
	uint32_t n = 0;
	int ret = -EIO;

	if (twin < 0)
		return error_set(err, -errno, "KVM_CREATE_VM: %s", strerror(errno));
	irq_init(&irq, twin);
	ret = irqchip_create(&irq, vm->opt->pit, err);
	for (; n < vm->nvcpus && !ret; n++) {
		vcpu[n] = ioctl(twin, KVM_CREATE_VCPU, (unsigned long)n);
		if (vcpu[n] < 0) {
			ret = error_set(err, -errno, "KVM_CREATE_VCPU: %s", strerror(errno));
			break;
		}
		ret = cpu_load_cpuid(vcpu[n], vm->arch->cpuid[n], err);
	}
	for (uint32_t i = 0; i < n && !ret; i++)
		ret = cpu_save(vm->kvm_fd, vcpu[i], vm->arch->xsave_bytes, vm->arch->cpuid[i],
			       false, &state->cpu[i], err);
	if (!ret)
		ret = irqchip_save(twin, vm->opt->pit, &state->irqchip, err);
	while (n-- > 0)
		close(vcpu[n]);
	irq_close(&irq);
	close(twin);
	return ret;
}

int arch_reset(struct vm *vm, struct error *err)
{
	struct arch_state *state;
	int ret = cpu_set_cpuids(vm, err);

	if (!ret)
		ret = arch_state_new(&state, vm->nvcpus, err);
	if (ret)
		return ret;
	ret = fresh_state(vm, state, err);
	for (uint32_t i = 0; i < vm->nvcpus && !ret; i++) {
		int fd = vm->vcpu[i].fd;

		ret = msr_load(fd, &state->cpu[i], MSR_LATE, err);
		if (!ret)
			ret = msr_load(fd, &state->cpu[i], MSR_LAST, err);
		if (!ret)
			ret = cpu_load_system(fd, &state->cpu[i], err);
	}
	if (!ret)
		ret = irqchip_load(vm->vm_fd, &state->irqchip, err);
	if (!ret) /* the next resume sets it */
		memcpy(&vm->arch->pit, state->irqchip.pit, sizeof(vm->arch->pit));
	for (uint32_t i = 0; i < vm->nvcpus && !ret; i++)
		ret = cpu_load_execution(vm->vcpu[i].fd, &state->cpu[i], err);
	arch_state_free(state);
	return ret;
}

/* ACPI 6.5, 5.2.10: in real mode, CS:IP made from the vector as from a linear address. */
int arch_wake(struct vm *vm, struct error *err)
{
	uint32_t vector = acpi_waking_vector(&vm->ram);
	int bsp = vm->vcpu[0].fd, ret;
	struct kvm_sregs2 sregs;
	struct kvm_regs regs;

	if (!vector)
		return error_set(err, -EFAULT, "the FACS has no waking vector below 1 MiB");
	ret = arch_reset(vm, err);
	if (ret)
		return ret;
	if (ioctl(bsp, KVM_GET_SREGS2, &sregs) || ioctl(bsp, KVM_GET_REGS, &regs))
		return error_set(err, -errno, "registers of the first vCPU: %s", strerror(errno));
	sregs.cs.selector = (uint16_t)(vector >> 4);
	sregs.cs.base = (uint64_t)sregs.cs.selector << 4;
	regs.rip = vector & 0xf;
	if (ioctl(bsp, KVM_SET_SREGS2, &sregs) || ioctl(bsp, KVM_SET_REGS, &regs))
		return error_set(err, -errno, "registers of the first vCPU: %s", strerror(errno));
	return 0;
}
